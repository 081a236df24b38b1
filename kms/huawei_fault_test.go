package kms_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms"
)

// writeSecret writes a secret as a user does, with a line end.
func writeSecret(t *testing.T, path, secret string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	writeSecret(t, path, secret)
	return path
}

// strangeAnswers are made by no API. None may be taken for a signature or a
// key, and none may bring the vendor's library down.
func strangeAnswers() map[string]cloudFault {
	with := func(name, value string, answer cloudFault) cloudFault {
		return func(w http.ResponseWriter, r *http.Request) {
			answer(headerFirst{w, name, value}, r)
		}
	}
	return map[string]cloudFault{
		"nothing":                  cloudRaw(http.StatusOK, ""),
		"null":                     cloudRaw(http.StatusOK, "null"),
		"a list":                   cloudRaw(http.StatusOK, "[]"),
		"a number":                 cloudRaw(http.StatusOK, "1"),
		"an empty object":          cloudRaw(http.StatusOK, "{}"),
		"two objects":              cloudRaw(http.StatusOK, "{}{}"),
		"other types":              cloudRaw(http.StatusOK, `{"signature":5,"key_info":[],"public_key":{},"Response":{"Signature":5,"KeyMetadata":[],"PublicKey":{}}}`),
		"null fields":              cloudRaw(http.StatusOK, `{"signature":null,"key_info":null,"public_key":null,"Response":null}`),
		"no base64":                cloudRaw(http.StatusOK, `{"signature":"%%","public_key":"%%","Response":{"Signature":"%%","PublicKey":"%%"}}`),
		"no signature":             cloudRaw(http.StatusOK, `{"signature":"AAAA","public_key":"AAAA","Response":{"Signature":"AAAA","PublicKey":"AAAA"}}`),
		"an error of another form": cloudRaw(http.StatusBadRequest, `{"error":5,"Response":{"Error":"x"}}`),
		"an error without a code":  cloudRaw(http.StatusBadRequest, `{"error":{},"Response":{"Error":{}}}`),
		"a deep list":              cloudRaw(http.StatusOK, `{"a":`+strings.Repeat("[", 1<<19)),
		"a stream":                 with("Content-Type", "text/event-stream", cloudRaw(http.StatusOK, "data: 1\n\n")),
		"compressed":               with("Content-Encoding", "deflate", cloudRaw(http.StatusOK, "{}")),
		"BSON":                     with("Content-Type", "application/bson", cloudRaw(http.StatusOK, "\x05\x00\x00\x00\x00")),
	}
}

// A headerFirst replaces one header of an answer.
type headerFirst struct {
	http.ResponseWriter
	name, value string
}

func (h headerFirst) WriteHeader(status int) {
	h.Header().Set(h.name, h.value)
	h.ResponseWriter.WriteHeader(status)
}

// testStrangeAnswers has each of the store's operations be answered strangely.
func (c cloud) testStrangeAnswers(t *testing.T, operations ...string) {
	for name, answer := range strangeAnswers() {
		for _, operation := range operations {
			t.Run(name+" to "+operation, func(t *testing.T) {
				t.Parallel()
				server := c.start(t)
				store := newCloudStore(t, server.store)
				spoil := func(op string, w http.ResponseWriter, r *http.Request) bool {
					if op == operation {
						answer(w, r)
					}
					return op == operation
				}
				ctx, cancel := contextFor(t, "400ms")
				defer cancel()
				if operation != c.signOp {
					server.intercept(spoil)
					if _, err := kms.Open(ctx, kms.Config{URI: server.uri, Store: store}); err == nil {
						t.Error("the answer was taken for a key")
					}
					return
				}
				s := openConfig(t, kms.Config{URI: server.uri, Store: store})
				server.intercept(spoil)
				if signature, err := s.Sign(ctx, []byte("message")); err == nil {
					t.Errorf("the answer was taken for a signature: %x", signature)
				}
			})
		}
	}
}

// tellsNoSecret fails if an error tells a secret.
func tellsNoSecret(t *testing.T, err error, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
}

// elsewhere is a transport that keeps where a request was to go, and fails.
type elsewhere struct{ urls chan string }

func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	e.urls <- r.URL.Scheme + "://" + r.Host + r.URL.Path
	return nil, http.ErrServerClosed
}

// firstURL opens a key and returns where the first request was to go.
func firstURL(t *testing.T, uri string, cfg kms.StoreConfig) string {
	t.Helper()
	e := elsewhere{make(chan string, 100)}
	cfg.Transport = e
	ctx, cancel := contextFor(t, "50ms")
	defer cancel()
	_, err := kms.Open(ctx, kms.Config{URI: uri, Store: newCloudStore(t, cfg)})
	select {
	case url := <-e.urls:
		return url
	case <-time.After(10 * time.Second):
		t.Fatalf("no request was made: %v", err)
		return ""
	}
}
