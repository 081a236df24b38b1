package journaltest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// Suite runs the tests that the journal passes on every database. open returns
// an empty journal and closes it at the end of its test.
func Suite(t *testing.T, open func(t *testing.T) *journal.Journal) {
	for name, test := range map[string]func(*testing.T, *journal.Journal){
		"fire/once":             testFireOnce,
		"fire/coalesce":         testCoalesce,
		"fire/hand over":        testHandOver,
		"fire/join upgrades":    testJoinUpgrades,
		"fire/first tick":       testFirstTick,
		"fire/schedules":        testSchedules,
		"fire/clock set back":   testClockSetBack,
		"fire/clock comes by":   testClockComesBy,
		"execution/unknown":     testUnknown,
		"execution/outcomes":    testOutcomes,
		"execution/last tasks":  testLastTasks,
		"execution/forced end":  testForcedEnd,
		"execution/late work":   testLateWork,
		"task/added once":       testAddTasks,
		"task/many":             testManyTasks,
		"task/cursor":           testCursor,
		"task/stalls":           testStalls,
		"task/artifacts failed": testArtifactsFailed,
		"artifact/merged":       testMerged,
		"artifact/unresolvable": testUnresolvable,
		"artifact/claim":        testClaim,
		"artifact/one claimant": testOneClaimant,
		"artifact/expired":      testExpiredClaim,
		"artifact/record":       testRecord,
		"artifact/not final":    testNotFinal,
		"artifact/found":        testFound,
		"artifact/found twice":  testFoundTwice,
		"artifact/many":         testManyArtifacts,
		"inbox/joined":          testInboxJoined,
		"inbox/alone":           testInboxAlone,
		"inbox/requests":        testInboxRequests,
		"inbox/again":           testInboxAgain,
		"inbox/settling":        testInboxSettling,
		"inbox/put off":         testInboxPutOff,
		"inbox/reopened":        testInboxReopened,
		"inbox/beside others":   testInboxBesideOthers,
		"inbox/stopped":         testInboxStopped,
		"inbox/called":          testInboxCalled,
		"inbox/pruned":          testInboxPruned,
		"inbox/storm":           testInboxStorm,
		"policies/stored":       testStoredPolicies,
		"policies/names":        testPolicyNames,
		"policies/put":          testPutPolicy,
		"policies/at once":      testPoliciesAtOnce,
		"audit/entries":         testAudit,
		"images/signatures":     testImageSignatures,
		"images/retried":        testRetryTokens,
		"images/retried often":  testRetryTokensAtOnce,
		"images/races":          testImageSignatureRaces,
		"images/filters":        testImageSignatureFilters,
		"images/pages":          testImageSignaturePages,
		"images/repositories":   testImageRepositories,
		"signatures/keys":       testSignatureKeys,
		"signatures/bindings":   testSignatureBindings,
		"signatures/sealed":     testReseal,
		"signatures/at once":    testSignaturesAtOnce,
		"memory/kept":           testMemory,
		"memory/doubted":        testDoubt,
		"memory/repositories":   testMemoryRepositories,
		"memory/old":            testMemoryOld,
		"writer/faults":         testFaults,
		"writer/cancelled":      testCancelled,
		"read/pages":            testPages,
		"read/numbered pages":   testNumberedPages,
		"read/view":             testView,
		"read/filters":          testFilters,
		"read/prune":            testPrune,
		"read/ping":             testPing,
		"jobs/all":              testJobs,
		"jobs/again":            testAgain,
		"jobs/retry":            testRetry,
		"jobs/not ended":        testNotEnded,
		"jobs/lanes":            testLanes,
		"jobs/stop":             testStop,
		"jobs/twice":            testTwice,
		"jobs/timeouts":         testTimeouts,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

func tick(n int) time.Time { return time.Date(2026, 1, 2, 3, 0, n, 0, time.UTC) }

// hourly is the schedule of the test policy.
const hourly = "@hourly"

// scheduled is a firing of the test policy by its n-th tick.
func scheduled(n int) journal.Firing { return scheduledAt(tick(n)) }

func scheduledAt(t time.Time) journal.Firing {
	return journal.Firing{Policy: "p", PolicyVersion: "v1", Registry: "prod", Trigger: policy.Scheduled, Tick: t,
		Schedule: hourly, Lane: journal.Backlog}
}

// manual is a firing of the test policy by hand.
func manual() journal.Firing {
	return journal.Firing{Policy: "p", PolicyVersion: "v1", Registry: "prod", Trigger: policy.Manual, Lane: journal.Live}
}

func fire(t *testing.T, j *journal.Journal, f journal.Firing, want journal.FireResult) journal.Execution {
	t.Helper()
	e, got, err := j.Fire(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("firing: %s, want %s", got, want)
	}
	return e
}

// begun is an execution of the test policy that has tasks for repositories and
// whose walk has ended.
func begun(t *testing.T, j *journal.Journal, repositories ...string) (journal.Execution, []journal.Task) {
	t.Helper()
	e := fire(t, j, manual(), journal.Created)
	_, err := j.StartExecution(t.Context(), e.ID)
	must(t, err, j.AddTasks(t.Context(), e.ID, repositories), j.EndWalk(t.Context(), e.ID))
	tasks, err := j.Tasks(t.Context(), e.ID, 0, 0)
	must(t, err)
	if len(tasks) != len(repositories) {
		t.Fatalf("%d tasks for %d repositories", len(tasks), len(repositories))
	}
	return e, tasks
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// wantExecution compares all but ids and times.
func wantExecution(t *testing.T, j *journal.Journal, want journal.Execution) {
	t.Helper()
	got, err := j.Execution(t.Context(), want.ID)
	must(t, err)
	ignore := cmpopts.IgnoreFields(journal.Execution{}, "CreatedAt", "StartedAt", "FinishedAt", "Detail")
	if d := cmp.Diff(want, got, ignore); d != "" {
		t.Fatalf("execution %d (-want +got):\n%s", want.ID, d)
	}
	if got.Status.Final() == got.FinishedAt.IsZero() {
		t.Fatalf("execution %d is %s, finished at %v", got.ID, got.Status, got.FinishedAt)
	}
}

func artifact(task journal.Task, digest string, s journal.Status, reason string) journal.Subtask {
	return journal.Subtask{
		ExecutionID: task.ExecutionID, TaskID: task.ID, Repository: task.Repository, Digest: digest,
		Status: s, Reason: reason,
	}
}

// receive waits for a value with patience.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// work starts jobs that the end of the test stops.
func work(t *testing.T, j *journal.Journal, h journal.Handlers, o journal.JobOptions) {
	t.Helper()
	must(t, j.StartJobs(t.Context(), h, o))
	t.Cleanup(func() { stopNow(t, j) })
}

func stopNow(t *testing.T, j *journal.Journal) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	must(t, j.StopJobs(ctx))
}
