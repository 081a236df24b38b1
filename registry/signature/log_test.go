package signature

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// entries returns the log entries of a bundle.
func entries(t testing.TB, content []byte) []*protorekor.TransparencyLogEntry {
	t.Helper()
	var b protobundle.Bundle
	if err := protojson.Unmarshal(content, &b); err != nil {
		t.Fatal(err)
	}
	return b.GetVerificationMaterial().GetTlogEntries()
}

// enveloped returns an envelope by a new key, and the key.
func enveloped(t testing.TB, alg policy.Algorithm) ([]byte, Key) {
	t.Helper()
	k := bundleKey(t, alg)
	payload := newStatement(bundleImage(1))
	s := submission{payload: payload}
	sig, err := k.Sign(t.Context(), s.message())
	if err != nil {
		t.Fatal(err)
	}
	return newEnvelope(payload, sig), k
}

func TestRekorTakesBundles(t *testing.T) {
	for generation := 1; generation <= 2; generation++ {
		for name, key := range logKeys(t) {
			for _, alg := range []policy.Algorithm{policy.ECDSASHA256, policy.ECDSASHA384, policy.RSAPKCS1SHA256} {
				if generation == 1 && alg == policy.ECDSASHA384 {
					continue // its envelopes know SHA-256 only
				}
				t.Run(fmt.Sprintf("v%d/%s/%s", generation, name, alg), func(t *testing.T) {
					server := newRekorServer(t, generation, key)
					for _, log := range []*Rekor{server.client(), rekorAt(t, server.url+"/", nil)} {
						st, s, k := lenient{newMemory()}, bundleImage(1), bundleKey(t, alg)
						i := NewLayouts(st).Image(s, Witnesses{Log: log})
						sig, _ := mustSign(t, i, policy.FormatBundle, k)
						if got := entries(t, sig.Content); len(got) != 1 {
							t.Fatalf("%d entries", len(got))
						}
						server.since()
						look, err := NewLayouts(st).Image(s, Witnesses{Log: server.client()}).Look(t.Context(), policy.FormatBundle, k)
						if asked := server.since(); err != nil || !look.Signed || len(asked) != 0 {
							t.Errorf("Look = %+v, %v, asked %s", look, err, asked)
						}
					}
				})
			}
		}
	}
}

// TestRekorIsFoundOutOnce counts what a log is asked.
func TestRekorIsFoundOutOnce(t *testing.T) {
	const v2, v1 = "POST /api/v2/log/entries", "POST /api/v1/log/entries"
	for generation, want := range map[int][]string{2: {v2, v2, v2}, 1: {v2, v1, v1, v1}} {
		server := newRekorServer(t, generation, edKey(t))
		log := server.client()
		for range 3 {
			envelope, k := enveloped(t, policy.ECDSASHA256)
			if _, err := log.Enter(t.Context(), envelope, k.PublicKey); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, server.since()); diff != "" {
			t.Errorf("v%d (-want +got):\n%s", generation, diff)
		}
		server.generation = 3 - generation // it was replaced
		for n := range 2 {
			envelope, k := enveloped(t, policy.ECDSASHA256)
			if _, err := log.Enter(t.Context(), envelope, k.PublicKey); (err == nil) != (n == 1) {
				t.Errorf("v%d, entry %d after it was replaced: %v", generation, n, err)
			}
		}
	}
}

// TestRekorFails is about logs that do not answer as they should. Each case says
// how often the log is asked.
func TestRekorFails(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool { http.Error(w, "why", code); return true }
	}
	body := func(text string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write([]byte(text)); return true }
	}
	for _, test := range []struct {
		name    string
		answers func(http.ResponseWriter, *http.Request) bool
		asked   int
		reason  string
	}{
		{"broken", status(500), 3, `status 500: "why\n"`},
		{"overloaded", status(503), 3, "status 503"},
		{"throttling", status(429), 3, "status 429"},
		{"refusing", status(400), 1, `status 400: "why\n"`},
		{"frozen", status(405), 1, "status 405"},
		{"not a log", status(404), 2, "is it the URL of a Rekor server?"},
		{"huge", body(`{"` + strings.Repeat("x", maxLogAnswer) + `":1}`), 1, "more than 65536 bytes"},
		{"no JSON", body("thanks"), 1, "no entry"},
		{"no entry", body("[]"), 1, "no entry"},
		{"empty entry", body("{}"), 1, "no inclusion proof"},
		{"moved", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/elsewhere", http.StatusPermanentRedirect)
			return true
		}, 1, "status 308"},
		{"hanging up", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, 3, "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := newRekorServer(t, 2, edKey(t))
			server.answers = test.answers
			envelope, k := enveloped(t, policy.ECDSASHA256)
			entry, err := server.client().Enter(t.Context(), envelope, k.PublicKey)
			if entry != nil || err == nil || !strings.Contains(err.Error(), test.reason) || !strings.Contains(err.Error(), server.url) {
				t.Errorf("Enter = %s, %v", entry, err)
			}
			if asked := server.since(); len(asked) != test.asked {
				t.Errorf("asked %s", asked)
			}
		})
	}
}

