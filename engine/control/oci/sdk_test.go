package oci_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
)

// TestLifeCycle: a signature is uploaded, found, verified as the OCI CLI does, changed
// and deleted by Oracle's client.
func TestLifeCycle(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := s.client(t, "admin")
	i := s.push(t, "library/app", "v1")
	before := time.Now().Add(-time.Minute)
	d := s.details(t, i, s.messageOf(i))
	d.FreeformTags = map[string]string{"made-by": "test <&> \u00e9"}
	d.DefinedTags = map[string]map[string]interface{}{"Operations": {"CostCenter": "42"}}
	created, err := s.tryUpload(t, c, d)
	if err != nil {
		t.Fatal(err)
	}
	if created.RawResponse.StatusCode != http.StatusOK || created.Etag == nil || created.OpcRequestId == nil {
		t.Errorf("%+v", created)
	}
	want := artifacts.ContainerImageSignature{CompartmentId: d.CompartmentId, CreatedBy: common.String(userOf("admin")), ImageId: i.Id, KmsKeyId: d.KmsKeyId,
		KmsKeyVersionId: d.KmsKeyVersionId, Message: d.Message, Signature: d.Signature, SigningAlgorithm: algorithm256,
		LifecycleState: artifacts.ContainerImageSignatureLifecycleStateAvailable, FreeformTags: d.FreeformTags, DefinedTags: d.DefinedTags,
		SystemTags: map[string]map[string]interface{}{}}
	got := created.ContainerImageSignature
	if got.Id == nil || got.TimeCreated == nil || got.TimeCreated.Before(before) || got.TimeCreated.After(time.Now().Add(time.Minute)) {
		t.Fatalf("%v", got)
	}
	name := "mz22sixa::" + s.version()[54:] + "::SHA_256_RSA_PKCS_PSS::" + (*got.Id)[len(*got.Id)-10:]
	if !regexp.MustCompile(`^ocid1\.containerimagesignature\.oc1\.\.[a-z2-7]{52}$`).MatchString(*got.Id) || (*got.DisplayName)[2:] != name {
		t.Errorf("%v, want a name like %s", got, name)
	}
	want.Id, want.TimeCreated, want.DisplayName = got.Id, got.TimeCreated, got.DisplayName
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	read, err := c.GetContainerImageSignature(t.Context(), artifacts.GetContainerImageSignatureRequest{ImageSignatureId: got.Id})
	if d := cmp.Diff(want, read.ContainerImageSignature); d != "" || err != nil || *read.Etag != *created.Etag {
		t.Error(d, err)
	}
	s.verifyAsCLI(t, c, "library/app", *i.Digest)
	s.change(t, c, read)
}

// verifyAsCLI does what "oci artifacts container image-signature get-verify" does.
func (s *site) verifyAsCLI(t *testing.T, c artifacts.ArtifactsClient, repository, digest string) {
	t.Helper()
	found, err := list(t.Context(), c, artifacts.ListContainerImageSignaturesRequest{RepositoryName: &repository, ImageDigest: &digest})
	if err != nil || len(found) != 1 || *found[0].KmsKeyId != controltest.RSAKeyAlias {
		t.Fatalf("%v, %v", found, err)
	}
	signed, err := base64.StdEncoding.DecodeString(*found[0].Message)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := base64.StdEncoding.DecodeString(*found[0].Signature)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Public[controltest.RSAKey].Verify(signed, signature); err != nil {
		t.Error(err)
	}
	if !bytes.Contains(signed, []byte(digest)) {
		t.Errorf("%s is not about %s", signed, digest)
	}
}

