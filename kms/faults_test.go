package kms_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// A cloud is a key store behind a loopback server, as its adapter meets it.
type cloud struct {
	// opened are the requests that opening a key makes, signed is the one that
	// signing makes, in the server's words.
	opened []string
	signed string
	// offline returns a fresh server without a network, and how to reach a fresh
	// P-256 key of it.
	offline func(t *testing.T) (*loopback.Server, kms.StoreConfig, string)
	// throttled, down and disabled answer as the store does to too many requests,
	// when it is out of order, and for a key that may not sign.
	throttled, down, disabled func(w http.ResponseWriter)
}

// clouds are all key stores that are asked by HTTP.
func clouds() map[string]cloud {
	return map[string]cloud{
		"AWS": awsCloud(), "Google": gcpCloud(), "Azure": azureCloud(), "Vault": vaultCloud(),
		"Huawei": huaweiCloud(), "Tencent": tencentCloud(), "OCI": ociCloud(), "Alibaba": alibabaCloud(),
	}
}

// A fault spoils an answer.
type fault func(w http.ResponseWriter, r *http.Request)

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func drop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func raw(status int, body string) fault {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // the client may have left
	}
}

// with sets a header of an answer, whatever it says itself.
func with(name, value string, answer fault) fault {
	return func(w http.ResponseWriter, r *http.Request) { answer(headerFirst{w, name, value}, r) }
}

type headerFirst struct {
	http.ResponseWriter
	name, value string
}

func (h headerFirst) WriteHeader(status int) {
	h.Header().Set(h.name, h.value)
	h.ResponseWriter.WriteHeader(status)
}

func plainly(answer func(w http.ResponseWriter)) fault {
	return func(w http.ResponseWriter, _ *http.Request) { answer(w) }
}

var tooLarge = raw(http.StatusOK, `{"a":"`+strings.Repeat("x", 1<<20)+`"}`)

// A spoilt is what is done to the answers to signing, and what comes of it.
type spoilt struct {
	name    string
	fault   fault
	times   int64 // how many answers in a row; forever
	limit   time.Duration
	want    error // nil: it is signed in the end
	outcome string
	once    bool // it is not tried again
}

const forever = 1 << 30

func (c cloud) faults() []spoilt {
	const short, long = 20 * time.Second, time.Minute
	return []spoilt{
		{"throttled", plainly(c.throttled), 2, long, nil, "throttled", false},
		{"throttled for ever", plainly(c.throttled), forever, short, kms.ErrThrottled, "throttled", false},
		{"throttled for longer than there is", with("Retry-After", "3600", plainly(c.throttled)), forever, long, kms.ErrThrottled, "throttled", true},
		{"a short outage", plainly(c.down), 2, long, nil, "unavailable", false},
		{"a long outage", plainly(c.down), forever, short, kms.ErrUnavailable, "unavailable", false},
		{"an outage for longer than there is", with("Retry-After", "3600", raw(http.StatusServiceUnavailable, "")), forever, long, kms.ErrUnavailable, "unavailable", true},
		{"a dropped connection", drop, 1, long, nil, "unavailable", false},
		{"dropped connections", drop, forever, short, kms.ErrUnavailable, "unavailable", false},
		{"two hang", hang, 2, long, nil, "unavailable", false},
		{"all hang", hang, forever, 3 * time.Second, context.DeadlineExceeded, "", false},
		{"nothing but a status", raw(http.StatusInternalServerError, ""), 1, long, nil, "unavailable", false},
		{"not JSON", raw(http.StatusOK, "<html>welcome to the hotel</html>"), forever, short, kms.ErrUnavailable, "unavailable", false},
		{"a proxy's error", raw(http.StatusBadGateway, "<html>bad gateway</html>"), forever, short, kms.ErrUnavailable, "unavailable", false},
		{"half of an object", raw(http.StatusOK, `{"a":"`), 1, long, nil, "unavailable", false},
		{"cut off", with("Content-Length", "1000", raw(http.StatusOK, `{"`)), 1, long, nil, "unavailable", false},
		{"too large", tooLarge, forever, short, kms.ErrUnavailable, "unavailable", false},
		{"disabled", plainly(c.disabled), forever, long, kms.ErrKeyState, "failed", true},
	}
}

// oneAtATime is enough for every call: none is made inside another.
var oneAtATime = budget.Limits{RequestsPerSecond: 1e5, Concurrency: 1}

func (c cloud) open(t *testing.T) (*loopback.Server, *kms.Store, kms.Config) {
	t.Helper()
	server, cfg, uri := c.offline(t)
	cfg.Endpoint, cfg.Transport, cfg.CAFile = server.URL, server, ""
	cfg.Limits = oneAtATime
	store := newStore(t, cfg)
	return server, store, kms.Config{URI: uri, Store: store}
}

