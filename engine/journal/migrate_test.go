package journal_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
)

// The journals in testdata were written by Sealwright when it knew of no stored
// policies, record chain, signature keys and image signatures. Each holds an execution
// that has ended, one that was under way, with two claims of which one is over by now,
// one that waits for it, and two pushes.
var oldJournals = map[string]func(t *testing.T) string{
	"sqlite": func(t *testing.T) string {
		dir := t.TempDir()
		script(t, "schema3-sqlite.sql", func(text string) error {
			db, err := sql.Open("sqlite", filepath.Join(dir, "sealwright.db"))
			if err != nil {
				return err
			}
			_, err = db.ExecContext(t.Context(), text)
			return errors.Join(err, db.Close())
		})
		return dir
	},
	"postgres": func(t *testing.T) string {
		state := journaltest.Postgres(t)
		script(t, "schema3-postgres.sql", func(text string) error {
			c, err := pgx.Connect(t.Context(), state)
			if err != nil {
				return err
			}
			_, err = c.PgConn().Exec(t.Context(), text).ReadAll()
			return errors.Join(err, c.Close(t.Context()))
		})
		return state
	},
}

// tick is when the old journals begin; they are opened two hours later.
var tick = time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)

func script(t *testing.T, name string, run func(text string) error) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err == nil {
		err = run(string(text))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestMigrateOldJournal: what an old journal holds is there after it was migrated, what
// was under way goes on, and the chain begins where it was not.
func TestMigrateOldJournal(t *testing.T) {
	t.Parallel()
	for name, old := range oldJournals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := old(t)
			const want = "has schema version 3, this binary needs 8; the daemon migrates it when it starts"
			if _, err := journal.OpenReadOnly(t.Context(), state); err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("before it is migrated: %v", err)
			}
			ended := make(chan journal.Execution, 10)
			j := openTest(t, journal.Options{State: state, Now: func() time.Time { return tick.Add(2 * time.Hour) }, Ended: func(e journal.Execution) { ended <- e }})
			wantOldExecutions(t, j)
			begun := tick
			if name == "sqlite" {
				begun = tick.Add(time.Second) // whose clock was asked once more
			}
			wantOldRecords(t, j, begun)
			wantOldRest(t, j, begun)
			wantOldChain(t, j, name == "sqlite")
			wantNewTables(t, j)
			workOff(t, j, ended)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			wantSchema(t, name, state)
		})
	}
}

