package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/artifacts"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	// killRounds is how often the daemon is killed.
	killRounds = 5
	// most is how many changes one changer makes in a round: fewer than a caller may
	// make at once of any API.
	most = 12
)

// A step changes an object by one request, after which the object is as the step leaves
// it: gone, or what states says of it.
type step struct {
	do     func(object string) error
	leaves string
}

const gone = ""

// A changer takes one object after the other through its steps, by one API.
type changer struct {
	name, api string // api is what the audit log calls it
	steps     []step

	mu       sync.Mutex
	answered []int             // how often each step was
	cut      []int             // how often each was under way when the daemon was killed
	is       map[string]string // what each object is after the last step that was answered
	may      map[string]string // what one may be in its place: after the step that was not answered
	err      error             // why the round has ended
}

// run makes changes until one fails, as they do when the daemon is gone.
func (c *changer) run(round, least int, enough func()) {
	for n := range most {
		at := n % len(c.steps)
		object, s := fmt.Sprintf("%s_%d_%d", c.name, round, n/len(c.steps)), c.steps[at]
		c.mu.Lock()
		c.may[object] = s.leaves
		c.mu.Unlock()
		err := s.do(object)
		c.mu.Lock()
		if err != nil {
			c.err = fmt.Errorf("%s, to be %q: %w", object, s.leaves, err)
			if !strings.Contains(err.Error(), syscall.ECONNREFUSED.Error()) { // else it came too late; not all SDKs wrap it
				c.cut[at]++
			}
			c.mu.Unlock()
			return
		}
		c.is[object] = s.leaves
		c.answered[at]++
		c.mu.Unlock()
		if n+1 == least {
			enough()
		}
	}
}

// failed returns why the round has ended, nil if it goes on.
func (c *changer) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// check fails unless all objects are as the last answer left them, or as the request
// after it would have.
func (c *changer) check(t *testing.T, there map[string]string) {
	t.Helper()
	for object, may := range c.may {
		if got := there[object]; got != c.is[object] && got != may {
			t.Errorf("%s is %q, want %q, or perhaps %q", object, got, c.is[object], may)
		}
	}
	for object, is := range there {
		if _, asked := c.may[object]; !asked {
			t.Errorf("%s was never asked for, and is %q", object, is)
		}
	}
}

// wantAllSteps fails unless each step was answered, and something was cut.
func wantAllSteps(t *testing.T, changers []*changer) {
	t.Helper()
	cut := 0
	for _, c := range changers {
		t.Logf("%s: of each step %d were answered, %d were cut", c.name, c.answered, c.cut)
		for i := range c.steps {
			if c.answered[i] == 0 {
				t.Errorf("%s: step %d was never answered", c.name, i+1)
			}
			cut += c.cut[i]
		}
	}
	if cut == 0 {
		t.Error("nothing was under way whenever the daemon was killed")
	}
}

// TestKilledWhileChanging: whenever the daemon is killed, what it answered is there, and
// of what it did not all or nothing is; a retry token makes one of two tries; and what
// was fired is carried out.
func TestKilledWhileChanging(t *testing.T) {
	a := newAPIHouse(t)
	k := newKilled(t, a)
	d := a.start()
	k.prepare(t)
	changers := k.changers(t)
	for round := range killRounds {
		changing(t, changers, round, func() {
			d.signal(syscall.SIGKILL)
			d.wait()
		})
		d = a.start()
	}
	defer d.stop()
	wantAllSteps(t, changers)
	there := k.states(t)
	for _, c := range changers {
		c.check(t, there[c.name])
	}
	for name := range there {
		if k.changer(name) == nil {
			t.Errorf("%s is of nobody: %v", name, there[name])
		}
	}
	k.retried(t)
	k.carriedOut(t)
	k.wantAudited(t, changers)
}

// changing has changes made until kill, which is called after some of each kind and while
// others go on: in the first round after each step of each kind.
func changing(t *testing.T, changers []*changer, round int, kill func()) {
	t.Helper()
	var all, some sync.WaitGroup
	for _, c := range changers {
		c.err = nil // of the last round; here, as it may take a while until they run
		some.Add(1)
		least := 1 + rand.IntN(most/2)
		if round == 0 {
			least = len(c.steps)
		}
		all.Go(func() { c.run(round, least, some.Done) })
	}
	enough := make(chan struct{})
	go func() {
		defer close(enough)
		some.Wait()
	}()
	hasFailed := func(c *changer) bool { return c.failed() != nil }
	tick, late := time.NewTicker(100*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-enough:
			waiting = false
		case <-tick.C:
			waiting = !slices.ContainsFunc(changers, hasFailed)
		case <-late:
			t.Error("too few changes were made")
			waiting = false
		}
	}
	for _, c := range changers {
		if err := c.failed(); err != nil {
			t.Errorf("while the daemon ran: %v", err)
		}
	}
	kill()
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// retried uploads again with each token that was sent: there is one signature for each.
func (k *killed) retried(t *testing.T) {
	t.Helper()
	ids := map[string]bool{}
	for token := range k.changer("oci").may {
		made, err := k.upload(t, k.oracle, k.image, token)
		if err != nil {
			t.Fatal(err)
		}
		ids[*made.Id] = true
	}
	list, err := k.oracle.ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: pointer(ociCompartment), Limit: pointer(1000)})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range list.Items {
		if ofChanger(s.FreeformTags["object"]) == "oci" {
			n++
		}
	}
	if n != len(k.changer("oci").may) || n != len(ids) {
		t.Errorf("%d signatures of %d tokens, %d ids", n, len(k.changer("oci").may), len(ids))
	}
}

