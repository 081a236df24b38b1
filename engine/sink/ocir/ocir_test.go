package ocir_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/sink"
	"github.com/sealwright/sealwright/engine/sink/ocir"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// run delivers all of the chain, and fails unless that comes to its end.
func (o *oracle) run(name string, s *ocir.Sink, meanwhile func(*sink.Runner)) {
	o.t.Helper()
	r := sink.Start(sink.Options{Name: name, Sink: s, Journal: o.Journal, Poll: time.Millisecond, Least: 10 * time.Millisecond, Most: time.Second})
	defer r.Stop(o.t.Context())
	if meanwhile != nil {
		meanwhile(r)
	}
	registrytest.Eventually(o.t, patience, "all is delivered", func() bool {
		u, err := r.Undelivered(o.t.Context())
		return err == nil && u.Entries == 0
	})
}

// TestUploads: images that were signed, in several formats, have one signature each in
// Oracle, which Oracle's client finds and verifies. A second sink finds them there, and
// uses no key.
func TestUploads(t *testing.T) {
	t.Parallel()
	o := newOracle(t, policy.FormatCosign, policy.FormatBundle)
	digests := []string{o.push("library/app"), o.push("library/app"), o.push("library/app")}
	team := o.push("team/app")
	if n := len(o.sign()); n != 8 {
		t.Fatalf("%d entries", n)
	}
	o.run("oracle", o.sink(nil), nil)
	o.has("library/app", digests...)
	o.has("team/app", team)
	o.became(4, map[ocir.Result]int{ocir.Uploaded: 4, ocir.AlreadyThere: 4})
	if n := o.times(create); n != 4 {
		t.Errorf("%d uploads", n)
	}
	o.run("another", o.sink(nil), nil)
	o.has("library/app", digests...)
	o.became(4, map[ocir.Result]int{ocir.Uploaded: 4, ocir.AlreadyThere: 12})
}

// saying is an entry that says something else.
func saying(t *testing.T, e journal.Entry, old, replacement string) journal.Entry {
	t.Helper()
	body := strings.Replace(string(e.Body), old, replacement, 1)
	if body == string(e.Body) {
		t.Fatal(body)
	}
	e.Body = []byte(body)
	return e
}

// TestPassedOver: what is not signed, or of another registry, asks nobody for anything.
func TestPassedOver(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, _ := o.one("library/app")
	s := o.sink(nil)
	must(t, o.deliver(s, saying(t, e, `"state":"signed"`, `"state":"failed"`)), o.deliver(s, saying(t, e, `"registry":"prod"`, `"registry":"other"`)))
	o.became(0, map[ocir.Result]int{})
	if n := o.times(lookup); n != 0 {
		t.Errorf("%d images were looked up", n)
	}
}

// TestOutage: while Oracle answers nothing, or errors, nothing is lost, and the key signs
// each message once.
func TestOutage(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	digests := []string{o.push("library/app"), o.push("library/app")}
	o.sign()
	n := 0
	o.is(func(w http.ResponseWriter, r *http.Request, api http.Handler) {
		if r.Method+" "+r.URL.Path != create {
			api.ServeHTTP(w, r)
			return
		}
		switch n++; n % 3 {
		case 0:
			api.ServeHTTP(w, r)
		case 1:
			panic(http.ErrAbortHandler)
		default:
			http.Error(w, `{"code":"ServiceUnavailable","message":"`+r.Header.Get("Authorization")+`"}`, http.StatusServiceUnavailable)
		}
	})
	o.run("oracle", o.sink(nil), func(r *sink.Runner) {
		registrytest.Eventually(t, patience, "it has failed", func() bool { return r.Counts().Failures > 1 })
	})
	o.is(nil)
	o.has("library/app", digests...)
	o.became(2, map[ocir.Result]int{ocir.Uploaded: 2})
}

// TestThrottled: Oracle is not asked again before it wants to be.
func TestThrottled(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, digest := o.one("library/app")
	o.is(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, `{"code":"TooManyRequests"}`, http.StatusTooManyRequests)
	})
	n, err := o.sink(nil).Deliver(t.Context(), []journal.Entry{saying(t, e, `"state":"signed"`, `"state":"failed"`), e, e})
	var later *sink.Later
	if n != 1 || !errors.As(err, &later) || later.After != 7*time.Second || !strings.Contains(err.Error(), "429 Too Many Requests: TooManyRequests") {
		t.Errorf("%d, %#v", n, err)
	}
	o.is(nil)
	must(t, o.deliver(o.sink(nil), e))
	o.has("library/app", digest)
}

// TestCredentials: Oracle does not let in whom it does not know; what is put right is
// found without a restart.
func TestCredentials(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, digest := o.one("library/app")
	o.asks(1)
	s := o.sink(nil)
	o.refuses(s, e, "looking up the image", "401 Unauthorized: NotAuthenticated", "opc-request-id")
	o.asks(0)
	must(t, o.deliver(s, e))
	o.has("library/app", digest)
	o.became(1, map[ocir.Result]int{ocir.Uploaded: 1})
}

