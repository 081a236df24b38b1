package journaltest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

// pushed is a firing of the test policy by events.
func pushed() journal.Firing {
	return journal.Firing{Policy: "p", PolicyVersion: "v1", Registry: "prod", Trigger: policy.EventBased, Lane: journal.Pushes}
}

func deliver(t *testing.T, j *journal.Journal, f journal.Firing, fresh int, pushes ...journal.Push) {
	t.Helper()
	n, err := j.Deliver(t.Context(), f, pushes)
	must(t, err)
	if n != fresh {
		t.Fatalf("%d of %d pushes are new, want %d", n, len(pushes), fresh)
	}
}

func push(repository, tag string) journal.Push { return journal.Push{Repository: repository, Tag: tag} }

// newest returns the newest execution of the test policy, with its tasks by
// repository.
func newest(t *testing.T, j *journal.Journal) (journal.Execution, map[string]journal.Task) {
	t.Helper()
	es, err := j.Executions(t.Context(), journal.ExecutionFilter{Policy: "p", Limit: 1})
	must(t, err)
	if len(es) != 1 {
		t.Fatal("no execution")
	}
	tasks, err := j.Tasks(t.Context(), es[0].ID, 0, 0)
	must(t, err)
	by := map[string]journal.Task{}
	for _, task := range tasks {
		by[task.Repository] = task
	}
	return es[0], by
}

// due wants the tags of the pushes that are due, and returns them.
func due(t *testing.T, j *journal.Journal, task int64, tags ...string) []journal.Delivered {
	t.Helper()
	list, err := j.Due(t.Context(), task, 100)
	must(t, err)
	var got []string
	for _, d := range list {
		got = append(got, d.Tag)
	}
	if fmt.Sprint(got) != fmt.Sprint(tags) {
		t.Fatalf("due are %q, want %q", got, tags)
	}
	return list
}

// settle deals with pushes and wants the task to have ended, or not.
func settle(t *testing.T, j *journal.Journal, task int64, ended bool, list ...journal.Delivered) time.Time {
	t.Helper()
	settled := make([]journal.Settled, len(list))
	for i, d := range list {
		settled[i].Delivered = d
	}
	next, err := j.Settle(t.Context(), task, settled)
	must(t, err)
	if next.IsZero() != ended {
		t.Fatalf("the task goes on at %v, want it ended: %v", next, ended)
	}
	return next
}

// Pushes that come together are one execution, a task for each repository.
func testInboxJoined(t *testing.T, j *journal.Journal) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	deliver(t, j, pushed(), 3, push("b", "v1"), journal.Push{Repository: "a", Tag: "v1", At: at}, push("b", "v2"))
	deliver(t, j, pushed(), 1, push("b", "v3"), push("b", "v1"))
	if n, oldest, err := j.Waiting(t.Context()); err != nil || n != 4 || oldest.IsZero() {
		t.Errorf("%d pushes wait since %v, %v, want 4", n, oldest, err)
	}
	x, tasks := newest(t, j)
	if x.Trigger != policy.EventBased || x.Lane != journal.Pushes || x.Status != journal.InProgress || len(tasks) != 2 {
		t.Fatalf("execution %+v with %d tasks", x, len(tasks))
	}
	b := due(t, j, tasks["b"].ID, "v1", "v2", "v3")
	if got := due(t, j, tasks["a"].ID, "v1")[0]; !got.At.Equal(at) || got.Repository != "a" || got.Attempts != 0 {
		t.Errorf("the push came back as %+v", got)
	}
	settle(t, j, tasks["b"].ID, true, b...)
	wantExecution(t, j, journal.Execution{ID: x.ID, Policy: "p", PolicyVersion: "v1", Registry: "prod", Trigger: policy.EventBased,
		Lane: journal.Pushes, Status: journal.InProgress, Tasks: 2})
	settle(t, j, tasks["a"].ID, true, due(t, j, tasks["a"].ID, "v1")...)
	wantExecution(t, j, journal.Execution{ID: x.ID, Policy: "p", PolicyVersion: "v1", Registry: "prod", Trigger: policy.EventBased,
		Lane: journal.Pushes, Status: journal.Succeed, Tasks: 2})
	if n, oldest, err := j.Waiting(t.Context()); err != nil || n != 0 || !oldest.IsZero() {
		t.Errorf("%d pushes wait since %v, %v, want none", n, oldest, err)
	}
	deliver(t, j, pushed(), 1, push("a", "v1"))
	if again, _ := newest(t, j); again.ID == x.ID {
		t.Error("an execution that had ended took a push")
	}
}

