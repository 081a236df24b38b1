package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	apigmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// tcrNamespace is where TCR's policy is. It has one for each namespace.
const tcrNamespace = "tencent"

// A changer makes changes through one API, one after the other.
type changer struct {
	name string
	// change makes what goes by that name. It may be called again for one whose
	// answer was lost.
	change func(name string) error

	mu       sync.Mutex
	asked    []string        // the last one may have no answer
	answered map[string]bool // those that the daemon said it made
	err      error           // why the last round ended
}

// run makes changes until one fails, as they do when the daemon is gone.
func (c *changer) run(round int, made func()) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s_%d_%d", c.name, round, i)
		c.mu.Lock()
		c.asked = append(c.asked, name)
		c.mu.Unlock()
		if err := c.change(name); err != nil {
			c.mu.Lock()
			c.err = fmt.Errorf("%s: %w", name, err)
			c.mu.Unlock()
			return
		}
		c.mu.Lock()
		c.answered[name] = true
		c.mu.Unlock()
		made()
	}
}

// begin is before a round.
func (c *changer) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = nil
}

// failed returns why the round has ended, nil if it goes on.
func (c *changer) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// changers make changes with the vendors' SDKs. Each has a credential's rate of its own
// to use up, which no round does.
func (a *apiHouse) changers(t *testing.T, image artifacts.ContainerImage) []*changer {
	swr, apig, oracle := a.SWR(t, vendorKey, vendorSecret), a.APIG(t, vendorKey, vendorSecret), a.Oracle(t, a.oracle)
	tencent := a.TCR(vendorKey, vendorSecret)
	never := common.NoRetryPolicy()
	oracle.Configuration.RetryPolicy, oracle.Configuration.CircuitBreaker = &never, nil
	all := policy.Selector{Matches: []string{"**"}}
	own := func(name string) error {
		p := policy.Policy{Name: name, Registry: "test", Key: "release", Trigger: policy.Trigger{Type: policy.Manual}, Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}
		return a.tryOwn(http.MethodPost, "/policies", p)
	}
	list := []*changer{
		{name: "swr", change: func(name string) error {
			_, err := swr.CreateInstanceSignPolicy(&model.CreateInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", Body: controltest.SWRPolicy(name, "release")})
			return err
		}},
		{name: "apig", change: func(name string) error {
			_, err := apig.CreateSignatureKeyV2(&apigmodel.CreateSignatureKeyV2Request{InstanceId: swrInstance, Body: &apigmodel.BaseSignature{Name: name}})
			return err
		}},
		{name: "oci", change: func(name string) error { _, err := a.upload(t, oracle, image, name); return err }},
		{name: "own", change: own},
		// Each takes the place of the one before. Their names differ, so that no two are
		// one request within a second.
		{name: "tcr", change: func(name string) error {
			return tencent.Call("CreateSignaturePolicy", map[string]any{"RegistryId": tcrInstance, "Name": name, "NamespaceName": tcrNamespace,
				"KmsId": "4c5cc6ea-8aa9-49f3-8a0f-1b1f0d0a9c11", "KmsRegion": ""}, nil)
		}},
	}
	for _, c := range list {
		c.answered = map[string]bool{}
	}
	return list
}

// TestKilledWhileChanging: whenever the daemon is killed, what it answered is there, and
// of what it did not all or nothing is; a retry token makes one of two tries.
func TestKilledWhileChanging(t *testing.T) {
	a := newAPIHouse(t)
	a.registry.Push(t, "library/app:v1", registrytest.Image(t))
	a.registry.Push(t, tcrNamespace+"/app:v1", registrytest.Image(t))
	d := a.start()
	oracle := a.Oracle(t, a.oracle)
	image := a.lookup(t, oracle, "library/app:v1")
	changers := a.changers(t, image)
	const rounds = 5
	for round := range rounds {
		changing(t, changers, round, func() {
			d.signal(syscall.SIGKILL)
			d.wait()
		})
		d = a.start()
	}
	defer d.stop()
	there := a.whatIsThere(t)
	for _, c := range changers {
		for name := range c.answered {
			if !slices.Contains(there[c.name], name) && c.name != "oci" && c.name != "tcr" {
				t.Errorf("%s: %s was answered, and is not there", c.name, name)
			}
		}
		for _, name := range there[c.name] {
			if !slices.Contains(c.asked, name) {
				t.Errorf("%s: %s was never asked for", c.name, name)
			}
		}
	}
	a.wantLast(t, changers[4])
	a.retried(t, changers[2], oracle, image)
	wantAudited(t, a, changers, rounds)
}

// changing has changes made until kill, which is called after some of them and while all
// go on.
func changing(t *testing.T, changers []*changer, round int, kill func()) {
	t.Helper()
	var made atomic.Int64
	enough := make(chan struct{})
	least := 3 + rand.Int64N(15)
	var all sync.WaitGroup
	for _, c := range changers {
		c.begin()
		all.Go(func() {
			c.run(round, func() {
				if made.Add(1) == least {
					close(enough)
				}
			})
		})
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		all.Wait()
	}()
	select {
	case <-enough:
	case <-over:
		t.Error("all changes ended")
	case <-time.After(patience):
		t.Errorf("%d changes were made, not %d", made.Load(), least)
	}
	for _, c := range changers {
		if err := c.failed(); err != nil {
			t.Errorf("while the daemon ran: %v", err)
		}
	}
	kill()
	<-over
	if t.Failed() {
		t.FailNow()
	}
}

// wantLast: of changes that each take the place of the one before, the last that was
// answered is there, whole, or the one after it.
func (a *apiHouse) wantLast(t *testing.T, c *changer) {
	t.Helper()
	var list struct {
		NamespaceList []struct {
			Name     string
			Metadata []struct{ Key, Value string }
		}
	}
	if err := a.TCR(vendorKey, vendorSecret).Call("DescribeNamespaces", map[string]any{"RegistryId": tcrInstance, "NamespaceName": tcrNamespace, "KmsSignPolicy": true}, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.NamespaceList) != 1 || len(list.NamespaceList[0].Metadata) != 1 {
		t.Fatalf("%+v", list)
	}
	var p struct {
		Name  string
		KmsID string `json:"kms_id"`
	}
	if err := json.Unmarshal([]byte(list.NamespaceList[0].Metadata[0].Value), &p); err != nil {
		t.Fatal(err)
	}
	last := slices.IndexFunc(c.asked, func(name string) bool { return name == p.Name })
	if last < 0 || p.KmsID == "" {
		t.Errorf("%s: %+v was never asked for", c.name, p)
	}
	for i, name := range c.asked {
		if i > last && c.answered[name] {
			t.Errorf("%s: %s was answered, and %s is there", c.name, name, p.Name)
		}
	}
}

// whatIsThere returns the names of what the APIs show, each of them whole.
func (a *apiHouse) whatIsThere(t *testing.T) map[string][]string {
	t.Helper()
	there := map[string][]string{}
	swr := a.SWR(t, vendorKey, vendorSecret)
	for offset := int32(0); ; offset += 100 {
		list, err := swr.ListInstanceSignPolicies(&model.ListInstanceSignPoliciesRequest{InstanceId: swrInstance, Limit: pointer(int32(100)), Offset: &offset})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range *list.Policies {
			if *p.NamespaceName == "library" {
				there["swr"] = append(there["swr"], *p.Name)
			}
			if len(*p.ScopeRules) == 0 || *p.SignatureKey != "release" {
				t.Errorf("half a policy: %+v", p)
			}
		}
		if len(*list.Policies) == 0 {
			break
		}
	}
	keys, err := a.APIG(t, vendorKey, vendorSecret).ListSignatureKeysV2(&apigmodel.ListSignatureKeysV2Request{InstanceId: swrInstance, Limit: pointer(int32(500))})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range *keys.Signs {
		there["apig"] = append(there["apig"], k.Name)
	}
	var page struct {
		Items []struct {
			Name   string
			Origin journal.Origin
		}
		Next string
	}
	for cursor := ""; ; cursor = page.Next {
		page.Next, page.Items = "", nil
		if code := a.own(t, http.DefaultClient, a.URL, http.MethodGet, "/policies?cursor="+cursor, nil, &page); code != http.StatusOK {
			t.Fatal(code)
		}
		for _, p := range page.Items {
			if p.Origin == journal.FromAPI {
				there["own"] = append(there["own"], p.Name)
			}
		}
		if page.Next == "" {
			return there
		}
	}
}

// retried uploads again with each token that was sent: there is one signature for each.
func (a *apiHouse) retried(t *testing.T, c *changer, oracle artifacts.ArtifactsClient, image artifacts.ContainerImage) {
	t.Helper()
	ids := map[string]bool{}
	for _, token := range c.asked {
		made, err := a.upload(t, oracle, image, token)
		if err != nil {
			t.Fatal(err)
		}
		ids[*made.Id] = true
	}
	list, err := oracle.ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: pointer(ociCompartment), Limit: pointer(1000)})
	if err != nil || len(list.Items) != len(c.asked) || len(ids) != len(c.asked) {
		t.Errorf("%d signatures of %d tokens, %d ids, %v", len(list.Items), len(c.asked), len(ids), err)
	}
}

