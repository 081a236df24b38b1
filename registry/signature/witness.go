package signature

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	tspclient "github.com/notaryproject/tspclient-go"
	"github.com/notaryproject/tspclient-go/pki"
)

// authorityPatience is how long one authority may take before the next is
// asked.
const authorityPatience = 15 * time.Second

// timestamper returns what asks the authorities in their order until one gives
// a timestamp that its own roots vouch for; that none does is ErrTimestamp. The
// pool is empty until then, and then has the root that did, for libraries that
// judge the answer again. Both serve one signature, by one goroutine. Nil: there
// are no authorities.
func (w Witnesses) timestamper() (tspclient.Timestamper, *x509.CertPool) {
	if len(w.Timestamps) == 0 {
		return nil, nil
	}
	a := &authorities{list: w.Timestamps, roots: x509.NewCertPool()}
	return a, a.roots
}

// timestamp returns an RFC 3161 response over sig, DER encoded; nil if there
// are no authorities.
func (w Witnesses) timestamp(ctx context.Context, sig []byte) ([]byte, error) {
	stamper, _ := w.timestamper()
	if stamper == nil {
		return nil, nil
	}
	request, err := tspclient.NewRequest(tspclient.RequestOptions{Content: sig, HashAlgorithm: crypto.SHA256})
	if err != nil {
		return nil, fmt.Errorf("asking for a timestamp: %w", err)
	}
	response, err := stamper.Timestamp(ctx, request)
	if err != nil {
		return nil, err
	}
	// Without what the authority says in words: the library would write it as
	// another type of string than it read, and no verifier looks at it.
	granted := tspclient.Response{Status: pki.StatusInfo{Status: response.Status.Status}, TimestampToken: response.TimestampToken}
	raw, err := granted.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encoding a timestamp: %w", err)
	}
	return raw, nil
}

// authorities are asked one after the other.
type authorities struct {
	list  []Authority
	roots *x509.CertPool // of the one that answered
}

// Timestamp implements tspclient.Timestamper.
func (a *authorities) Timestamp(ctx context.Context, request *tspclient.Request) (*tspclient.Response, error) {
	failures := make([]error, 0, len(a.list))
	for _, authority := range a.list {
		response, root, err := authority.attest(ctx, request)
		if err == nil {
			a.roots.AddCert(root)
			return response, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("asking %s for a timestamp: %w", authority.Name, ctx.Err())
		}
		failures = append(failures, fmt.Errorf("%s: %w", authority.Name, err))
	}
	return nil, fmt.Errorf("%w: %w", ErrTimestamp, errors.Join(failures...))
}

// attest returns the authority's answer, and which of its roots vouches for it.
func (a Authority) attest(ctx context.Context, request *tspclient.Request) (*tspclient.Response, *x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, authorityPatience)
	defer cancel()
	response, err := a.Timestamp(ctx, request)
	if err != nil {
		return nil, nil, err
	}
	if err := response.Validate(request); err != nil {
		return nil, nil, err
	}
	token, err := response.SignedToken()
	if err != nil {
		return nil, nil, err
	}
	chain, err := token.Verify(ctx, x509.VerifyOptions{Roots: a.Roots})
	if err != nil {
		return nil, nil, err
	}
	if len(chain) == 0 {
		return nil, nil, errors.New("its timestamp has no chain of certificates")
	}
	return response, chain[len(chain)-1], nil
}

// errNotStamped: the policy that names authorities wants a timestamp.
var errNotStamped = errors.New("it has no timestamp, and is to have one of the timestamp authorities")

// stamped returns nil if one of the RFC 3161 responses is over message and by
// one of the authorities, or if there are no authorities.
func (w Witnesses) stamped(ctx context.Context, responses [][]byte, message []byte) error {
	if len(w.Timestamps) == 0 {
		return nil
	}
	if len(responses) == 0 {
		return errNotStamped
	}
	failures := make([]error, 0, len(responses))
	for _, raw := range responses {
		err := w.attested(ctx, raw, message)
		if err == nil {
			return nil
		}
		failures = append(failures, err)
	}
	return fmt.Errorf("its timestamp: %w", errors.Join(failures...))
}

// attested returns nil if an RFC 3161 response is over message and by one of the
// authorities.
func (w Witnesses) attested(ctx context.Context, raw, message []byte) error {
	var response tspclient.Response
	if err := response.UnmarshalBinary(raw); err != nil {
		return fmt.Errorf("parsing it: %w", err)
	}
	if err := response.Status.Err(); err != nil {
		return err
	}
	token, seen, err := parseTimestamp(response.TimestampToken.FullBytes, message)
	if err != nil {
		return err
	}
	return trustTimestamp(ctx, token, seen.Value, w.Timestamps, func([]*x509.Certificate) error { return nil })
}

// logged returns nil if one of the bundle's entries proves that the log holds
// k's signature, or if there is no log.
func (w Witnesses) logged(b bundle, k Key) error {
	if w.Log == nil {
		return nil
	}
	if len(b.entries) == 0 {
		return errors.New("it has no entry of the transparency log, and is to have one")
	}
	failures := make([]error, 0, len(b.entries))
	for _, entry := range b.entries {
		err := w.Log.Holds(entry, b.payload, b.sig, k.PublicKey)
		if err == nil {
			return nil
		}
		failures = append(failures, err)
	}
	return fmt.Errorf("its log entry: %w", errors.Join(failures...))
}

// logTakes returns nil unless there is a log that is known to refuse k's
// signatures, so that the key is not used for what cannot be stored.
func (w Witnesses) logTakes(k Key) error {
	if w.Log == nil {
		return nil
	}
	if why := k.Algorithm.Unloggable(); why != "" {
		return unsuitable("%s", why)
	}
	return nil
}

// parseTimestamp reads a token over message. Who issued it remains to be judged.
func parseTimestamp(raw, message []byte) (*tspclient.SignedToken, *tspclient.Timestamp, error) {
	token, err := tspclient.ParseSignedToken(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing it: %w", err)
	}
	info, err := token.Info()
	if err != nil {
		return nil, nil, fmt.Errorf("parsing it: %w", err)
	}
	seen, err := info.Validate(message)
	if err != nil {
		return nil, nil, err
	}
	return token, seen, nil
}

// trustTimestamp returns nil if one of the authorities issued the token at that
// time, with certificates that suit the format. They need to have been valid
// then, not now.
func trustTimestamp(ctx context.Context, token *tspclient.SignedToken, at time.Time, authorities []Authority, suits func([]*x509.Certificate) error) error {
	if len(authorities) == 0 {
		return errors.New("no timestamp authority is configured that could vouch for it")
	}
	failures := make([]error, 0, len(authorities))
	for _, a := range authorities {
		chain, err := token.Verify(ctx, x509.VerifyOptions{CurrentTime: at, Roots: a.Roots})
		if err == nil {
			err = suits(chain)
		}
		if err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", a.Name, err))
	}
	return errors.Join(failures...)
}