// A push keeps the id of the request that told of it last, and its execution that of
// the first.
func testInboxRequests(t *testing.T, j *journal.Journal) {
	by := func(id string) journal.Firing {
		f := pushed()
		f.RequestID = id
		return f
	}
	deliver(t, j, by("r1"), 2, push("a", "v1"), push("a", "v2"))
	deliver(t, j, by("r2"), 1, push("a", "v2"), push("a", "v3"))
	x, tasks := newest(t, j)
	var got []string
	for _, d := range due(t, j, tasks["a"].ID, "v1", "v2", "v3") {
		got = append(got, d.Tag+" "+d.RequestID)
	}
	if want := "[v1 r1 v2 r2 v3 r2]"; fmt.Sprint(got) != want || x.RequestID != "r1" {
		t.Errorf("requests %v of an execution for %q, want %s for r1", got, x.RequestID, want)
	}
	alone, err := j.DeliverAlone(t.Context(), by("r3"), push("a", "v1"))
	must(t, err)
	_, tasks = newest(t, j)
	if d := due(t, j, tasks["a"].ID, "v1")[0]; d.RequestID != "r3" || alone.RequestID != "r3" {
		t.Errorf("alone it is of %q, in an execution for %q", d.RequestID, alone.RequestID)
	}
}

// A push that is delivered alone has an execution of its own, whatever is under
// way, and later pushes may join that.
func testInboxAlone(t *testing.T, j *journal.Journal) {
	deliver(t, j, pushed(), 1, push("a", "v1"))
	first, _ := newest(t, j)
	for range 2 {
		x, err := j.DeliverAlone(t.Context(), pushed(), push("a", "v1"))
		must(t, err)
		mine, tasks := newest(t, j)
		if x.ID == first.ID || x.ID != mine.ID || x.Status != journal.InProgress || x.Lane != journal.Pushes || len(tasks) != 1 {
			t.Fatalf("execution %+v with %d tasks, after %+v", x, len(tasks), first)
		}
		first = x
	}
	deliver(t, j, pushed(), 0, push("a", "v1"))
	_, tasks := newest(t, j)
	settle(t, j, tasks["a"].ID, true, due(t, j, tasks["a"].ID, "v1")...)
	if n, _, err := j.Waiting(t.Context()); err != nil || n != 2 {
		t.Errorf("%d pushes wait, %v, want 2", n, err)
	}
	f := pushed()
	f.Trigger = policy.Manual
	if _, err := j.DeliverAlone(t.Context(), f, push("a", "v1")); err == nil {
		t.Error("a firing by hand was taken for an event's")
	}
}

// A tag that is pushed again while it is looked at is looked at again.
func testInboxAgain(t *testing.T, j *journal.Journal) {
	told := func(digest string) journal.Push { return journal.Push{Repository: "a", Tag: "v1", Digest: digest} }
	deliver(t, j, pushed(), 1, told("sha256:1"))
	_, tasks := newest(t, j)
	first := due(t, j, tasks["a"].ID, "v1")
	deliver(t, j, pushed(), 0, told("sha256:2"))
	if next := settle(t, j, tasks["a"].ID, false, first...); next.After(time.Now()) {
		t.Errorf("the push is due at %v, want now", next)
	}
	second := due(t, j, tasks["a"].ID, "v1")
	if first[0].Digest != "sha256:1" || second[0].Digest != "sha256:2" {
		t.Errorf("digests %q and then %q, want what was told last", first[0].Digest, second[0].Digest)
	}
	settle(t, j, tasks["a"].ID, true, second...)
}

// Pushes by digest put one another off, but not for ever.
func testInboxSettling(t *testing.T, j *journal.Journal) {
	now := time.Now()
	later := func(d time.Duration) journal.Push { return journal.Push{Repository: "a", Due: now.Add(d)} }
	deliver(t, j, pushed(), 1, later(20*time.Second))
	_, tasks := newest(t, j)
	due(t, j, tasks["a"].ID)
	at := func(want time.Duration) {
		t.Helper()
		if next := settle(t, j, tasks["a"].ID, false); !next.Equal(now.Add(want).Truncate(time.Microsecond)) {
			t.Errorf("due in %v, want %v", next.Sub(now), want)
		}
	}
	at(20 * time.Second)
	deliver(t, j, pushed(), 0, later(40*time.Second))
	at(40 * time.Second)
	deliver(t, j, pushed(), 0, later(time.Hour))
	at(40 * time.Second)
	deliver(t, j, pushed(), 1, push("a", "v1")) // a tag does not wait for that
	settle(t, j, tasks["a"].ID, false, due(t, j, tasks["a"].ID, "v1")...)
}