// wantAudited: whatever was answered is in the audit log with its outcome, and only what
// was under way when the daemon died has none.
func wantAudited(t *testing.T, a *apiHouse, changers []*changer, rounds int) {
	t.Helper()
	done, open := map[string]int{}, 0
	var page struct {
		Items []journal.AuditEntry
		Next  string
	}
	for cursor := ""; ; cursor = page.Next {
		page.Next, page.Items = "", nil
		if code := a.own(t, http.DefaultClient, a.URL, http.MethodGet, "/audit?cursor="+cursor, nil, &page); code != http.StatusOK {
			t.Fatal(code)
		}
		for _, e := range page.Items {
			switch e.Outcome {
			case "done":
				done[e.API]++
			case "":
				open++
			}
		}
		if page.Next == "" {
			break
		}
	}
	api := map[string]string{"own": "api"}
	for _, c := range changers {
		name := c.name
		if other := api[name]; other != "" {
			name = other
		}
		if done[name] < len(c.answered) {
			t.Errorf("%s: %d changes were answered, %d are in the audit log as done", c.name, len(c.answered), done[name])
		}
	}
	if open > rounds*len(changers) {
		t.Errorf("%d changes have no outcome, at most %d could have been under way", open, rounds*len(changers))
	}
}

// An ownProblem is an error that our own API answers with.
type ownProblem struct {
	Status    int
	Detail    string
	RequestID string `json:"request_id"`
}

func (p *ownProblem) Error() string { return fmt.Sprintf("answered %d: %s", p.Status, p.Detail) }

// tryOwn asks our own API, which may not be there, to change something as it is now.
func (a *apiHouse) tryOwn(method, path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequest(method, a.URL+"/api/v1"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + ownToken}}
	if method == http.MethodPut || method == http.MethodDelete {
		req.Header.Set("If-Match", "*")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if raw, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode < http.StatusBadRequest {
		return err
	}
	said := &ownProblem{}
	if err := json.Unmarshal(raw, said); err != nil || said.Status != resp.StatusCode || resp.Header.Get("Content-Type") != "application/problem+json" {
		return fmt.Errorf("answered %s, no problem: %s", resp.Status, raw)
	}
	return said
}
