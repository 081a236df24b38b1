package control_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/event"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// boundKeys are signature keys of registries: how each is looked at, and whether it
// proves what is sent now.
type boundKeys struct {
	bound map[string]bool // true: by the header alone
	right bool
	err   error
	asked []int // how many bytes were known each time
}

func (k *boundKeys) Bound(_ context.Context, registry string) (bound, byHeader bool, err error) {
	byHeader, bound = k.bound[registry]
	return bound, byHeader, k.err
}

func (k *boundKeys) Prove(_ context.Context, _ string, _ *http.Request, body []byte) error {
	k.asked = append(k.asked, len(body))
	if !k.right {
		return fmt.Errorf("%w: not by the key", event.ErrUnauthorized)
	}
	return nil
}

// readBytes counts what is read of a body.
type readBytes struct {
	*strings.Reader
	n int
}

func (r *readBytes) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += n
	return n, err
}

// TestRequestOfADelivery: what a delivery tells of is kept under the request id that its
// answer has.
func TestRequestOfADelivery(t *testing.T) {
	t.Parallel()
	h := controltest.New(t, controltest.Options{Policies: []policy.Policy{{Name: "all", Registry: controltest.Registry, Key: controltest.Key,
		Trigger: policy.Trigger{Type: policy.EventBased},
		Scope:   []policy.ScopeRule{{Repositories: policy.Selector{Matches: []string{"app"}}, Tags: policy.Selector{Matches: []string{"**"}}}}}}})
	receiver, err := event.Open(event.Config{Source: event.Distribution, Hosts: []string{h.Server.Host}, Secret: func() ([]byte, error) { return []byte("secret"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	handler := control.Network(control.NetworkOptions{Engine: h.Engine, Door: h.Door, Log: zap.NewNop(),
		Health: control.NewHealth(control.HealthOptions{Dependencies: h.Engine.Dependencies, Log: zap.NewNop()}),
		Events: control.Events(control.EventOptions{Engine: h.Engine, Log: zap.NewNop(), Metrics: control.NewMetrics(),
			Receiver: func(string) (*event.Receiver, bool) { return receiver, true }})})
	h.Server.Push(t, "app:v1", registrytest.Image(t))
	r := httptest.NewRequest(http.MethodPost, "/events/"+controltest.Registry, strings.NewReader(notification(h.Server.Host, "v1")))
	r.Header.Set("Authorization", "Bearer secret")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	var records []journal.Record
	registrytest.Eventually(t, time.Minute, "the push is signed", func() bool {
		records, err = h.Journal.Records(t.Context(), journal.RecordFilter{})
		return err != nil || len(records) > 0 && records[0].State == journal.Signed
	})
	if err != nil || len(records) != 1 || records[0].RequestID == "" || records[0].RequestID != w.Header().Get("X-Request-Id") {
		t.Errorf("answered %d for request %q, recorded %+v, %v", w.Code, w.Header().Get("X-Request-Id"), records, err)
	}
}

// TestEventsBySignatureKey: a bound key is what proves a delivery; the source's own
// secret does not any more. Who proves nothing by the header has nothing read.
func TestEventsBySignatureKey(t *testing.T) {
	t.Parallel()
	h := controltest.New(t, controltest.Options{})
	receiver, err := event.Open(event.Config{Source: event.Distribution, Hosts: []string{h.Server.Host}, Secret: func() ([]byte, error) { return []byte("secret"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	keys := &boundKeys{}
	handler := control.Events(control.EventOptions{Engine: h.Engine, Log: zap.NewNop(), Keys: keys,
		Receiver: func(string) (*event.Receiver, bool) { return receiver, true }})
	const own, signed, basic = "Bearer secret", "SDK-HMAC-SHA256 Access=a, SignedHeaders=b, Signature=c", "Basic YTpi"
	none, byBody, byHeader := map[string]bool{}, map[string]bool{controltest.Registry: false}, map[string]bool{controltest.Registry: true}
	broken := errors.New("the journal is gone")
	for what, c := range map[string]struct {
		bound         map[string]bool
		err           error
		authorization string
		right         bool
		status        int
		read          bool
	}{
		"none is bound, the source's secret":    {none, nil, own, false, http.StatusAccepted, true},
		"none is bound, signed":                 {none, nil, signed, true, http.StatusUnauthorized, false},
		"none is bound, basic":                  {none, nil, basic, true, http.StatusUnauthorized, false},
		"signed by the bound key":               {byBody, nil, signed, true, http.StatusAccepted, true},
		"signed by another":                     {byBody, nil, signed, false, http.StatusUnauthorized, true},
		"the source's secret, a key is bound":   {byBody, nil, own, true, http.StatusUnauthorized, false},
		"the bound key's password":              {byHeader, nil, basic, true, http.StatusAccepted, true},
		"another password":                      {byHeader, nil, basic, false, http.StatusUnauthorized, false},
		"the source's secret, not the password": {byHeader, nil, own, false, http.StatusUnauthorized, false},
		"it is not known whether one is bound":  {byBody, broken, own, true, http.StatusServiceUnavailable, false},
	} {
		keys.bound, keys.err, keys.right = c.bound, c.err, c.right
		body := &readBytes{Reader: strings.NewReader(`{"events": []}`)}
		r := httptest.NewRequest(http.MethodPost, "/events/"+controltest.Registry, body)
		r.Header.Set("Authorization", c.authorization)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.status || (body.n > 0) != c.read || strings.Contains(w.Body.String(), broken.Error()) {
			t.Errorf("%s: %d %s, want %d; %d bytes were read", what, w.Code, w.Body, c.status, body.n)
		}
	}
}
