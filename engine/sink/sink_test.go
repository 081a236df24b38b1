package sink_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/sink"
)

func TestMain(m *testing.M) {
	if state := os.Getenv(replicaState); state != "" {
		runReplica(state)
		return
	}
	code := journaltest.Main(m)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// patience bounds how long a test waits for what must happen.
const patience = time.Minute

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// A press makes records in a journal that can be opened again.
type press struct {
	t     *testing.T
	state string
	j     *journal.Journal
	task  journal.Task
	made  int
}

func newPress(t *testing.T) *press { return newPressAt(t, journaltest.SQLiteJournal(t)) }

func newPressAt(t *testing.T, state string) *press {
	p := &press{t: t, state: state}
	p.open()
	t.Cleanup(p.close)
	ctx := context.Background()
	e, _, err := p.j.Fire(ctx, journal.Firing{Policy: "p", Lane: journal.Live})
	must(t, err, p.j.AddTasks(ctx, e.ID, []string{"library/app"}))
	tasks, err := p.j.Tasks(ctx, e.ID, 0, 1)
	must(t, err)
	p.task = tasks[0]
	return p
}

func (p *press) open() {
	p.t.Helper()
	var err error
	p.j, err = journal.Open(context.Background(), journal.Options{State: p.state})
	must(p.t, err)
}

func (p *press) close() {
	if p.j != nil {
		must(p.t, p.j.Close())
		p.j = nil
	}
}

// sign makes n more records final.
func (p *press) sign(n int) {
	p.t.Helper()
	ctx := context.Background()
	for range n {
		p.made++
		s := journal.Subtask{ExecutionID: p.task.ExecutionID, TaskID: p.task.ID, Repository: p.task.Repository, Digest: fmt.Sprintf("sha256:%064d", p.made)}
		c, err := p.j.Begin(ctx, "prod", s, []journal.Record{{Policy: "p", Format: policy.FormatCosign}}, time.Minute)
		must(p.t, err)
		c.Subtask.Status, c.Records[0].State, c.Records[0].Reason = journal.Succeed, journal.Signed, "signed"
		must(p.t, p.j.End(ctx, c))
	}
}

// entries are all of the chain.
func (p *press) entries() []journal.Entry {
	p.t.Helper()
	es, err := p.j.Entries(context.Background(), 0, 10_000)
	must(p.t, err)
	return es
}

// A taker is a sink of the test's own.
type taker struct {
	mu     sync.Mutex
	taken  []int64
	fail   func(n int) (taken int, err error) // of how many; nil takes all
	closed int
	more   chan struct{} // told of each delivery
}

func newTaker() *taker { return &taker{more: make(chan struct{}, 10_000)} }

func (k *taker) Deliver(_ context.Context, es []journal.Entry) (n int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n = len(es)
	if k.fail != nil {
		n, err = k.fail(n)
	}
	for _, e := range es[:n] {
		k.taken = append(k.taken, e.Seq)
	}
	k.more <- struct{}{}
	return n, err
}

func (k *taker) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed++
	return nil
}

// await waits until what was taken is as wanted.
func (k *taker) await(t *testing.T, ok func(taken []int64) bool) {
	t.Helper()
	late := time.After(patience)
	for {
		k.mu.Lock()
		done := ok(k.taken)
		k.mu.Unlock()
		if done {
			return
		}
		select {
		case <-k.more:
		case <-late:
			t.Fatalf("waited in vain, taken are %v", k.taken)
		}
	}
}

// start starts a runner that has no patience.
func (p *press) start(s sink.Sink) *sink.Runner {
	return sink.Start(sink.Options{Name: "archive", Sink: s, Journal: p.j, Poll: time.Millisecond, Least: time.Millisecond, Most: 4 * time.Millisecond})
}

// stopNow stops a runner without delivering what is left.
func stopNow(r *sink.Runner) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.Stop(ctx)
}