func TestRekorRecovers(t *testing.T) {
	for generation := 1; generation <= 2; generation++ {
		server := newRekorServer(t, generation, edKey(t))
		log, fail := server.client(), 2
		server.answers = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, fmt.Sprintf("/v%d/", generation)) || fail == 0 {
				return false
			}
			if fail--; fail == 0 {
				server.enter(httptest.NewRecorder(), r) // it took the entry, and the answer was lost
			}
			http.Error(w, "a moment", http.StatusBadGateway)
			return true
		}
		envelope, k := enveloped(t, policy.ECDSASHA256)
		if _, err := log.Enter(t.Context(), envelope, k.PublicKey); err != nil {
			t.Errorf("v%d: %v", generation, err)
		}
		if len(server.bodies) != 6 {
			t.Errorf("v%d: %d entries, want one more than 5", generation, len(server.bodies))
		}
	}
}

// deaf is a server that never answers.
type deaf struct{}

func (deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestRekorHangs(t *testing.T) {
	envelope, k := enveloped(t, policy.ECDSASHA256)
	log, err := NewRekor(RekorConfig{URL: "http://rekor.example.com", Client: &http.Client{Transport: deaf{}}})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if _, err := log.Enter(t.Context(), envelope, k.PublicKey); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != logPatience {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if _, err := log.Enter(ctx, envelope, k.PublicKey); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

// TestRekorHasIt enters the same twice: the second time the log only says that it
// is there.
func TestRekorHasIt(t *testing.T) {
	for _, others := range []int{0, 1, 250, 251, 300, 2000} {
		for generation := 1; generation <= 2; generation++ {
			server := newRekorServer(t, generation, edKey(t))
			envelope, k := enveloped(t, policy.ECDSASHA256)
			log := server.client()
			first, err := log.Enter(t.Context(), envelope, k.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			for n := range others {
				server.add(fmt.Sprintf(`{"n":%d}`, n))
			}
			server.since()
			again, err := log.Enter(t.Context(), envelope, k.PublicKey)
			if err != nil {
				t.Errorf("v%d, %d others: %v", generation, others, err)
				continue
			}
			var a, b protorekor.TransparencyLogEntry
			if err := errors.Join(protojson.Unmarshal(first, &a), protojson.Unmarshal(again, &b)); err != nil {
				t.Fatal(err)
			}
			if a.GetLogIndex() != b.GetLogIndex() || string(a.GetCanonicalizedBody()) != string(b.GetCanonicalizedBody()) ||
				string(a.GetLogId().GetKeyId()) != string(b.GetLogId().GetKeyId()) || len(server.bodies) != 6+others {
				t.Errorf("v%d, %d others: %s, then %s", generation, others, first, again)
			}
			if asked := server.since(); len(asked) > 10 {
				t.Errorf("v%d, %d others: asked %s", generation, others, asked)
			}
		}
	}
}

func TestRekorHasItAndDoesNotProveIt(t *testing.T) {
	conflict := func(name, value string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost || strings.HasPrefix(r.URL.Path, "/api/v2") != (name == "X-Log-Index") {
				return false
			}
			w.Header().Set(name, value)
			w.WriteHeader(http.StatusConflict)
			return true
		}
	}
	without := func(path string, inner func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, path) {
				http.NotFound(w, r)
				return true
			}
			return inner(w, r)
		}
	}
	for _, test := range []struct {
		name       string
		generation int
		answers    func(http.ResponseWriter, *http.Request) bool
		keyless    bool
		reason     string
	}{
		{"v1 elsewhere", 1, conflict("Location", "/"), false, "does not say where"},
		{"v1 out of the API", 1, conflict("Location", "/api/v1/log/entries/..%2f..%2fsecret"), false, "does not say where"},
		{"v1 not there", 1, conflict("Location", "/api/v1/log/entries/"+strings.Repeat("0", 64)), false, "status 404"},
		{"v1 another", 1, conflict("Location", "/"+leafName(`{"of":"somebody else","n":1}`)), false, `member "apiVersion" is missing`},
		{"v2 somewhere", 2, conflict("X-Log-Index", ""), false, "does not say where"},
		{"v2 beyond the end", 2, conflict("X-Log-Index", "5"), false, "its checkpoint has 5 entries"},
		{"v2 before the start", 2, conflict("X-Log-Index", "-1"), false, "its checkpoint has 5 entries"},
		{"v2 another", 2, conflict("X-Log-Index", "3"), false, "does not lead to its checkpoint"},
		{"v2 key unknown", 2, conflict("X-Log-Index", "3"), true, "public key is needed"},
		{"v2 shows no checkpoint", 2, without("/api/v2/checkpoint", conflict("X-Log-Index", "3")), false, "reading its checkpoint: /api/v2/checkpoint: status 404"},
		{"v2 shows no tiles", 2, without("/api/v2/tile", conflict("X-Log-Index", "3")), false, "reading its tree: /api/v2/tile/0/000.p/5: status 404"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := newRekorServer(t, test.generation, edKey(t))
			server.answers = test.answers
			log := server.client()
			if test.keyless {
				log = rekorAt(t, server.url, nil)
			}
			envelope, k := enveloped(t, policy.ECDSASHA256)
			if entry, err := log.Enter(t.Context(), envelope, k.PublicKey); err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("Enter = %s, %v", entry, err)
			}
			if asked := server.since(); slices.ContainsFunc(asked, func(a string) bool { return strings.Contains(a, "secret") }) {
				t.Errorf("asked %s", asked)
			}
		})
	}
}