// What failed is looked at again later, and at once if it is pushed again.
func testInboxPutOff(t *testing.T, j *journal.Journal) {
	deliver(t, j, pushed(), 2, push("a", "v1"), push("a", "v2"))
	_, tasks := newest(t, j)
	list := due(t, j, tasks["a"].ID, "v1", "v2")
	again := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	next, err := j.Settle(t.Context(), tasks["a"].ID, []journal.Settled{{Delivered: list[0], Again: again}, {Delivered: list[1]}})
	must(t, err)
	if !next.Equal(again) {
		t.Errorf("goes on at %v, want %v", next, again)
	}
	due(t, j, tasks["a"].ID)
	deliver(t, j, pushed(), 0, push("a", "v1"))
	if got := due(t, j, tasks["a"].ID, "v1")[0]; got.Attempts != 0 {
		t.Errorf("%d attempts are counted of what was pushed anew", got.Attempts)
	}
	vain := due(t, j, tasks["a"].ID, "v1")[0]
	vain.Attempts = 1
	next, err = j.Settle(t.Context(), tasks["a"].ID, []journal.Settled{{Delivered: vain, Again: time.Now()}})
	must(t, err)
	if next.IsZero() {
		t.Fatal("the task ended")
	}
	if got := due(t, j, tasks["a"].ID, "v1")[0]; got.Attempts != 1 {
		t.Errorf("%d attempts, want 1", got.Attempts)
	}
}

// A task that has ended is opened again as long as its execution goes on.
func testInboxReopened(t *testing.T, j *journal.Journal) {
	deliver(t, j, pushed(), 2, push("a", "v1"), push("b", "v1"))
	x, tasks := newest(t, j)
	settle(t, j, tasks["a"].ID, true, due(t, j, tasks["a"].ID, "v1")...)
	deliver(t, j, pushed(), 1, push("a", "v2"))
	same, now := newest(t, j)
	if same.ID != x.ID || now["a"].ID != tasks["a"].ID || now["a"].Status != journal.Pending || now["a"].Round != 1 {
		t.Errorf("execution %d, task %+v; want %d and %d open again", same.ID, now["a"], x.ID, tasks["a"].ID)
	}
	settle(t, j, tasks["a"].ID, true, due(t, j, tasks["a"].ID, "v2")...)
	settle(t, j, tasks["b"].ID, true, due(t, j, tasks["b"].ID, "v1")...)
}

// Executions by events do not wait for others of their policy, nor others for
// them; another version of the policy begins one of its own.
func testInboxBesideOthers(t *testing.T, j *journal.Journal) {
	byHand := fire(t, j, manual(), journal.Created)
	deliver(t, j, pushed(), 1, push("a", "v1"))
	x, _ := newest(t, j)
	if x.ID == byHand.ID || x.Status != journal.InProgress {
		t.Errorf("the push waits: %+v", x)
	}
	edited := pushed()
	edited.PolicyVersion = "v2"
	deliver(t, j, edited, 1, push("a", "v1"))
	if y, _ := newest(t, j); y.ID == x.ID || y.PolicyVersion != "v2" {
		t.Errorf("the push joined %+v", y)
	}
	must(t, j.EndExecution(t.Context(), byHand.ID, journal.Succeed, "", ""))
	if next := fire(t, j, manual(), journal.Created); next.Status != journal.Pending {
		t.Errorf("a firing by hand waits for events: %+v", next)
	}
}

// The pushes of an execution or task that is ended go with it.
func testInboxStopped(t *testing.T, j *journal.Journal) {
	deliver(t, j, pushed(), 2, push("a", "v1"), push("b", "v1"))
	x, tasks := newest(t, j)
	must(t, j.EndTask(t.Context(), tasks["a"].ID, journal.Failed, journal.ReasonJobDiscarded, ""))
	due(t, j, tasks["a"].ID)
	due(t, j, tasks["b"].ID, "v1")
	must(t, j.EndExecution(t.Context(), x.ID, journal.Stopped, "policy_gone", ""))
	due(t, j, tasks["b"].ID)
	deliver(t, j, pushed(), 1, push("b", "v1"))
	if y, _ := newest(t, j); y.ID == x.ID {
		t.Error("an execution that was stopped took a push")
	}
}