// change updates and deletes a signature, each first with a stale etag.
func (s *site) change(t *testing.T, c artifacts.ArtifactsClient, was artifacts.GetContainerImageSignatureResponse) {
	t.Helper()
	update := func(match *string, d artifacts.UpdateContainerImageSignatureDetails) (artifacts.UpdateContainerImageSignatureResponse, error) {
		return c.UpdateContainerImageSignature(t.Context(), artifacts.UpdateContainerImageSignatureRequest{ImageSignatureId: was.Id, IfMatch: match, UpdateContainerImageSignatureDetails: d})
	}
	remove := func(match *string) error {
		_, err := c.DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: was.Id, IfMatch: match})
		return err
	}
	tags := artifacts.UpdateContainerImageSignatureDetails{FreeformTags: map[string]string{"n": "2"}}
	_, err := update(common.String("stale"), tags)
	expect(t, "a stale update", err, http.StatusPreconditionFailed, "NoEtagMatch")
	changed, err := update(was.Etag, tags)
	if err != nil || *changed.Etag == *was.Etag {
		t.Fatalf("%v, %v", changed, err)
	}
	want := was.ContainerImageSignature
	want.FreeformTags = tags.FreeformTags
	if d := cmp.Diff(want, changed.ContainerImageSignature); d != "" {
		t.Error(d)
	}
	again, err := update(nil, artifacts.UpdateContainerImageSignatureDetails{DefinedTags: map[string]map[string]interface{}{}, FreeformTags: map[string]string{}})
	if err != nil || *again.Etag == *changed.Etag || len(again.FreeformTags) != 0 || len(again.DefinedTags) != 0 {
		t.Errorf("%v, %v", again, err)
	}
	_, err = update(changed.Etag, tags)
	expect(t, "an update of the version before", err, http.StatusPreconditionFailed, "NoEtagMatch")
	expect(t, "a stale deletion", remove(changed.Etag), http.StatusPreconditionFailed, "NoEtagMatch")
	// The header is not signed: within a second, this is the same request, and Oracle's
	// client signs it again.
	if err := remove(again.Etag); err != nil {
		t.Fatal(err)
	}
	expectNotFound(t, "a second deletion", remove(nil))
	_, err = update(nil, tags)
	expectNotFound(t, "an update after that", err)
	_, err = c.GetContainerImageSignature(t.Context(), artifacts.GetContainerImageSignatureRequest{ImageSignatureId: was.Id})
	expectNotFound(t, "what was deleted", err)
	if found, err := list(t.Context(), c, artifacts.ListContainerImageSignaturesRequest{}); len(found) != 0 || err != nil {
		t.Error(found, err)
	}
	s.expectAudit(t)
}

// expectAudit: each change is written down, with what came of it.
func (s *site) expectAudit(t *testing.T) {
	t.Helper()
	entries, err := s.Journal.AuditEntries(t.Context(), journal.AuditFilter{API: "oci"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range slices.Backward(entries) {
		if e.Outcome == "refused: replayed" { // within a second; Oracle's client has signed it again
			continue
		}
		got = append(got, fmt.Sprintf("%s %s %s", e.Caller, e.Action, e.Outcome))
		if e.Target == "" || e.RequestID == "" {
			t.Errorf("%+v", e)
		}
	}
	const create, update, remove = "oci admin CreateContainerImageSignature ", "oci admin UpdateContainerImageSignature ", "oci admin DeleteContainerImageSignature "
	want := []string{create + "done", update + "not done", update + "done", update + "done", update + "not done",
		remove + "not done", remove + "done", remove + "not done", update + "not done"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestAlgorithms: a key in a vault signs with each algorithm; here it is enough that
// its public half is known.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	i := s.push(t, "library/app", "v1")
	c := s.client(t, "admin")
	for _, name := range message.Algorithms() {
		for _, keyID := range []string{"ocid1.key.oc1.phx.vault.elsewhere", controltest.RSAKey} {
			m := s.messageOf(i)
			m.KMSKeyID, m.KMSKeyVersionID, m.SigningAlgorithm = keyID, "ocid1.keyversion.oc1.phx.0.vault.x", name
			d := s.details(t, i, m)
			s.keys.Store([2]string{m.KMSKeyID, m.KMSKeyVersionID}, s.elsewhere(t, &d, name))
			if _, err := s.tryUpload(t, c, d); err != nil {
				t.Errorf("%s by %s: %v", name, keyID, err)
			}
		}
	}
	if found, err := list(t.Context(), c, artifacts.ListContainerImageSignaturesRequest{}); len(found) != 8 || err != nil {
		t.Error(len(found), err)
	}
	for algorithm, n := range map[artifacts.ListContainerImageSignaturesSigningAlgorithmEnum]int{"SHA_224_RSA_PKCS_PSS": 2, "sha_512_rsa_pkcs_pss": 2} {
		if found, err := list(t.Context(), c, artifacts.ListContainerImageSignaturesRequest{SigningAlgorithm: algorithm}); len(found) != n || err != nil {
			t.Error(len(found), err)
		}
	}
}