func TestFaults(t *testing.T) {
	for name, c := range clouds() {
		for _, tt := range c.faults() {
			t.Run(name+"/"+tt.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { c.spoil(t, tt) }) })
		}
	}
}

// spoil looks what comes of a signature whose answers are spoilt.
func (c cloud) spoil(t *testing.T, tt spoilt) {
	server, store, cfg := c.open(t)
	s := openConfig(t, cfg)
	var sent atomic.Int64
	server.Intercept(func(op string, w http.ResponseWriter, r *http.Request) bool {
		if op != c.signed || sent.Add(1) > tt.times {
			return false
		}
		tt.fault(w, r)
		return true
	})
	start := time.Now()
	signature, err := s.Sign(deadline(t, tt.limit), []byte("message"))
	if !errors.Is(err, tt.want) || (signature == nil) == (tt.want == nil) {
		t.Fatalf("signing returned %x and %v, want %v", signature, err, tt.want)
	}
	if took := time.Since(start); took > tt.limit || tt.once && took > time.Second {
		t.Errorf("it took %s of %s", took, tt.limit)
	}
	if err != nil {
		c.wellSaid(t, err, tt)
	}
	if tt.outcome != "" { // else the signer did not wait for the attempt to be counted
		wantCounts(t, store, tt, sent.Load())
	}
	server.Intercept(nil)
	if tt.outcome == "" {
		wantSignature(t, s, s.Public())
	}
}

// wellSaid checks that an error names its kind once, and is short.
func (c cloud) wellSaid(t *testing.T, err error, tt spoilt) {
	t.Helper()
	var answer *kms.StoreError
	if n := strings.Count(err.Error(), tt.want.Error()); n != 1 || len(err.Error()) > 700 {
		t.Errorf("%q says %d times %q", err, n, tt.want)
	}
	if tt.want == kms.ErrThrottled && tt.once && (!errors.As(err, &answer) || answer.RetryAfter != time.Hour || answer.Code == "") { //nolint:errorlint // it is this one
		t.Errorf("%v does not say that it asks for an hour", err)
	}
	if !errors.Is(tt.want, context.DeadlineExceeded) && !errors.As(err, &answer) {
		t.Errorf("%v is no StoreError", err)
	}
}

// wantCounts checks that the store counted each request that was sent, none was
// sent twice by the library inside, and faults were tried again.
func wantCounts(t *testing.T, store *kms.Store, tt spoilt, sent int64) {
	t.Helper()
	requests := store.Requests()
	n := requests[kms.Request{Operation: "sign", Outcome: tt.outcome}]
	if want := tt.times; tt.times < forever && n != want || tt.once && n != 1 || !tt.once && tt.times == forever && n < 3 {
		t.Errorf("%d attempts were %s: %v", n, tt.outcome, requests)
	}
	var counted int64
	for request, n := range requests {
		if request.Operation == "sign" {
			counted += n
		}
	}
	if sent != counted {
		t.Errorf("%d requests were sent, %d were counted", sent, counted)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for name, c := range clouds() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, _, cfg := c.open(t)
				s := openConfig(t, cfg)
				server.Intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/elsewhere" {
						t.Error("a redirect was followed")
					}
					http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
					return true
				})
				if _, err := s.Sign(deadline(t, time.Second), []byte("message")); err == nil {
					t.Error("a redirect was taken for a signature")
				}
			})
		})
	}
}

// Each request that opening a key makes is throttled once.
func TestThrottledWhileOpening(t *testing.T) {
	for name, c := range clouds() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, store, cfg := c.open(t)
				var seen sync.Map
				server.Intercept(func(op string, w http.ResponseWriter, _ *http.Request) bool {
					_, before := seen.LoadOrStore(op, true)
					opens := false
					for _, one := range c.opened {
						opens = opens || one == op
					}
					if before || !opens {
						return false
					}
					c.throttled(w)
					return true
				})
				openConfig(t, cfg)
				var throttled int
				for request, n := range store.Requests() {
					if request.Outcome == "throttled" {
						throttled += int(n)
					}
				}
				if throttled != len(c.opened) {
					t.Errorf("%d requests were noticed to be throttled, want %d", throttled, len(c.opened))
				}
			})
		})
	}
}

