package tcr_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/event"
	"github.com/sealwright/sealwright/registry/signature"
)

// proves fails unless an image's signature is by a key, over its digest, under the
// identity.
func (e *estate) proves(key, identity string, i imageInfo) {
	e.t.Helper()
	sig, err := base64.StdEncoding.DecodeString(i.KmsSignature)
	if err != nil || len(sig) == 0 {
		e.t.Fatalf("signature %q: %v", i.KmsSignature, err)
	}
	digest, err := v1.NewHash(i.Digest)
	if err != nil {
		e.t.Fatal(err)
	}
	payload := signature.Payload(signature.Subject{Digest: digest, Identity: identity})
	if err := e.Public[key].Verify(payload, sig); err != nil {
		e.t.Errorf("the signature of %s is not by %s under %s: %v", i.ImageVersion, key, identity, err)
	}
}

func (e *estate) receive(tag string, want engine.Receipt) {
	e.t.Helper()
	got, err := e.Engine.Receive(e.t.Context(), "", controltest.Registry, []event.Push{{Repository: "library/app", Tag: tag}})
	if err != nil || got != want {
		e.t.Fatalf("receipt %+v, %v, want %+v", got, err, want)
	}
}

// reads fails unless the namespace says the policy that was created since.
func (c client) reads(p params, before time.Time) {
	c.t.Helper()
	var said map[string]any
	if err := json.Unmarshal([]byte(c.policies()["library"]), &said); err != nil {
		c.t.Fatal(err)
	}
	created, err := time.Parse(time.RFC3339Nano, said["create_at"].(string))
	if err != nil || created.Before(before.Add(-time.Second)) || created.After(time.Now().Add(time.Second)) {
		c.t.Errorf("created at %v, %v", said["create_at"], err)
	}
	delete(said, "create_at")
	want := map[string]any{"name": p["Name"], "domain": "", "kms_id": p["KmsId"], "kms_region": p["KmsRegion"], "disabled": p["Disabled"]}
	if got, wants := text(c.t, said), text(c.t, want); got != wants {
		c.t.Errorf("the namespace says %s, want %s", got, wants)
	}
}

// TestLifeCycle: from the first policy of a namespace to its last signature, all
// through Tencent's SDK.
func TestLifeCycle(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	old := e.push("library/app:old")
	admin, operator, viewer := e.admin(), e.operator(), e.viewer()
	host := e.Server.Host

	before := time.Now()
	admin.call("CreateSignaturePolicy", library(), nil)
	viewer.reads(library(), before)

	// What is pushed from now on is signed; what was there is signed by hand.
	e.push("library/app:new")
	e.receive("new", engine.Receipt{New: 1})
	e.proves(controltest.Key, host+"/library/app", viewer.signed("new"))
	if i := viewer.image("old"); i.KmsSignature != "" || i.Digest != old || i.Size == 0 ||
		i.Kind != "Artifact::application/vnd.oci.image.manifest.v1+json" {
		t.Errorf("before it is signed: %+v", i)
	}
	operator.call("CreateSignature", app("old"), nil)
	first := viewer.signed("old")
	e.proves(controltest.Key, host+"/library/app", first)

	// Created again, it is another policy: with another domain and another key.
	admin.call("CreateSignaturePolicy", library().with(params{"Name": "library/signing", "Domain": "images.example.com", "KmsId": controltest.RSAKey}), nil)
	if i := viewer.image("old"); i.KmsSignature != "" {
		t.Errorf("the other key has signed it: %+v", i)
	}
	controltest.NextSecond()
	operator.call("CreateSignature", app("old"), nil)
	second := viewer.signed("old")
	e.proves(controltest.RSAKey, "images.example.com/library/app", second)
	if all := e.admin().policies(); len(all) != 1 {
		t.Errorf("policies %v", all)
	}
	e.endsLife(old)
}

// endsLife disables the policy, and deletes it.
func (e *estate) endsLife(old string) {
	e.t.Helper()
	admin, operator, viewer := e.admin(), e.operator(), e.viewer()
	// Disabled, it signs nothing, and is still there.
	admin.call("CreateSignaturePolicy", library().with(params{"Disabled": true}), nil)
	e.push("library/app:newer")
	e.receive("newer", engine.Receipt{Uncovered: 1})
	operator.refused("CreateSignature", app("newer"), "OperationDenied", "disabled")

	// Deleted, it leaves its signatures where they are.
	for range 2 {
		admin.call("DeleteSignaturePolicy", inLibrary(), nil)
	}
	if all := viewer.policies(); len(all) != 0 {
		e.t.Errorf("policies %v", all)
	}
	controltest.NextSecond()
	operator.refused("CreateSignature", app("old"), "ResourceNotFound.TcrResourceNotFound", "signature policy")
	digest, err := v1.NewHash(old)
	if err != nil {
		e.t.Fatal(err)
	}
	if n := e.Server.Signatures(e.t, "library/app", digest); n != 2 {
		e.t.Errorf("%d signatures are left, want 2", n)
	}
	if i := viewer.image("old"); i.KmsSignature != "" {
		e.t.Errorf("without a policy: %+v", i)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestAudit: every change says who wanted it and what came of it; reads say nothing.
func TestAudit(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	e.admin().call("CreateSignaturePolicy", library(), nil)
	e.operator().call("CreateSignature", app("v1"), nil)
	e.operator().refused("CreateSignature", app("v2"), "ResourceNotFound.TcrResourceNotFound", "artifact")
	e.viewer().policies()
	e.admin().call("DeleteSignaturePolicy", inLibrary(), nil)
	list, err := e.Journal.AuditEntries(t.Context(), journal.AuditFilter{API: "tcr"})
	if err != nil {
		t.Fatal(err)
	}
	want := []journal.AuditEntry{
		{Caller: "admin", Action: "DeleteSignaturePolicy", Target: "prod/library", Outcome: "done"},
		{Caller: "operator", Action: "CreateSignature", Target: "prod/library/app:v2",
			Outcome: "not done"},
		{Caller: "operator", Action: "CreateSignature", Target: "prod/library/app:v1", Outcome: "done"},
		{Caller: "admin", Action: "CreateSignaturePolicy", Target: "prod/library", Outcome: "done"},
	}
	if len(list) != len(want) {
		t.Fatalf("entries %+v", list)
	}
	for i, w := range want {
		got := list[i]
		if !requestID.MatchString(got.RequestID) {
			t.Errorf("request id %q", got.RequestID)
		}
		if got.Caller != w.Caller || got.Action != w.Action || got.Target != w.Target || got.Outcome != w.Outcome {
			t.Errorf("entry %+v, want %+v", got, w)
		}
	}
}