// TestGone: an image that neither Oracle nor the registry has is passed over, and one
// that the registry has is not.
func TestGone(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, digest := o.one("library/app")
	hidden := o.sink(func(p *ocir.Options) { p.Namespace = "elsewhere" })
	o.refuses(hidden, e, "the registry has the image", "404 Not Found: NotAuthorizedOrNotFound")
	broken := o.sink(func(p *ocir.Options) {
		p.Namespace, p.Registry = "elsewhere", controltest.Registry
		p.Has = func(context.Context, string, string) (bool, error) { return false, errors.New("no answer") }
	})
	o.refuses(broken, e, "asking the registry for it: no answer")
	o.became(0, map[ocir.Result]int{})
	o.remove("library/app", digest)
	must(t, o.deliver(o.sink(nil), e))
	o.became(0, map[ocir.Result]int{ocir.ImageGone: 1})
}

// TestDeletedAtOracle: Oracle keeps what is deleted for a while, and says so.
func TestDeletedAtOracle(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, _ := o.one("library/app")
	o.is(rewriting(lookup, `"lifecycleState":"AVAILABLE"`, `"lifecycleState":"DELETED"`))
	must(t, o.deliver(o.sink(nil), e))
	o.became(0, map[ocir.Result]int{ocir.ImageGone: 1})
}

// rewriting changes the text of answers to one kind of request.
func rewriting(what, old, replacement string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, api http.Handler) {
		if r.Method+" "+r.URL.Path != what {
			api.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(rec.Code)
		_, _ = io.WriteString(w, strings.ReplaceAll(rec.Body.String(), old, replacement))
	}
}

// TestCompartment: images of other compartments are passed over.
func TestCompartment(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, digest := o.one("library/app")
	must(t, o.deliver(o.sink(func(p *ocir.Options) { p.Compartment = "ocid1.compartment.oc1..other" }), e))
	o.became(0, map[ocir.Result]int{ocir.OtherCompartment: 1})
	must(t, o.deliver(o.sink(func(p *ocir.Options) { p.Compartment = compartment }), e))
	o.has("library/app", digest)
}

// TestForged: a signature that only says that it is ours is not taken for one: of another
// image, by another key, or no signature at all.
func TestForged(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	first, _ := o.one("library/app")
	must(t, o.deliver(o.sink(nil), first))
	got, err := o.client().ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: common.String(compartment)})
	must(t, err)
	theirs := got.Items[0]
	second, digest := o.one("library/app")
	image, err := o.client().LookupContainerImageByUri(t.Context(), artifacts.LookupContainerImageByUriRequest{
		LookupContainerImageByUriDetails: artifacts.LookupContainerImageByUriDetails{ImageUri: common.String(controltest.Registry + "/library/app@" + digest)}})
	must(t, err)
	m, _, err := message.Parse(*theirs.Message)
	must(t, err)
	m.ImageDigest = digest
	text, uploaded, err := m.Build()
	must(t, err)
	raw, err := otherKey(t).Sign(t.Context(), text)
	must(t, err)
	item := func(message, signature string) string {
		return fmt.Sprintf(`{"imageId":%q,"message":%q,"signature":%q,"lifecycleState":"AVAILABLE"}`, *image.Id, message, signature)
	}
	forged := `{"items":[` + strings.Join([]string{item(*theirs.Message, *theirs.Signature), item(uploaded, *theirs.Signature),
		item(uploaded, base64.StdEncoding.EncodeToString(raw)), item(uploaded, "%"), item("e30=", "AAAA"), "{}"}, ",") + `]}`
	o.is(func(w http.ResponseWriter, r *http.Request, api http.Handler) {
		if r.Method+" "+r.URL.Path != list {
			api.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, forged)
	})
	must(t, o.deliver(o.sink(nil), second))
	o.is(nil)
	o.has("library/app", digest)
	o.became(2, map[ocir.Result]int{ocir.Uploaded: 2})
}

// otherKey is a key that Oracle does not know.
func otherKey(t *testing.T) kms.Signer {
	t.Helper()
	private, public, err := kms.Generate(policy.RSAPSSSHA256, 2048)
	prefix := filepath.Join(t.TempDir(), "key")
	must(t, err, kms.WriteKeyPair(prefix, private, public))
	s, err := kms.Open(t.Context(), kms.Config{URI: "file:" + prefix + ".key", Algorithm: policy.RSAPSSSHA256})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// A swapped signer says that it is another key than the one that signs.
type swapped struct {
	kms.Signer
	public *kms.PublicKey
}

func (s swapped) Public() *kms.PublicKey { return s.public }

// TestWrongKey: what does not verify is not uploaded.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, _ := o.one("library/app")
	o.refuses(o.sink(func(p *ocir.Options) { p.Key = &held{signer: swapped{otherKey(t), o.Public[controltest.RSAKey]}} }), e, "verifying what the key signed")
	for what, options := range map[string]func(*ocir.Options){
		"another algorithm": func(p *ocir.Options) { p.Key = &held{signer: o.Signers[controltest.Key]} },
		"no version":        func(p *ocir.Options) { p.KeyVersionID = "" },
		"no key":            func(p *ocir.Options) { p.Key = &held{err: errors.New("its store is down")} },
	} {
		says := map[string]string{"another algorithm": "signs with ECDSA_SHA_256", "no version": "has no versions", "no key": "its store is down"}[what]
		o.refuses(o.sink(options), e, says)
	}
	if n := o.times(create); n != 0 {
		t.Errorf("%d uploads", n)
	}
	o.became(1, map[ocir.Result]int{})
}