func wantOldExecutions(t *testing.T, j *journal.Journal) {
	t.Helper()
	es, err := j.Executions(t.Context(), journal.ExecutionFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range es {
		got = append(got, fmt.Sprint(e.ID, " ", e.Policy, " ", e.PolicyVersion, " ", e.Registry, " ", e.Trigger, " ", e.Lane, " ", e.Status, " ", e.Reason, " ", e.RequestID, e.Tasks))
	}
	if d := cmp.Diff([]string{"4 pushed v3 prod event_based pushes InProgress  2", "3 byhand v2 prod manual live Initialized  0",
		"2 byhand v2 prod manual live InProgress  1", "1 nightly v1 prod scheduled backlog Failed artifacts_failed 2"}, got); d != "" {
		t.Errorf("executions (-want +got):\n%s", d)
	}
	if first := es[3]; first.Counts.Total != 4 || first.Counts.Succeed != 3 || first.Counts.Failed != 1 || !first.Tick.Equal(tick) {
		t.Errorf("%+v", first)
	}
	got = nil
	subtasks, err := j.Subtasks(t.Context(), journal.SubtaskFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range subtasks {
		got = append(got, fmt.Sprint(s.ID, " ", s.TaskID, " ", s.Repository, "@", s.Digest, " ", s.Tags, " ", s.Status, " ", s.Reason))
	}
	if d := cmp.Diff([]string{"1 1 library/app@sha256:1 [v1 <&>] Succeed signed", "2 1 library/app@sha256:2 [v1 <&>] Succeed signed",
		"3 1 library/app@sha256:3 [v1 <&>] Failed key_refused", "4 2 library/web@sha256:4 [] Succeed already_signed",
		"5 3 library/app@sha256:5 [v1 <&>] InProgress ", "6 3 library/app@sha256:6 [v1 <&>] InProgress "}, got); d != "" {
		t.Errorf("subtasks (-want +got):\n%s", d)
	}
}

// wantOldRecords: records say what they said; of what is younger than they, nothing.
func wantOldRecords(t *testing.T, j *journal.Journal, begun time.Time) {
	t.Helper()
	records, err := j.Records(t.Context(), journal.RecordFilter{Digest: "sha256:2"})
	if err != nil || len(records) != 2 {
		t.Fatalf("%+v, %v", records, err)
	}
	want := chainRecord()
	want.ID, want.ExecutionID, want.Policy, want.Trigger, want.RequestID = 3, 1, "nightly", policy.Scheduled, ""
	want.Registry, want.Repository, want.Digest, want.Identity, want.Format = "prod", "library/app", "sha256:2", "registry.example.com/library/app", policy.FormatBundle
	want.State, want.Reason, want.Signature, want.StoredAs = journal.Signed, "signed", "c2ln", "sha256:stored"
	want.CreatedAt, want.FinishedAt = begun.Add(9*time.Second), begun.Add(10*time.Second)
	if d := cmp.Diff(want, records[0]); d != "" {
		t.Errorf("record (-want +got):\n%s", d)
	}
}

// wantOldRest: pushes, memories, doubts and ticks.
func wantOldRest(t *testing.T, j *journal.Journal, begun time.Time) {
	t.Helper()
	ctx, at := t.Context(), func(seconds time.Duration) time.Time { return begun.Add(seconds * time.Second) }
	if n, oldest, err := j.Waiting(ctx); n != 2 || !oldest.Equal(at(26)) || err != nil {
		t.Errorf("%d pushes wait, since %v, %v", n, oldest, err)
	}
	if due, err := j.Due(ctx, 4, 10); err != nil || len(due) != 1 || due[0].Tag != "v2" || due[0].Digest != "sha256:7" || due[0].Repository != "library/app" || due[0].RequestID != "" {
		t.Errorf("%+v, %v", due, err)
	}
	if m, known, err := j.Recall(ctx, "prod", "library/app", "sha256:1", "t1"); !known || err != nil || !m.At.Equal(at(29)) {
		t.Errorf("%+v, %t, %v", m, known, err)
	}
	if doubted, err := j.Doubted(ctx, "prod", "t2"); err != nil || !doubted.Equal(at(30)) {
		t.Errorf("doubted %v, %v", doubted, err)
	}
	if last, known, err := j.LastTick(ctx, "nightly", "0 0 10 * * *"); !known || err != nil || !last.Equal(tick) {
		t.Errorf("ticked %v, %t, %v", last, known, err)
	}
}

// wantOldChain: records that were final before are outside of the chain, and say so;
// those that become final are in it. Of the claims, those whose time is not over are
// another replica's still, unless the database is this process's alone.
func wantOldChain(t *testing.T, j *journal.Journal, embedded bool) {
	t.Helper()
	if err := j.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 5 failed interrupted"}
	if embedded {
		want = append(want, "2 6 failed interrupted")
	}
	if report := wantChain(t, j, want...); report.Outside != 4 || report.Records != int64(len(want)) {
		t.Errorf("%+v", report)
	}
	tasks, err := j.Tasks(t.Context(), 2, 0, 1)
	if err != nil || len(tasks) != 1 || tasks[0].Cursor != "v0" {
		t.Fatalf("%+v, %v", tasks, err)
	}
	s := journal.Subtask{ExecutionID: 2, TaskID: tasks[0].ID, Repository: "library/app", Digest: "sha256:6"}
	if _, err := j.Begin(t.Context(), "prod", s, nil, time.Minute); errors.Is(err, journal.ErrClaimed) == embedded {
		t.Errorf("claiming what was claimed: %v", err)
	}
	signMany(t, j, tasks[0], "new", 2)
	for _, id := range []int{7, 8} {
		want = append(want, fmt.Sprintf("%d %d signed signed", len(want)+1, id))
	}
	if report := wantChain(t, j, want...); report.Outside != 4 || report.Records != int64(len(want)) {
		t.Errorf("%+v", report)
	}
}

// wantNewTables: what the old journal had no room for.
func wantNewTables(t *testing.T, j *journal.Journal) {
	t.Helper()
	ctx := t.Context()
	if ids, err := j.FilePolicyIDs(ctx, []string{"nightly"}); err != nil || ids["nightly"] != 1 {
		t.Errorf("%v, %v", ids, err)
	}
	if id, err := j.Audit(ctx, journal.AuditEntry{Caller: "c"}); err != nil || id != 1 {
		t.Errorf("%d, %v", id, err)
	}
	if at, err := j.LeaseSink(ctx, "siem", time.Minute); err != nil || at != 0 {
		t.Errorf("%d, %v", at, err)
	}
	if list, err := j.Entries(ctx, 0, 10); err != nil || len(list) < 3 {
		t.Errorf("what a sink gets: %v, %v", list, err)
	}
}

// workOff: executions that were begun or fired before are carried out.
func workOff(t *testing.T, j *journal.Journal, ended <-chan journal.Execution) {
	t.Helper()
	err := j.StartJobs(t.Context(), journal.Handlers{
		Walk: func(ctx context.Context, id int64) error {
			if e, err := j.StartExecution(ctx, id); err != nil || e.Status.Final() {
				return err
			}
			return errors.Join(j.AddTasks(ctx, id, []string{"library/app"}), j.EndWalk(ctx, id))
		},
		Task: func(ctx context.Context, id int64) error {
			task, e, err := j.StartTask(ctx, id)
			if err != nil || task.Status.Final() {
				return err
			}
			if e.Trigger != policy.EventBased {
				return j.EndTask(ctx, id, journal.Succeed, "", "")
			}
			due, err := j.Due(ctx, id, 10)
			if err != nil {
				return err
			}
			var settled []journal.Settled
			for _, d := range due {
				settled = append(settled, journal.Settled{Delivered: d})
			}
			_, err = j.Settle(ctx, id, settled)
			return err
		},
	}, journal.JobOptions{})
	if err != nil {
		t.Fatal(err)
	}
	left, late := map[int64]bool{2: true, 3: true, 4: true}, time.After(patience)
	for len(left) > 0 {
		select {
		case e := <-ended:
			delete(left, e.ID)
		case <-late:
			t.Fatalf("executions %v have not ended", left)
		}
	}
	if n, _, err := j.Waiting(t.Context()); n != 0 || err != nil {
		t.Errorf("%d pushes wait, %v", n, err)
	}
	if err := j.StopJobs(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// wantSchema: an old database that was migrated is like one that is new.
func wantSchema(t *testing.T, name, state string) {
	t.Helper()
	fresh := map[string]func(testing.TB) string{"sqlite": journaltest.SQLiteJournal, "postgres": journaltest.PostgresJournal}[name]
	if d := cmp.Diff(schemaOf(t, name, fresh(t)), schemaOf(t, name, state)); d != "" {
		t.Errorf("schema (-new +migrated):\n%s", d)
	}
}

func schemaOf(t *testing.T, name, state string) (schema []string) {
	t.Helper()
	driver, dsn, query := "sqlite", filepath.Join(state, "sealwright.db"), `SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql`
	if name == "postgres" {
		driver, dsn, query = "pgx", state, `SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default, collation_name, is_identity) AS said
			FROM information_schema.columns WHERE table_schema = 'public' UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY said`
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		schema = append(schema, text)
	}
	if err := rows.Err(); err != nil || len(schema) < 20 {
		t.Fatal(len(schema), err)
	}
	return schema
}
