// Package event turns what registries send when something is pushed into
// pushes: who sent a delivery is checked first, then it is parsed strictly. A
// push is a hint, never believed: whoever acts on it asks the registry. The
// package listens to nothing itself.
package event

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Errors that callers branch on. Any other error of Receive is no fault of the
// sender (the secret cannot be read, a certificate cannot be fetched, the
// context ended), and the sender should try again.
var (
	// ErrUnauthorized: the delivery does not prove who sent it.
	ErrUnauthorized = errors.New("delivery not authenticated")
	// ErrMalformed: it is not what the source sends.
	ErrMalformed = errors.New("malformed delivery")
	// ErrForeign: it is about another registry.
	ErrForeign = errors.New("event of another registry")
)

// What a delivery may be at most.
const (
	MaxBody   = 4 << 20 // bytes; a zot event carries a manifest
	MaxEvents = 1000
)

// A Push is what a source says was pushed.
type Push struct {
	Repository string    // full name without host
	Tag        string    // "" for a push by digest alone
	Digest     string    // "sha256:…", "" where the source does not say it
	At         time.Time // the event's own time, UTC; zero where it says none
}

// A Delivery is what one request said.
type Delivery struct {
	// Pushes may be of artifacts to sign, in the order of the delivery. Those
	// without a tag may be of signatures where the source does not show what
	// was pushed; see docs/events.md.
	Pushes []Push
	// Ignored counts the events that were left aside.
	Ignored map[Reason]int
}

// A Reason is why an event was left aside.
type Reason string

// The reasons.
const (
	OtherAction  Reason = "other_action"   // no push: a pull, a delete, a scan, a test
	Signature    Reason = "signature"      // of a signature, an attestation or an index of them
	NotAManifest Reason = "not_a_manifest" // a layer, a config, a package of another format
	OtherDigest  Reason = "other_digest"   // of an algorithm that is not sha256
	Subscription Reason = "subscription"   // the source asked to confirm or told of a subscription
)

// A Config says who sends events, about which registry, and how they prove it.
type Config struct {
	// Source is which dialect is spoken.
	Source Source
	// Hosts are what events may call the registry: its host first, then
	// aliases. Case and the default ports 80 and 443 do not matter.
	Hosts []string
	// Secret returns the shared secret, whose bytes are used as they are. It
	// is read anew for each delivery, so that it can be rotated. Not used
	// where Topic or ServiceAccount says who must have signed.
	Secret func() ([]byte, error)
	// Username is the user that Basic authentication must name. "": any.
	Username string
	// Header carries the secret where the source lets its users choose.
	// Default Authorization, for artifactory X-JFrog-Event-Auth.
	Header string
	// Topic is the ARN of the only topic that is accepted, for ecr by SNS.
	Topic string
	// Audience and ServiceAccount are what the token of a Pub/Sub push must
	// say, for gar: its aud and its email.
	Audience, ServiceAccount string
	// Key is the repository of Artifactory or Nexus that holds the images, as
	// registries[].cloud.project; required for these two. Where KeyInNames is
	// set, they are named KEY/IMAGE at this host, otherwise IMAGE.
	Key        string
	KeyInNames bool
	// Transport fetches what signatures need, SNS's certificate and Google's
	// keys. It is required with Topic and ServiceAccount; redirects are not
	// followed.
	Transport http.RoundTripper
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// A Receiver reads the deliveries of one source about one registry. It is safe
// for concurrent use.
type Receiver struct {
	hosts hosts
	proof proof
	parse parser
}

// A proof is how a source shows that a delivery is its own.
type proof struct {
	prove prover
	// admit checks the header, where that is all that prove looks at. It is nil
	// where the body has the proof.
	admit admitter
}

type admitter func(ctx context.Context, header http.Header) error

// byHeader is the proof of a source that vouches for all of a delivery in its
// header.
func byHeader(admit admitter) proof {
	return proof{admit: admit, prove: func(ctx context.Context, header http.Header, body []byte) (letter, error) {
		if err := admit(ctx, header); err != nil {
			return letter{}, err
		}
		return letter{header: header, body: body}, nil
	}}
}

// A prover returns the part of a delivery that its sender vouches for, or
// ErrUnauthorized.
type prover func(ctx context.Context, header http.Header, body []byte) (letter, error)

// A letter is what was sent, proven.
type letter struct {
	header http.Header
	body   []byte
	// aside is why there is nothing to parse, "" if there is.
	aside Reason
}

// A parser notes what a letter says. Errors are ErrMalformed or ErrForeign.
type parser func(l letter, n *notes) error

// Open returns the receiver that cfg describes, or every fault of cfg. It sends
// no request and does not read the secret.
func Open(cfg Config) (*Receiver, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d, known := cfg.dialects()[cfg.Source]
	if !known {
		return nil, fmt.Errorf("events: source: %s is none of %s", quote(string(cfg.Source)), sourceNames())
	}
	r := &Receiver{parse: d.parse}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("events of %s: "+format, append([]any{cfg.Source}, args...)...))
	}
	var err error
	if r.hosts, err = newHosts(cfg.Hosts); err != nil {
		fault("hosts: %w", err)
	}
	cfg.foreignSettings(fault)
	r.proof = d.prover(cfg, fault)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return r, nil
}

// foreignSettings reports what is set and would do nothing.
func (cfg Config) foreignSettings(fault func(string, ...any)) {
	if cfg.Topic != "" && cfg.Source != ECR {
		fault("topic: is for %s only", ECR)
	}
	if cfg.Source != GAR && cfg.Audience != "" {
		fault("audience: is for %s only", GAR)
	}
	if cfg.Source != GAR && cfg.ServiceAccount != "" {
		fault("service_account: is for %s only", GAR)
	}
}

// Admits checks who sent a delivery by its header, so that the bodies of
// strangers need not be read. proven is whether that is all there is to check;
// where the proof is in the body, everybody is admitted. Receive checks again.
func (r *Receiver) Admits(ctx context.Context, header http.Header) (proven bool, err error) {
	if r.proof.admit == nil {
		return false, nil
	}
	if err := r.proof.admit(ctx, header); err != nil {
		return false, err
	}
	return true, nil
}

// Receive checks who sent a delivery and returns the pushes in it that may be
// of artifacts to sign. A delivery that is partly malformed or foreign is
// refused whole. Its errors are said above.
func (r *Receiver) Receive(ctx context.Context, header http.Header, body []byte) (Delivery, error) {
	l, err := r.proof.prove(ctx, header, body)
	if err != nil {
		return Delivery{}, err
	}
	return r.read(l)
}

// Read returns the pushes in a delivery of which is known already who sent it.
func (r *Receiver) Read(header http.Header, body []byte) (Delivery, error) {
	return r.read(letter{header: header, body: body})
}

func (r *Receiver) read(l letter) (Delivery, error) {
	n := &notes{hosts: r.hosts, delivery: Delivery{Ignored: map[Reason]int{}}}
	if l.aside != "" {
		n.ignore(l.aside)
		return n.delivery, nil
	}
	if err := r.parse(l, n); err != nil {
		return Delivery{}, err
	}
	return n.delivery, nil
}

func sourceNames() string {
	var names []string
	for _, s := range sources() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}