// TestDisabled: a key that is off signs when it is on again.
func TestDisabled(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, digest := o.one("library/app")
	var by kms.Switch
	by.Set(true, "")
	s := o.sink(func(p *ocir.Options) { p.Key = &held{signer: by.Guard(o.Signers[controltest.RSAKey])} })
	o.refuses(s, e, "key is disabled by the configuration")
	by.Set(false, "")
	must(t, o.deliver(s, e))
	o.has("library/app", digest)
}

// TestCrash: an entry whose upload was taken, which nobody knows, is not uploaded twice,
// also as long as Oracle's list does not show it.
func TestCrash(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, digest := o.one("library/app")
	hide := rewriting(list, "imageId", "hidden")
	o.is(func(w http.ResponseWriter, r *http.Request, api http.Handler) {
		if r.Method+" "+r.URL.Path == create {
			api.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler) // taken, but the answer is lost
		}
		hide(w, r, api)
	})
	s := o.sink(nil)
	o.refuses(s, e, "uploading the signature")
	o.has("library/app", digest)
	o.is(hide)
	must(t, o.deliver(s, e)) // the same upload again
	o.became(1, map[ocir.Result]int{ocir.Uploaded: 1})
	restarted := o.sink(nil) // the cursor did not move, and what was signed is forgotten
	o.refuses(restarted, e, "409 Conflict: InvalidatedRetryToken")
	o.is(nil)
	must(t, o.deliver(restarted, e))
	o.has("library/app", digest)
	o.became(2, map[ocir.Result]int{ocir.Uploaded: 1, ocir.AlreadyThere: 1})
	tokens := map[string]bool{}
	for _, h := range o.heads {
		tokens[h.Get("opc-retry-token")] = true
	}
	if len(o.heads) < 3 || len(tokens) != 1 || tokens[""] {
		t.Errorf("tokens %v of %d uploads", tokens, len(o.heads))
	}
}

// TestHostile: answers that are none of the API's take no entry, and nothing that was
// sent is in an error.
func TestHostile(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, digest := o.one("library/app")
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer trap.Close()
	answering := func(status int, body string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("opc-request-id", r.Header.Get("Authorization"))
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.ReplaceAll(body, "ECHO", r.Header.Get("Authorization")))
		}
	}
	for what, c := range map[string]struct {
		gate func(http.ResponseWriter, *http.Request, http.Handler)
		says string
	}{
		"text":         {answering(200, "ECHO"), "not understood"},
		"another code": {answering(400, `{"code":"ECHO","message":"ECHO"}`), "400 Bad Request"},
		"201":          {answering(201, `{}`), "201 Created"},
		"nothing":      {answering(200, `{}`), "about another image"},
		"wrong types":  {answering(200, `{"id":7,"digest":"ECHO"}`), "not understood"},
		"endless":      {answering(200, `{"x":"`+strings.Repeat("x", 5<<20)+`"}`), "answer of more than"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, trap.URL, http.StatusTemporaryRedirect)
		}, "redirects are not followed"},
		"another image": {rewriting(lookup, digest[7:20], "0123456789abc"), "about another image"},
	} {
		t.Log(what)
		o.is(c.gate)
		o.refuses(o.sink(nil), e, c.says)
	}
	o.became(0, map[ocir.Result]int{})
}

// TestReadBack: what is not read back as it was uploaded is not taken.
func TestReadBack(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	e, digest := o.one("library/app")
	s := o.sink(nil)
	o.is(rewriting(create, `"id"`, `"di"`))
	o.refuses(s, e, "uploading the signature: ", "names no signature")
	hide := rewriting(list, "imageId", "hidden")
	o.is(func(w http.ResponseWriter, r *http.Request, api http.Handler) {
		if r.Method == http.MethodGet && r.URL.Path != "/20160918/container/imageSignatures" {
			rewriting("GET "+r.URL.Path, `"signature":"`, `"signature":"AAAA`)(w, r, api)
			return
		}
		hide(w, r, api)
	})
	o.refuses(s, e, "reading the signature back: ", "not what was uploaded")
	o.is(nil)
	must(t, o.deliver(s, e))
	o.has("library/app", digest)
	o.became(1, map[ocir.Result]int{ocir.AlreadyThere: 1})
}