// A task that sleeps is called by what is due before it wakes.
func testInboxCalled(t *testing.T, j *journal.Journal) {
	looked := make(chan string, 10)
	work(t, j, journal.Handlers{
		Walk: func(context.Context, int64) error { return nil },
		Task: func(ctx context.Context, id int64) error {
			list, err := j.Due(ctx, id, 100)
			if err != nil {
				return err
			}
			settled := make([]journal.Settled, len(list))
			for i, d := range list {
				settled[i].Delivered = d
			}
			next, err := j.Settle(ctx, id, settled)
			for _, d := range list {
				looked <- d.Tag
			}
			if err != nil || next.IsZero() {
				return err
			}
			return journal.Again{After: time.Until(next)}
		},
	}, journal.JobOptions{})
	deliver(t, j, pushed(), 1, journal.Push{Repository: "a", Due: time.Now().Add(time.Hour)})
	for _, tag := range []string{"v1", "v2", "v3"} {
		deliver(t, j, pushed(), 1, push("a", tag))
		if got := receive(t, looked); got != tag {
			t.Errorf("looked at %q, want %q", got, tag)
		}
	}
}

// Executions that events began are kept longer, and do not push others out.
func testInboxPruned(t *testing.T, j *journal.Journal) {
	deliver(t, j, pushed(), 1, push("a", "v1"))
	x, tasks := newest(t, j)
	settle(t, j, tasks["a"].ID, true, due(t, j, tasks["a"].ID, "v1")...)
	for range 2 {
		e := fire(t, j, manual(), journal.Created)
		must(t, j.EndExecution(t.Context(), e.ID, journal.Succeed, "", ""))
	}
	if n, err := j.Prune(t.Context(), "p", 1); err != nil || n != 1 {
		t.Errorf("pruned %d, %v, want the older one by hand", n, err)
	}
	if _, err := j.Execution(t.Context(), x.ID); err != nil {
		t.Errorf("the execution by events: %v", err)
	}
}

// However deliveries and the work on them fall together, each push is looked at
// after it was delivered, and every execution ends.
func testInboxStorm(t *testing.T, j *journal.Journal) {
	const repositories, tags, senders, each = 5, 3, 6, 40
	var mu sync.Mutex
	delivered, looked := map[string]int{}, map[string]int{} // the number of the last delivery, by repository and tag
	work(t, j, journal.Handlers{
		Walk: func(context.Context, int64) error { return nil },
		Task: func(ctx context.Context, id int64) error {
			for {
				list, err := j.Due(ctx, id, 2)
				if err != nil {
					return err
				}
				settled := make([]journal.Settled, len(list))
				for i, d := range list {
					settled[i].Delivered = d
					mu.Lock()
					looked[d.Repository+":"+d.Tag] = delivered[d.Repository+":"+d.Tag]
					mu.Unlock()
				}
				next, err := j.Settle(ctx, id, settled)
				if err != nil || next.IsZero() {
					return err
				}
				if next.After(time.Now()) {
					return journal.Again{After: time.Until(next)}
				}
			}
		},
	}, journal.JobOptions{})
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for i := range each {
				p := push(fmt.Sprint("r", i%repositories), fmt.Sprint("v", (i+s)%tags))
				if i%7 == 0 {
					p.Tag, p.Due = "", time.Now().Add(50*time.Millisecond) // so that tasks sleep
				}
				mu.Lock()
				delivered[p.Repository+":"+p.Tag]++ // before it is there: looked at later, it is not missed
				mu.Unlock()
				if _, err := j.Deliver(t.Context(), pushed(), []journal.Push{p}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		n, _, err := j.Waiting(t.Context())
		must(t, err)
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d pushes are left", n)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for what, last := range delivered {
		if looked[what] != last {
			t.Errorf("%s was delivered %d times, and last looked at after %d", what, last, looked[what])
		}
	}
	xs, err := j.Executions(t.Context(), journal.ExecutionFilter{Limit: 1000})
	must(t, err)
	for _, x := range xs {
		if x.Status != journal.Succeed {
			t.Errorf("execution %d is %s", x.ID, x.Status)
		}
	}
}
