package ocir

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/sink"
)

// answering answers every request alike.
type answering struct {
	status      int
	header      http.Header
	contentType string
	body        string
}

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	h := a.header.Clone()
	h.Set("Content-Type", a.contentType)
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

var fuzzIdentity = sync.OnceValues(func() (common.KeyProvider, error) { //nolint:gochecknoglobals // making keys takes long
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return fuzzKey{key}, err
})

type fuzzKey struct{ *rsa.PrivateKey }

func (k fuzzKey) PrivateRSAKey() (*rsa.PrivateKey, error) { return k.PrivateKey, nil }
func (k fuzzKey) KeyID() (string, error)                  { return "tenancy/user/fingerprint", nil }

// FuzzAnswers: whatever Oracle answers, the library is not brought down, nothing but 200
// with a JSON object is taken, and no error repeats the answer.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{`{"id":"ocid1","digest":"sha256:00","repositoryName":"app","compartmentId":"c","lifecycleState":"AVAILABLE"}`,
		`{"items":[{"id":"x","imageId":"y","message":"z","signature":"AAAA","lifecycleState":"DELETED"}]}`, `{"items":null}`, `{"items":[null]}`, `{"items":{}}`,
		`{"id":5}`, `{"timeCreated":"yesterday"}`, `{"sizeInBytes":1e99}`, `{"freeformTags":{"a":null}}`, `{"code":"InvalidatedRetryToken","message":"secret"}`,
		`null`, `[]`, ``, `{`, " {}", `{"versions":[{"hash":1}]}`} {
		f.Add(200, "application/json", "page", body)
		f.Add(409, "text/plain", "5", body)
	}
	f.Fuzz(func(t *testing.T, status int, contentType, header, body string) {
		if status < 200 || status > 999 || strings.ContainsAny(contentType+header, "\r\n") {
			return
		}
		c, err := newClient(Options{Region: "us-phoenix-1", Endpoint: "http://127.0.0.1", Identity: fuzzIdentity})
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{"Opc-Next-Page": {header}, "Etag": {header}, "Opc-Request-Id": {header}, "Retry-After": {header}, "Content-Encoding": {contentType}}
		c.base.HTTPClient = exchange{&http.Client{Transport: answering{status, h, contentType, body}}}
		for name, err := range asked(t.Context(), c) {
			if err == nil && (status != http.StatusOK || !strings.HasPrefix(strings.TrimLeft(body, " \t\r\n"), "{")) {
				t.Errorf("%s: %d %q was taken", name, status, body)
			}
			var r *refusal
			if errors.As(err, &r) && (r.status != status || r.after < 0 || len(err.Error()) > 400) || err != nil && status == http.StatusOK && r != nil {
				t.Errorf("%s: %d %q: %v", name, status, body, err)
			}
			if err != nil && len(body) > 8 && strings.Contains(err.Error(), body) && !strings.Contains(strconv.Itoa(status)+header, body) {
				t.Errorf("%s: the error quotes %q: %v", name, body, err)
			}
		}
		if after := sink.RetryAfter(h); after < 0 || after > 200*365*24*time.Hour {
			t.Errorf("Retry-After %q is %v", header, after)
		}
	})
}

// asked asks everything that the sink does.
func asked(ctx context.Context, c *client) map[string]error {
	id := "ocid1"
	_, looked := c.image(ctx, "namespace/app@sha256:00")
	_, _, listed := c.signatures(ctx, artifacts.ListContainerImageSignaturesRequest{CompartmentId: &id})
	_, uploaded := c.upload(ctx, artifacts.CreateContainerImageSignatureDetails{CompartmentId: &id, ImageId: &id, KmsKeyId: &id, KmsKeyVersionId: &id, Message: &id, Signature: &id,
		SigningAlgorithm: artifacts.CreateContainerImageSignatureDetailsSigningAlgorithmEnum("SHA_256_RSA_PKCS_PSS")}, "token")
	_, read := c.signature(ctx, id)
	return map[string]error{"image": looked, "signatures": listed, "upload": uploaded, "signature": read}
}
