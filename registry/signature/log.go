package signature

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	// logPatience is how long entering one signature may take. Logs of the second
	// generation answer when they have published their next checkpoint, for which
	// they ask clients to wait 20 seconds and more.
	logPatience = time.Minute
	// logTries is how often a log is asked that does not answer or says that it
	// is not able to at the moment. Entering the same again does no harm.
	logTries = 3
	// maxLogAnswer bounds an answer of a log, in bytes. Entries have about 4,000,
	// tiles of hashes 8,192.
	maxLogAnswer = 64 << 10
)

// RekorConfig says which transparency log a Rekor is.
type RekorConfig struct {
	// URL is where the log's API is, http or https. Required.
	URL string
	// PublicKey is the log's, ECDSA P-256 or Ed25519, in PEM. Empty: what the log
	// says of its entries has to be consistent, but is believed whoever says it.
	PublicKey []byte
	// Client sends the requests. It should bound their rate and follow no
	// redirects, so that nothing reaches a log that nobody named. Required.
	Client *http.Client
}

// A Rekor is a transparency log that is a Rekor server of either generation. It
// is found out with the first entry which of them. It is safe for concurrent use.
type Rekor struct {
	url    string
	client *http.Client
	key    *logKey // nil: not known
	// generation is 1 or 2, as soon as the log has taken an entry.
	generation atomic.Int32
}

// NewRekor returns the log. An error names what is wrong with the configuration.
func NewRekor(c RekorConfig) (*Rekor, error) {
	if c.URL == "" || c.Client == nil {
		return nil, errors.New("a transparency log needs a URL and a client")
	}
	r := &Rekor{url: strings.TrimRight(c.URL, "/"), client: c.Client}
	if len(c.PublicKey) > 0 {
		var err error
		if r.key, err = parseLogKey(c.PublicKey); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Enter implements Log. An error means that the log has not taken the signature,
// or that it did not prove so; asking again is safe.
func (r *Rekor) Enter(ctx context.Context, envelope, publicKey []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	s, err := newSubmission(envelope, publicKey)
	if err != nil {
		return nil, err
	}
	entry, err := r.enter(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("entering it at %s: %w", r.url, err)
	}
	if err := r.holds(entry, s); err != nil {
		return nil, fmt.Errorf("%s answered, and that does not prove it: %w", r.url, err)
	}
	return protojson.Marshal(entry)
}

// Holds implements Log. Without the log's public key anybody can make what
// proves an entry, just not for a signature that was never made.
func (r *Rekor) Holds(entry *protorekor.TransparencyLogEntry, payload, sig, publicKey []byte) error {
	return r.holds(entry, submission{payload: payload, sig: sig, publicKey: publicKey})
}

// enter enters s by the API that the log has.
func (r *Rekor) enter(ctx context.Context, s submission) (*protorekor.TransparencyLogEntry, error) {
	apis := []int32{2, 1}
	if known := r.generation.Load(); known != 0 {
		apis = []int32{known}
	}
	for _, generation := range apis {
		enter := r.enterV2
		if generation == 1 {
			enter = r.enterV1
		}
		entry, err := enter(ctx, s)
		switch {
		case err == nil:
			r.generation.Store(generation)
			return entry, nil
		case !errors.Is(err, errNoAPI):
			return nil, err
		}
	}
	r.generation.Store(0) // it may have been replaced
	return nil, errors.New("neither /api/v2/log/entries nor /api/v1/log/entries is there: is it the URL of a Rekor server?")
}

// errNoAPI: the log does not have that API.
var errNoAPI = errors.New("the log has no such API")

// A submission is a signature over an in-toto statement, for a log.
type submission struct {
	envelope  []byte // DSSE, in JSON; only in one to be entered
	payload   []byte
	sig       []byte
	publicKey []byte // DER SubjectPublicKeyInfo
}

func newSubmission(envelope, publicKey []byte) (submission, error) {
	var e dsseEnvelope
	if err := json.Unmarshal(envelope, &e); err != nil || e.PayloadType != payloadInToto || len(e.Signatures) != 1 {
		return submission{}, errors.New("the envelope to enter is no DSSE envelope with a statement and one signature")
	}
	return submission{envelope, e.Payload, e.Signatures[0].Sig, publicKey}, nil
}

// message is what was signed.
func (s submission) message() []byte { return dsse.PAE(payloadInToto, s.payload) }

// A logAnswer is what a log answered.
type logAnswer struct {
	status int
	header http.Header
	body   []byte
}

// refusal is the error that the answer is, if nothing else was made of it.
func (a logAnswer) refusal() error {
	if a.status == http.StatusNotFound {
		return fmt.Errorf("%w: status %d", errNoAPI, a.status)
	}
	return fmt.Errorf("status %d: %.200q", a.status, a.body)
}

// passing reports whether the same request may be answered otherwise later.
func (a logAnswer) passing() bool {
	return a.status == http.StatusTooManyRequests || a.status >= 500 && a.status != http.StatusNotImplemented
}

// ask sends a request, again if there was no answer or one that may pass.
func (r *Rekor) ask(ctx context.Context, method, path string, body []byte) (logAnswer, error) {
	for try := 1; ; try++ {
		answer, err := r.askOnce(ctx, method, path, body)
		again := err != nil && !errors.Is(err, errHugeAnswer) || err == nil && answer.passing()
		if !again || try == logTries || ctx.Err() != nil {
			return answer, err
		}
		if err := pause(ctx, try); err != nil {
			return logAnswer{}, err
		}
	}
}

// errHugeAnswer: asking again would only read as much again.
var errHugeAnswer = fmt.Errorf("the answer has more than %d bytes", maxLogAnswer)

func (r *Rekor) askOnce(ctx context.Context, method, path string, body []byte) (logAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return logAnswer{}, fmt.Errorf("asking the log: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return logAnswer{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxLogAnswer+1))
	if err != nil {
		return logAnswer{}, fmt.Errorf("reading the log's answer: %w", err)
	}
	if len(content) > maxLogAnswer {
		return logAnswer{}, errHugeAnswer
	}
	return logAnswer{resp.StatusCode, resp.Header, content}, nil
}