// Keys come and go while their store stays, as when the daemon reads its
// configuration again.
func TestStoreOutlivesItsKeys(t *testing.T) {
	for name, c := range clouds() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, _, cfg := c.open(t)
				stays := openConfig(t, cfg)
				for range 3 {
					goes, err := kms.Open(t.Context(), cfg)
					if err != nil {
						t.Fatal(err)
					}
					signing := make(chan error, 1)
					go func() {
						_, err := goes.Sign(t.Context(), []byte("message"))
						signing <- err
					}()
					if err := goes.Close(); err != nil {
						t.Error(err)
					}
					if err := <-signing; err != nil && !errors.Is(err, kms.ErrClosed) {
						t.Errorf("a signature that Close waits for or turns away: %v", err)
					}
					wantSignature(t, stays, stays.Public())
				}
			})
		})
	}
}

// strangeAnswers are made by no API. None may be taken for a signature or a
// key, and none may bring the vendor's library down.
func strangeAnswers() map[string]fault {
	return map[string]fault{
		"nothing":                  raw(http.StatusOK, ""),
		"null":                     raw(http.StatusOK, "null"),
		"a list":                   raw(http.StatusOK, "[]"),
		"a number":                 raw(http.StatusOK, "1"),
		"an empty object":          raw(http.StatusOK, "{}"),
		"two objects":              raw(http.StatusOK, "{}{}"),
		"other types":              raw(http.StatusOK, `{"signature":5,"value":[],"kid":{},"key":[],"data":7,"Signature":{},"KeyMetadata":[],"Value":5,"key_info":[],"public_key":{},"Response":{"Signature":5,"KeyMetadata":[],"PublicKey":{}}}`),
		"null fields":              raw(http.StatusOK, `{"signature":null,"value":null,"kid":null,"key":null,"data":null,"Signature":null,"KeyMetadata":null,"key_info":null,"public_key":null,"Response":null}`),
		"no base64":                raw(http.StatusOK, `{"signature":"%%","value":"%%","Value":"%%","public_key":"%%","PublicKey":"%%","publicKey":"%%","Response":{"Signature":"%%","PublicKey":"%%"}}`),
		"no signature":             raw(http.StatusOK, `{"signature":"AAAA","value":"AAAA","Value":"AAAA","public_key":"AAAA","PublicKey":"AAAA","publicKey":"AAAA","Response":{"Signature":"AAAA","PublicKey":"AAAA"}}`),
		"an error of another form": raw(http.StatusBadRequest, `{"error":5,"Code":[],"code":{},"__type":7,"errors":7,"Response":{"Error":"x"}}`),
		"an error without a code":  raw(http.StatusBadRequest, `{"error":{},"Response":{"Error":{}}}`),
		"a deep list":              raw(http.StatusOK, `{"a":`+strings.Repeat("[", 1<<15)),
		"a stream":                 with("Content-Type", "text/event-stream", raw(http.StatusOK, "data: 1\n\n")),
		"compressed":               with("Content-Encoding", "deflate", raw(http.StatusOK, "{}")),
		"BSON":                     with("Content-Type", "application/bson", raw(http.StatusOK, "\x05\x00\x00\x00\x00")),
		"nothing, created":         raw(http.StatusCreated, ""),
		"no content":               func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	}
}

func TestStrangeAnswers(t *testing.T) {
	for name, c := range clouds() {
		for _, op := range append([]string{c.signed}, c.opened...) {
			t.Run(name+"/"+op, func(t *testing.T) {
				for what, answer := range strangeAnswers() {
					synctest.Test(t, func(t *testing.T) {
						err := c.strangely(t, op, answer)
						if err == nil {
							t.Errorf("%s was taken for an answer", what)
						}
						// It would be contained, but a library that panics may keep a lock.
						if err != nil && strings.Contains(err.Error(), "panic") {
							t.Errorf("%s: %v", what, err)
						}
					})
				}
			})
		}
	}
}

// strangely has one operation be answered so, and returns what comes of it.
func (c cloud) strangely(t *testing.T, op string, answer fault) error {
	t.Helper()
	server, _, cfg := c.open(t)
	spoil := func(asked string, w http.ResponseWriter, r *http.Request) bool {
		if asked == op {
			answer(w, r)
		}
		return asked == op
	}
	if op != c.signed {
		server.Intercept(spoil)
		s, err := kms.Open(deadline(t, time.Second), cfg)
		if err == nil {
			_ = s.Close() // it should not be there
		}
		return err
	}
	s := openConfig(t, cfg)
	server.Intercept(spoil)
	_, err := s.Sign(deadline(t, time.Second), []byte("message"))
	return err
}

// signAnswered returns what signing fails with that is answered so.
func (c cloud) signAnswered(t *testing.T, answer fault) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { err = c.strangely(t, c.signed, answer) })
	return err
}
