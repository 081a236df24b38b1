package oci_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/oci"
)

// TestRetryTokens: a call that is made again with its token makes nothing again, also
// after a restart; the token of another call, or of what is deleted, is refused.
func TestRetryTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := s.client(t, "admin")
	i := s.push(t, "library/app", "v1")
	r := artifacts.CreateContainerImageSignatureRequest{OpcRetryToken: common.String("token"), CreateContainerImageSignatureDetails: s.details(t, i, s.messageOf(i))}
	first, err := c.CreateContainerImageSignature(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string, c artifacts.ArtifactsClient) {
		t.Helper()
		again, err := c.CreateContainerImageSignature(t.Context(), r)
		if d := cmp.Diff(first.ContainerImageSignature, again.ContainerImageSignature); d != "" || err != nil || *again.Etag != *first.Etag {
			t.Errorf("%s: %s %v", what, d, err)
		}
	}
	// Within the same second this is the very same request: Oracle's client is told to
	// sign it again, and does.
	same("at once", c)
	restarted := siteOf(t, s.House) // everything that is not in the journal is forgotten
	same("after a restart", restarted.client(t, "admin"))
	other := r
	other.CreateContainerImageSignatureDetails = s.details(t, i, s.messageOf(i))
	_, err = c.CreateContainerImageSignature(t.Context(), other)
	expect(t, "another signature", err, http.StatusConflict, "InvalidatedRetryToken")
	other = r
	other.FreeformTags = map[string]string{"a": "b"}
	_, err = c.CreateContainerImageSignature(t.Context(), other)
	expect(t, "other tags", err, http.StatusConflict, "InvalidatedRetryToken")
	// What is true once is not looked at again, the image may be gone by now.
	s.delete(t, "library/app", *i.Digest)
	same("after the image is gone", c)
	if _, err := c.DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: first.Id}); err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateContainerImageSignature(t.Context(), r)
	expect(t, "what is deleted", err, http.StatusConflict, "InvalidatedRetryToken")
	for what, token := range map[string]string{"long": *long(65), "not ASCII": "\u00e9"} {
		r.OpcRetryToken = &token
		_, err = c.CreateContainerImageSignature(t.Context(), r)
		expect(t, what, err, http.StatusBadRequest, "InvalidParameter")
	}
}

// TestRetryTokenOfOthers: a token is its caller's.
func TestRetryTokenOfOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	i := s.push(t, "team/app", "v1")
	r := artifacts.CreateContainerImageSignatureRequest{OpcRetryToken: common.String("token"), CreateContainerImageSignatureDetails: s.details(t, i, s.messageOf(i))}
	var ids []string
	for _, name := range []string{"admin", "narrow"} {
		got, err := s.client(t, name).CreateContainerImageSignature(t.Context(), r)
		if err != nil || *got.CreatedBy != userOf(name) {
			t.Fatal(got, err)
		}
		ids = append(ids, *got.Id)
	}
	if ids[0] == ids[1] {
		t.Errorf("one caller got another's %s", ids[0])
	}
}

// TestAtOnce: of many calls with one token, one makes a signature, and all get it.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	i := s.push(t, "library/app", "v1")
	c := s.client(t, "admin")
	r := artifacts.CreateContainerImageSignatureRequest{OpcRetryToken: common.String("token"), CreateContainerImageSignatureDetails: s.details(t, i, s.messageOf(i))}
	var mu sync.Mutex
	var ids []string
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			got, err := c.CreateContainerImageSignature(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, *got.Id)
		})
	}
	all.Wait()
	slices.Sort(ids)
	if found, err := list(t.Context(), c, artifacts.ListContainerImageSignaturesRequest{}); len(slices.Compact(ids)) != 1 || len(found) != 1 || err != nil {
		t.Errorf("%v, %v, %v", ids, found, err)
	}
}

// TestReplay: the very same request is not carried out twice, and a client that tries
// again, as Oracle's does, signs it anew.
func TestReplay(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	created := s.upload(t, s.client(t, "admin"), s.push(t, "library/app", "v1"))
	uri := "/20160918/container/imageSignatures/" + *created.Id
	var header http.Header
	got := s.send(t, "admin", http.MethodDelete, uri, "", func(r *http.Request) { header = r.Header.Clone(); r.Header.Set("If-Match", "stale") })
	if got.status != http.StatusPreconditionFailed {
		t.Fatal(got)
	}
	got = s.send(t, "admin", http.MethodDelete, uri, "", func(r *http.Request) { r.Header = header })
	if got.status != http.StatusConflict || got.Code != "IncorrectState" {
		t.Errorf("%d %s %s", got.status, got.Code, got.Message)
	}
	// What the client's default policy does with such an answer.
	policy := common.DefaultRetryPolicy()
	if !policy.ShouldRetryOperation(common.NewOCIOperationResponse(nil, failure{got}, 1)) {
		t.Error("Oracle's client does not try again")
	}
}

// failure is an error as Oracle's client has it.
type failure struct{ reply }

func (f failure) Error() string           { return f.Message }
func (f failure) GetHTTPStatusCode() int  { return f.status }
func (f failure) GetMessage() string      { return f.Message }
func (f failure) GetCode() string         { return f.Code }
func (f failure) GetOpcRequestID() string { return f.header.Get("opc-request-id") }

// TestRacesOverHTTP: an update and a deletion of the same version: one of them is.
func TestRacesOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	created := s.upload(t, s.client(t, "admin"), s.push(t, "library/app", "v1"))
	uri := "/20160918/container/imageSignatures/" + *created.Id
	match := func(r *http.Request) { r.Header.Set("If-Match", *created.Etag) }
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			method, body := http.MethodDelete, ""
			if i%2 == 0 {
				method, body = http.MethodPut, `{"freeformTags":{}}`
			}
			got := s.send(t, "admin", method, uri, body, match)
			mu.Lock()
			defer mu.Unlock()
			statuses[got.status]++
		})
	}
	all.Wait()
	if statuses[http.StatusOK]+statuses[http.StatusNoContent] != 1 || statuses[http.StatusPreconditionFailed]+statuses[http.StatusNotFound] != 15 {
		t.Error(statuses)
	}
}

// TestPanic: a fault of ours is answered as Oracle does, and says nothing.
func TestPanic(t *testing.T) {
	t.Parallel()
	h := newHouse(t, controltest.Options{})
	s := &site{House: h, url: h.Serve(t, oci.New(oci.Options{Journal: h.Journal, Door: h.Door, Log: zap.NewNop()}))}
	got := s.send(t, "admin", http.MethodGet, "/20160918/container/imageSignatures?compartmentId="+compartment, "", nil)
	if got.status != http.StatusInternalServerError || got.Code != "InternalServerError" || got.Message != "Internal server error." {
		t.Errorf("%+v", got)
	}
}
