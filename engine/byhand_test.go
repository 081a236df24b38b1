package engine_test

import (
	"bytes"
	"errors"
	"net/http"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
	"github.com/sealwright/sealwright/registry/signature"
)

// TestSignByHand: exactly the tag that was named is signed, whatever fires the
// policy, and again when its signature was lost since.
func TestSignByHand(t *testing.T) {
	t.Parallel()
	for _, trigger := range []policy.TriggerType{policy.Manual, policy.EventBased} {
		t.Run(string(trigger), func(t *testing.T) {
			t.Parallel()
			s := registrytest.Memory(t)
			digest := s.Push(t, "app:v1", registrytest.Image(t))
			other := s.Push(t, "app:v2", registrytest.Image(t))
			p := everything("p")
			p.Trigger.Type = trigger
			h := build(t, s, []policy.Policy{p}, nil)
			first := h.sign("p", "app", "v1")
			wantCounts(t, first, journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
			wantOneSignatureEach(t, s, []v1.Hash{digest})
			if n := s.Signatures(t, "app", other); n != 0 {
				t.Errorf("another tag has %d signatures", n)
			}
			again := h.sign("p", "app", "v1")
			wantCounts(t, again, journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 1})
			if n := h.key.uses.Load(); n != 1 {
				t.Errorf("%d key uses, want 1", n)
			}
			// The signature is lost at once; what the last execution did is not believed.
			deleteManifest(t, s, "app", signature.CosignTag(digest))
			wantCounts(t, h.sign("p", "app", "v1"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
			wantOneSignatureEach(t, s, []v1.Hash{digest})
		})
	}
}

func deleteManifest(t *testing.T, s *registrytest.Server, repository, ref string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+s.Host+"/v2/"+repository+"/manifests/"+ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode >= 300 {
		t.Fatalf("deleting %s: %s, %v", ref, answer.Status, err)
	}
}

// sign signs a tag by hand and waits until its execution has ended.
func (h *house) sign(name, repository, tag string) journal.Execution {
	h.t.Helper()
	x, err := h.Sign(h.t.Context(), "", name, repository, tag)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.await(x.ID)
}

// TestSignByHandRefused: nothing is journaled for what the policy would not sign.
func TestSignByHandRefused(t *testing.T) {
	t.Parallel()
	s := registrytest.Memory(t)
	digest := s.Push(t, "app:v1", registrytest.Image(t))
	p, disabled, off := everything("p"), everything("off"), false
	p.Scope[0].Tags, disabled.Enabled = matches("v*"), &off
	h := build(t, s, []policy.Policy{p, disabled}, nil)
	for what, ask := range map[string][3]string{
		"no such policy":     {"q", "app", "v1"},
		"a disabled one":     {"off", "app", "v1"},
		"a tag out of scope": {"p", "app", "dev"},
		"a signature":        {"p", "app", signature.CosignTag(digest)},
		"a drift scan":       {"drift/p", "app", "v1"},
	} {
		if _, err := h.Sign(t.Context(), "", ask[0], ask[1], ask[2]); !errors.Is(err, engine.ErrPolicy) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if xs, err := h.journal.Executions(t.Context(), journal.ExecutionFilter{Limit: 10}); err != nil || len(xs) != 0 {
		t.Errorf("executions %+v, %v", xs, err)
	}
}

// TestSignByHandOutlivesTheProcess: what was asked for is done by the process that
// comes after.
func TestSignByHandOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	s := registrytest.Memory(t)
	digest := s.Push(t, "app:v1", registrytest.Image(t))
	state := t.TempDir()
	j, err := journal.Open(t.Context(), journal.Options{State: state})
	if err != nil {
		t.Fatal(err)
	}
	// An engine that takes the order and does nothing about it, as if it died then.
	dead := engine.New(engine.Options{Journal: j, Setup: newSetup(t, s, everything("p")), Log: logger(t)})
	x, err := dead.Sign(t.Context(), "request-1", "p", "app", "v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, server: s, key: newKey(t)}
	h.start(state, open(t, s, nil), []policy.Policy{everything("p")}, nil)
	wantCounts(t, h.await(x.ID), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	wantOneSignatureEach(t, s, []v1.Hash{digest})
	if rs, err := h.journal.Records(t.Context(), journal.RecordFilter{}); err != nil || len(rs) != 1 || rs[0].RequestID != "request-1" {
		t.Errorf("the records do not say who asked: %+v, %v", rs, err)
	}
}

// TestFireForARequest: its id is kept with what was signed for it.
func TestFireForARequest(t *testing.T) {
	t.Parallel()
	s := registrytest.Memory(t)
	s.Push(t, "app:v1", registrytest.Image(t))
	h := build(t, s, []policy.Policy{everything("p")}, nil)
	x, err := h.FireFor(t.Context(), "request-2", "p")
	if err != nil {
		t.Fatal(err)
	}
	if x = h.await(x.ID); x.RequestID != "request-2" {
		t.Errorf("%+v", x)
	}
	if rs, err := h.journal.Records(t.Context(), journal.RecordFilter{}); err != nil || len(rs) != 1 || rs[0].RequestID != "request-2" {
		t.Errorf("%+v, %v", rs, err)
	}
}

// TestSignatureOfPolicy: only what the policy's key has signed under the policy's
// identity is shown.
func TestSignatureOfPolicy(t *testing.T) {
	t.Parallel()
	s := registrytest.Memory(t)
	digest := s.Push(t, "app:v1", registrytest.Image(t))
	p, elsewhere := everything("p"), everything("elsewhere")
	elsewhere.Domain = "registry.example.com"
	h := build(t, s, []policy.Policy{p, elsewhere}, nil)
	d := registry.Descriptor{Digest: digest}
	if sig, err := h.Signature(t.Context(), "p", "app", d); sig != nil || err != nil {
		t.Errorf("before it is signed: %x, %v", sig, err)
	}
	h.sign("p", "app", "v1")
	sig, err := h.Signature(t.Context(), "p", "app", d)
	if err != nil || len(sig) == 0 {
		t.Fatalf("%x, %v", sig, err)
	}
	payload := signature.Payload(signature.Subject{Repository: "app", Digest: digest, Identity: s.Host + "/app"})
	if err := h.key.Public().Verify(payload, sig); err != nil {
		t.Error(err)
	}
	if other, err := h.Signature(t.Context(), "elsewhere", "app", d); other != nil || err != nil {
		t.Errorf("under another identity: %x, %v", other, err)
	}
	if other, err := h.Signature(t.Context(), "q", "app", d); !errors.Is(err, engine.ErrPolicy) || bytes.Equal(other, sig) {
		t.Errorf("no such policy: %x, %v", other, err)
	}
}
