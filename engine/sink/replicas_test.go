package sink_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/sink"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// What makes the test binary a replica that delivers the chain of a journal to a file
// and to a webhook, see runReplica.
const (
	replicaState = "SINK_TEST_REPLICA_STATE"
	replicaName  = "SINK_TEST_REPLICA_NAME"
	replicaFile  = "SINK_TEST_REPLICA_FILE"
	replicaURL   = "SINK_TEST_REPLICA_URL"
)

// runReplica delivers until its standard input ends. With each line that it reads, its
// clock goes on by more than a lease, so that nobody has to wait for one.
func runReplica(state string) {
	var ahead atomic.Int64
	j, err := journal.Open(context.Background(), journal.Options{State: state, Owner: os.Getenv(replicaName),
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	start := func(name string, s sink.Sink) *sink.Runner {
		return sink.Start(sink.Options{Name: name, Sink: s, Journal: j, Poll: time.Millisecond, Least: time.Millisecond, Most: 10 * time.Millisecond})
	}
	runners := []*sink.Runner{start("archive", fileAt(os.Getenv(replicaFile))),
		start("siem", sink.NewWebhook(sink.WebhookOptions{URL: os.Getenv(replicaURL), UserAgent: os.Getenv(replicaName)}))}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		ahead.Add(int64(4 * time.Minute))
	}
	for _, r := range runners {
		r.Stop(context.Background())
	}
	if err := j.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A replica is a process that runs runReplica.
type replica struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// A registrar is a webhook that keeps what it was sent. It holds the answer to one entry
// of the first replica until it is let go.
type registrar struct {
	*httptest.Server
	hold int64
	held chan struct{} // closed: the answer is being held
	free chan struct{} // closed: it is held no more

	mu   sync.Mutex
	once sync.Once
	took []string // the bodies, in order
	bad  []string
	seqs []int64
	by   map[int64][]string // which replicas sent an entry
}

func newRegistrar(t *testing.T, hold int64) *registrar {
	r := &registrar{hold: hold, held: make(chan struct{}), free: make(chan struct{}), by: map[int64][]string{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *registrar) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var e journal.Entry
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	r.mu.Lock()
	if err != nil || req.Header.Get("Idempotency-Key") != e.Hash || req.Header.Get("X-Sealwright-Sequence") != strconv.FormatInt(e.Seq, 10) {
		r.bad = append(r.bad, fmt.Sprint(req.Header, err))
	}
	r.took, r.seqs = append(r.took, string(body)+"\n"), append(r.seqs, e.Seq)
	r.by[e.Seq] = append(r.by[e.Seq], req.UserAgent())
	r.mu.Unlock()
	if e.Seq != r.hold || req.UserAgent() != "first" {
		return
	}
	r.once.Do(func() { close(r.held) })
	select {
	case <-r.free:
	case <-req.Context().Done():
	}
}

// count returns how many entries were sent, each counted once.
func (r *registrar) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.by)
}

// TestReplicas: of two replicas one delivers to a sink, and when it is killed, or does
// not move for longer than its lease, the other goes on. Nothing is lost, what is sent
// again is the very same under the same key, and nothing comes before what it follows.
func TestReplicas(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, first *replica) (back func()){
		"killed": func(t *testing.T, first *replica) func() {
			must(t, first.cmd.Process.Kill())
			_ = first.cmd.Wait() // it was killed
			return func() {}
		},
		"stopped for long": func(t *testing.T, first *replica) func() {
			must(t, first.cmd.Process.Signal(syscall.SIGSTOP))
			return func() { must(t, first.cmd.Process.Signal(syscall.SIGCONT)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPressAt(t, journaltest.PostgresJournal(t))
			r, path := newRegistrar(t, 40), filepath.Join(t.TempDir(), "records.jsonl")
			first := p.replica("first", path, r.URL)
			p.sign(1)
			registrytest.Eventually(t, patience, "the first delivers", func() bool { return r.count() == 1 && lines(path) == 1 })
			second := p.replica("second", path, r.URL)
			stop := p.signMore()
			<-r.held // the first has delivered this one, and does not know
			back := lose(t, first)
			_, err := io.WriteString(second.in, "later\n")
			must(t, err)
			registrytest.Eventually(t, patience, "the second delivers", func() bool { return r.count() > 100 && lines(path) > 100 })
			close(r.free)
			back()
			stop()
			registrytest.Eventually(t, patience, "all is delivered", func() bool { return r.count() == p.made && lines(path) >= p.made })
			must(t, second.in.Close(), second.cmd.Wait())
			r.verify(t, p.entries())
			inFile := strings.SplitAfter(strings.TrimSuffix(contents(t, path), "\n"), "\n")
			inFile[len(inFile)-1] += "\n"
			wantEach(t, "file", inFile, p.entries())
			if report, err := p.j.VerifyChain(t.Context()); err != nil || report.Fault != nil || report.Entries != int64(p.made) {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
}

// replica starts a replica, which ends with the test.
func (p *press) replica(name, path, url string) *replica {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), replicaState+"="+p.state, replicaName+"="+name, replicaFile+"="+path, replicaURL+"="+url)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	must(p.t, err, cmd.Start())
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill() // if it still runs
		_ = cmd.Wait()
	})
	return &replica{cmd, in}
}

// signMore signs until it is told to stop.
func (p *press) signMore() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond): // hundreds of records, not thousands
				p.sign(1)
			}
		}
	}()
	return func() { close(quit); <-done }
}

// lines returns how many lines a file has.
func lines(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return strings.Count(string(text), "\n")
}

// verify fails unless all entries came, the held one by both replicas, and no more
// of them twice than were in one batch.
func (r *registrar) verify(t *testing.T, entries []journal.Entry) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	wantEach(t, "webhook", r.took, entries)
	if by := r.by[r.hold]; len(by) < 2 || by[0] != "first" || by[1] != "second" {
		t.Errorf("entry %d was sent by %v", r.hold, by)
	}
	if again := len(r.took) - len(entries); again > 2*32 {
		t.Errorf("%d entries were sent again: %v", again, r.seqs)
	}
	for _, bad := range r.bad {
		t.Errorf("a request that does not fit its entry: %s", bad)
	}
}

// wantEach fails unless each entry was taken, the very same each time, and none for the
// first time before the one that it follows.
func wantEach(t *testing.T, where string, took []string, entries []journal.Entry) {
	t.Helper()
	place := make(map[string]int, len(entries))
	for i := range entries {
		place[linesOf(t, entries[i:i+1])] = i + 1
	}
	last := 0
	for _, text := range took {
		at := place[text]
		if at == 0 || at > last+1 {
			t.Fatalf("%s: after entry %d came what is neither the next one nor one before: %s", where, last, text)
		}
		last = max(last, at)
	}
	if last != len(entries) {
		t.Errorf("%s: %d of %d entries", where, last, len(entries))
	}
}
