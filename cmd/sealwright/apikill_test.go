package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	apigmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// A changer makes changes through one API, one after the other.
type changer struct {
	name string
	// change makes what goes by that name. It may be called again for one whose
	// answer was lost.
	change func(name string) error

	mu       sync.Mutex
	asked    []string        // the last one may have no answer
	answered map[string]bool // those that the daemon said it made
}

// run makes changes until the daemon is gone.
func (c *changer) run(round int, made func()) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s_%d_%d", c.name, round, i)
		c.mu.Lock()
		c.asked = append(c.asked, name)
		c.mu.Unlock()
		if err := c.change(name); err != nil {
			return
		}
		c.mu.Lock()
		c.answered[name] = true
		c.mu.Unlock()
		made()
	}
}

// changers make changes with the vendors' SDKs. Each has a credential's rate of its own
// to use up, which no round does.
func (a *apiHouse) changers(t *testing.T, image artifacts.ContainerImage) []*changer {
	swr, apig, oracle := a.SWR(t, vendorKey, vendorSecret), a.APIG(t, vendorKey, vendorSecret), a.Oracle(t, a.oracle)
	never := common.NoRetryPolicy()
	oracle.Configuration.RetryPolicy, oracle.Configuration.CircuitBreaker = &never, nil
	all := policy.Selector{Matches: []string{"**"}}
	own := func(name string) error {
		p := policy.Policy{Name: name, Registry: "test", Key: "release", Trigger: policy.Trigger{Type: policy.Manual}, Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}
		return a.tryOwn(http.MethodPost, "/policies", p)
	}
	list := []*changer{
		{name: "swr", change: func(name string) error {
			_, err := swr.CreateInstanceSignPolicy(&model.CreateInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", Body: swrPolicy(name)})
			return err
		}},
		{name: "apig", change: func(name string) error {
			_, err := apig.CreateSignatureKeyV2(&apigmodel.CreateSignatureKeyV2Request{InstanceId: swrInstance, Body: &apigmodel.BaseSignature{Name: name}})
			return err
		}},
		{name: "oci", change: func(name string) error { _, err := a.upload(t, oracle, image, name); return err }},
		{name: "own", change: own},
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
	d := a.start()
	oracle := a.Oracle(t, a.oracle)
	image := a.lookup(t, oracle, "library/app:v1")
	changers := a.changers(t, image)
	const rounds = 5
	for round := range rounds {
		var made atomic.Int64
		enough := make(chan struct{})
		least := 3 + rand.Int64N(15)
		var all sync.WaitGroup
		for _, c := range changers {
			all.Go(func() {
				c.run(round, func() {
					if made.Add(1) == least {
						close(enough)
					}
				})
			})
		}
		<-enough
		d.signal(syscall.SIGKILL)
		d.wait()
		all.Wait()
		d = a.start()
	}
	defer d.stop()
	there := a.whatIsThere(t)
	for _, c := range changers {
		for name := range c.answered {
			if !slices.Contains(there[c.name], name) && c.name != "oci" {
				t.Errorf("%s: %s was answered, and is not there", c.name, name)
			}
		}
		for _, name := range there[c.name] {
			if !slices.Contains(c.asked, name) {
				t.Errorf("%s: %s was never asked for", c.name, name)
			}
		}
	}
	a.retried(t, changers[2], oracle, image)
	wantAudited(t, a, changers, rounds)
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
			if *p.Creator == "vendor" {
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