// TestRunnerInOrder: what is there and what comes is delivered, once each and in
// order, as long as nothing goes wrong; a part that is not taken follows.
func TestRunnerInOrder(t *testing.T) {
	t.Parallel()
	p, k := newPress(t), newTaker()
	k.fail = func(n int) (int, error) { return (n + 1) / 2, nil } // no time for more
	p.sign(50)
	r := p.start(k)
	k.await(t, func(taken []int64) bool { return len(taken) >= 50 })
	p.sign(50)
	k.await(t, func(taken []int64) bool { return len(taken) >= 100 })
	r.Stop(t.Context())
	r.Stop(t.Context())
	for i, seq := range k.taken {
		if seq != int64(i+1) {
			t.Fatalf("taken: %v", k.taken)
		}
	}
	if c := r.Counts(); c.Delivered != 100 || c.Failures != 0 || c.LastError != "" || k.closed != 1 {
		t.Errorf("%+v, closed %d times", c, k.closed)
	}
	if u, err := r.Undelivered(t.Context()); err != nil || u.Entries != 0 {
		t.Errorf("%+v, %v", u, err)
	}
}

// TestRunnerFailures: nothing is passed over, the parts that were taken are not
// delivered again, and it is told how it stands.
func TestRunnerFailures(t *testing.T) {
	t.Parallel()
	p, k := newPress(t), newTaker()
	down, tries := true, 0
	k.fail = func(n int) (int, error) {
		if tries++; down {
			return min(n, tries%2), errors.New("no space left") // one entry, or none
		}
		return n, nil
	}
	p.sign(10)
	r := p.start(k)
	k.await(t, func(taken []int64) bool { return tries > 5 && len(taken) >= 2 })
	c := r.Counts()
	if c.Failures == 0 || c.LastError == "" || c.LastFailure.IsZero() {
		t.Errorf("%+v", c)
	}
	if u, err := r.Undelivered(t.Context()); err != nil || (u.Entries == 0) != u.Oldest.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
	k.mu.Lock()
	down = false
	k.mu.Unlock()
	k.await(t, func(taken []int64) bool { return len(taken) >= 10 })
	r.Stop(t.Context())
	for i, seq := range k.taken {
		if seq != int64(i+1) {
			t.Fatalf("taken: %v", k.taken)
		}
	}
	if c := r.Counts(); c.LastError != "" || c.Delivered != 10 {
		t.Errorf("%+v", c)
	}
}

// TestRunnerStop: a stop delivers what is left; one that has no time does not,
// and the next runner does.
func TestRunnerStop(t *testing.T) {
	t.Parallel()
	p, k := newPress(t), newTaker()
	r := sink.Start(sink.Options{Name: "archive", Sink: k, Journal: p.j, Poll: time.Hour})
	p.sign(40)
	r.Stop(t.Context())
	if len(k.taken) != 40 {
		t.Fatalf("taken before the stop: %v", k.taken)
	}
	p.sign(1)
	k.fail = func(int) (int, error) { return 0, errors.New("down") }
	r = p.start(k)
	r.Stop(t.Context()) // returns although nothing is taken
	stopNow(p.start(k))
	k.fail = nil
	r = p.start(k)
	r.Stop(t.Context())
	if n := len(k.taken); n != 41 || k.taken[40] != 41 {
		t.Errorf("taken: %v", k.taken)
	}
}

// A lastTaker takes its first entries while it is being stopped.
type lastTaker struct{ delivering chan struct{} }

func (k lastTaker) Deliver(ctx context.Context, es []journal.Entry) (int, error) {
	close(k.delivering)
	<-ctx.Done()
	return len(es), nil
}

func (lastTaker) Close() error { return nil }

// TestRunnerCut: what was taken is counted and not delivered again, also if the runner
// was told meanwhile to stop at once, as by a reload.
func TestRunnerCut(t *testing.T) {
	t.Parallel()
	p, k := newPress(t), lastTaker{make(chan struct{})}
	p.sign(3)
	r := p.start(k)
	<-k.delivering
	stopNow(r)
	if c := r.Counts(); c.Delivered != 3 || c.Failures != 0 || c.LastError != "" {
		t.Errorf("%+v", c)
	}
	if u, err := r.Undelivered(t.Context()); err != nil || u.Entries != 0 {
		t.Errorf("%+v, %v", u, err)
	}
}
