package signature

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry"
)

const (
	// maxPayload bounds a payload that is read, in bytes. Ours have about 250.
	maxPayload = 64 << 10
	// maxFetches bounds the payloads that one look reads. Anybody who may push
	// can add layers; they must not make us read without end.
	maxFetches = 16
	// maxReasons bounds the reasons that a look collects.
	maxReasons = 16
)

// A Look is what was found where a subject's signatures are kept.
type Look struct {
	// Signed: the key has signed this digest under this identity, in a way
	// that verifiers accept. Only this says so; that something is present
	// says nothing.
	Signed bool
	// Signature is the key's, when Signed.
	Signature []byte
	// Manifest is the one that holds the signature, when Signed. In the cosign
	// format it is what the tag held, when Present: the base to which a
	// signature is added.
	Manifest registry.Manifest
	// Immutable: it is not there, and the registry has refused to change its tag
	// since the process started.
	Immutable bool
	// Present: the tag of the cosign format exists.
	Present bool
	// Ours counts the key's valid signatures over the subject, Others the
	// layers that are none (also those that needed no look, because an
	// earlier one counted), Duplicates the exact repetitions of earlier
	// layers, which are in neither.
	Ours, Others, Duplicates int
	// Reasons say, for people, why layers did not count. At most 16.
	Reasons []string
}

// reject notes that a layer does not count.
func (l *Look) reject(layer int, reason error) {
	l.Others++
	if len(l.Reasons) < maxReasons {
		l.Reasons = append(l.Reasons, fmt.Sprintf("layer %d: %v", layer, reason))
	}
}

// accept notes a valid signature.
func (l *Look) accept(sig []byte) {
	l.Ours++
	l.Signed = true
	if l.Signature == nil {
		l.Signature = sig
	}
}

// A signed is a layer that carries a signature, valid or not.
type signed struct {
	index  int // of the layer in the manifest
	digest v1.Hash
	sig    []byte
	// stated is the size that the first layer with this digest states.
	// Verifiers find a layer by its digest and so use the first one's size.
	stated int64
}

// carried returns the layers that carry a signature, each once, and notes the
// others in look.
func (m *manifest) carried(look *Look) []signed {
	stated := map[v1.Hash]int64{}
	seen := map[string]bool{}
	var out []signed
	for i, l := range m.layers {
		if _, ok := stated[l.digest]; !ok && l.fault == nil {
			stated[l.digest] = l.size
		}
		sig, err := l.signature()
		if err != nil {
			look.reject(i, err)
			continue
		}
		key := l.digest.String() + string(sig)
		if seen[key] {
			look.Duplicates++
			continue
		}
		seen[key] = true
		out = append(out, signed{i, l.digest, sig, stated[l.digest]})
	}
	return out
}

// A judge decides which layers count as signatures of one key over one subject.
type judge struct {
	subject  Subject
	payload  []byte
	digest   v1.Hash // of payload
	verifier Verifier
}

func newJudge(s Subject, v Verifier) *judge {
	payload := Payload(s)
	return &judge{s, payload, hash(payload), v}
}

// key names the tag that holds the subject's signatures.
func (j *judge) key() string { return j.subject.Repository + "@" + j.subject.Digest.String() }

// judgeOwn judges the layers whose payload is the one we would write, which
// needs no request, and returns the others.
func (j *judge) judgeOwn(m *manifest, look *Look) []signed {
	var rest []signed
	for _, s := range m.carried(look) {
		if s.digest != j.digest {
			rest = append(rest, s)
			continue
		}
		if err := j.valid(s, j.payload); err != nil {
			look.reject(s.index, err)
			continue
		}
		look.accept(s.sig)
	}
	return rest
}

// valid returns nil if s is a valid signature over payload, which has the
// digest that s names.
func (j *judge) valid(s signed, payload []byte) error {
	if s.stated != int64(len(payload)) {
		return fmt.Errorf("the manifest says that its payload has %d bytes, it has %d", s.stated, len(payload))
	}
	if err := j.verifier.Verify(payload, s.sig); err != nil {
		return errors.New("its signature is not by the key")
	}
	return nil
}

// speaks returns nil if payload speaks of the judge's subject.
func (j *judge) speaks(payload []byte) error {
	c, err := parsePayload(payload)
	switch {
	case err != nil:
		return err
	case c.digest != j.subject.Digest:
		return fmt.Errorf("it speaks of %s", c.digest)
	case c.identity != j.subject.Identity:
		return fmt.Errorf("it speaks of %.80q, not %q", c.identity, j.subject.Identity)
	}
	return nil
}

// judgeOthers reads the payloads of layers and judges them until one counts.
// It returns an error only if that cannot be decided now.
func (j *judge) judgeOthers(ctx context.Context, from *payloads, layers []signed, look *Look) error {
	for n, s := range layers {
		if look.Signed {
			look.Others += len(layers) - n
			return nil
		}
		payload, reason, err := from.read(ctx, s.digest)
		if err != nil {
			return err
		}
		if reason == nil {
			reason = j.speaks(payload)
		}
		if reason == nil {
			reason = j.valid(s, payload)
		}
		if reason != nil {
			look.reject(s.index, reason)
			continue
		}
		look.accept(s.sig)
	}
	return nil
}

// payloads reads payload blobs of one repository, each once.
type payloads struct {
	store      registry.Store
	repository string
	limit      int // of blobs to read
	known      map[v1.Hash]fetched
}

type fetched struct {
	payload []byte
	reason  error // why there is none
}

// read returns a payload, or the reason why there is none, or an error when
// neither can be known now.
func (p *payloads) read(ctx context.Context, digest v1.Hash) (payload []byte, reason, err error) {
	if f, ok := p.known[digest]; ok {
		return f.payload, f.reason, nil
	}
	if len(p.known) >= p.limit {
		return nil, fmt.Errorf("not read: %d other payloads were", p.limit), nil
	}
	payload, err = p.store.Blob(ctx, p.repository, digest, maxPayload)
	var f fetched
	switch {
	case err == nil:
		f.payload = payload
	case blobIsBad(err):
		f.reason = fmt.Errorf("reading its payload: %w", err)
	default:
		return nil, nil, fmt.Errorf("reading payload %s: %w", digest, err)
	}
	if p.known == nil {
		p.known = map[v1.Hash]fetched{}
	}
	p.known[digest] = f
	return f.payload, f.reason, nil
}

// blobIsBad reports whether err says that a blob is of no use, rather than that
// it could not be had this time.
func blobIsBad(err error) bool {
	return errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrTooLarge) || errors.Is(err, registry.ErrCorrupt)
}