// pages returns all items of a list of our own API.
func pages[T any](t *testing.T, a *apiHouse, path string) []T {
	t.Helper()
	var all []T
	var page struct {
		Items []T
		Next  string
	}
	for cursor := ""; ; cursor = page.Next {
		page.Next, page.Items = "", nil
		if code := a.own(t, http.DefaultClient, a.URL, http.MethodGet, path+"?limit=500&cursor="+cursor, nil, &page); code != http.StatusOK {
			t.Fatal(code)
		}
		if all = append(all, page.Items...); page.Next == "" {
			return all
		}
	}
}

// executions returns all of them.
func (k *killed) executions(t *testing.T) []journal.Execution {
	t.Helper()
	return pages[journal.Execution](t, k.apiHouse, "/executions")
}

// carriedOut: what was fired and answered is in the history, everything that is there
// ends well, and the tags that were to be signed are.
func (k *killed) carriedOut(t *testing.T) {
	t.Helper()
	registrytest.Eventually(t, patience, "everything that was fired has succeeded", func() bool {
		ended := map[int64]bool{}
		for _, x := range k.executions(t) {
			if !slices.Contains([]string{"swrfire", "ownfire", "socketfire"}, ofChanger(x.Policy)) && !strings.HasPrefix(x.Policy, byHand) {
				continue // of a push, whose policy may be gone: then it waits for that to be sure
			}
			if x.Status != journal.Succeed && x.Status.Final() {
				t.Fatalf("execution %d of %s ended %s (%s)", x.ID, x.Policy, x.Status, x.Reason)
			}
			ended[x.ID] = x.Status == journal.Succeed
		}
		for object, id := range k.fired {
			if _, there := ended[id]; !there {
				t.Fatalf("execution %d of %s was answered and is not there", id, object)
			}
		}
		for _, well := range ended {
			if !well {
				return false
			}
		}
		return len(ended) > 0
	})
	for object, is := range k.changer("tcrsign").is {
		if is != gone {
			if n := k.registry.Signatures(t, signedNamespace+"/app", k.tags[object]); n != 1 {
				t.Errorf("%s: %d signatures", object, n)
			}
		}
	}
}

// audit returns the whole audit log.
func (a *apiHouse) audit(t *testing.T) []journal.AuditEntry {
	t.Helper()
	return pages[journal.AuditEntry](t, a, "/audit")
}

// wantAudited: whatever was answered is in the audit log with its outcome, and only what
// was under way when the daemon died has none. Nothing was fired that is not there, and
// nothing is said to be fired that was not.
func (k *killed) wantAudited(t *testing.T, changers []*changer) {
	t.Helper()
	done, open, requests := map[string]int{}, 0, map[string]journal.AuditEntry{}
	for _, e := range k.audit(t) {
		requests[e.RequestID] = e
		switch e.Outcome {
		case "done":
			done[e.API]++
		case "":
			open++
		}
	}
	answered := map[string]int{}
	for _, c := range changers {
		for _, n := range c.answered {
			answered[c.api] += n
		}
	}
	for api, n := range answered {
		if done[api] < n {
			t.Errorf("%s: %d changes were answered, %d are in the audit log as done", api, n, done[api])
		}
	}
	if open > killRounds*len(changers) {
		t.Errorf("%d changes have no outcome, at most %d could have been under way", open, killRounds*len(changers))
	}
	fired := map[string]bool{}
	for _, x := range k.executions(t) {
		fired[x.RequestID] = true
		if e := requests[x.RequestID]; x.RequestID != "" && x.Trigger == policy.Manual && e.Outcome != "done" && (e.ID == 0 || e.Outcome != "") {
			t.Errorf("execution %d of %s is of a request of which the audit log says %+v", x.ID, x.Policy, e)
		}
	}
	for id, e := range requests {
		if e.API == "socket" && e.Outcome == "done" && !fired[id] {
			t.Errorf("nothing was fired by %+v", e)
		}
	}
}