func TestRekorRefusesToEnter(t *testing.T) {
	server := newRekorServer(t, 2, edKey(t))
	good, k := enveloped(t, policy.ECDSASHA256)
	for name, c := range map[string]struct {
		envelope string
		key      []byte
		reason   string
	}{
		"no envelope":   {"{", k.PublicKey, "no DSSE envelope"},
		"no signature":  {`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}`, k.PublicKey, "one signature"},
		"no statement":  {strings.Replace(string(good), "in-toto", "other", 1), k.PublicKey, "no DSSE envelope with a statement"},
		"no key":        {string(good), []byte("x"), "knows such keys"},
		"unusual curve": {string(good), spki(t, curveKey(t, elliptic.P224()).Public()), "knows such keys"},
	} {
		if entry, err := server.client().Enter(t.Context(), []byte(c.envelope), c.key); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: Enter = %s, %v", name, entry, err)
		}
	}
	if asked := server.since(); len(asked) != 0 {
		t.Errorf("asked %s", asked)
	}
}

// TestKeyIsNotUsedForNothing: what no log takes is found before the key is used.
func TestKeyIsNotUsedForNothing(t *testing.T) {
	server := newRekorServer(t, 2, edKey(t))
	k := bundleKey(t, policy.RSAPSSSHA512)
	k.Sign = func(context.Context, []byte) ([]byte, error) {
		t.Error("the key was used")
		return nil, errors.New("used")
	}
	i := NewLayouts(lenient{newMemory()}).Image(bundleImage(1), Witnesses{Log: server.client()})
	if _, err := i.Sign(t.Context(), policy.FormatBundle, k); !errors.Is(err, registry.ErrUnsupported) || !strings.Contains(err.Error(), "RSA_PKCS1_SHA_256") {
		t.Error(err)
	}
}

func TestRekorProbe(t *testing.T) {
	key := curveKey(t, elliptic.P256())
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true }
	}
	for _, test := range []struct {
		name       string
		generation int
		known      crypto.Signer
		answers    func(http.ResponseWriter, *http.Request) bool
		found      string
		reason     string
	}{
		{name: "v2", generation: 2, known: key, found: `Rekor v2, "rekor.example.com" with 5 entries, signed by its key`},
		{name: "v1", generation: 1, known: key, found: `Rekor v1, "rekor.example.com" with 5 entries, signed by its key`},
		{name: "key unknown", generation: 1, found: `Rekor v1, "rekor.example.com" with 5 entries, signed by whomever, as its public key is not configured`},
		{name: "reads elsewhere", generation: 2, known: key, answers: status(501), found: "Rekor v2, which shows its checkpoint elsewhere"},
		{name: "other key", generation: 2, known: curveKey(t, elliptic.P256()), reason: "not signed by the log's key"},
		{name: "no log", generation: 2, known: key, answers: status(404), reason: "is it the URL of a Rekor server?"},
		{name: "no checkpoint", generation: 2, known: key, answers: status(200), reason: "malformed note"},
		{name: "forbidden", generation: 2, known: key, answers: status(403), reason: "status 403"},
		{name: "v1 forbidden", generation: 1, known: key, answers: func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(map[bool]int{true: 403, false: 404}[r.URL.Path == "/api/v1/log"])
			return true
		}, reason: "status 403"},
		{name: "v1 something else", generation: 1, known: key, answers: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/api/v1/log" {
				w.WriteHeader(404)
			}
			_ = json.NewEncoder(w).Encode("hello")
			return true
		}, reason: "not that of a Rekor server"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := newRekorServer(t, test.generation, key)
			server.answers = test.answers
			log := rekorAt(t, server.url, nil)
			if test.known != nil {
				log = rekorAt(t, server.url, publicPEM(t, test.known.Public()))
			}
			found, err := log.Probe(t.Context())
			if test.reason != "" {
				if err == nil || !strings.Contains(err.Error(), test.reason) {
					t.Errorf("Probe = %q, %v", found, err)
				}
				return
			}
			if err != nil || found != test.found {
				t.Errorf("Probe = %q, %v", found, err)
			}
		})
	}
}
