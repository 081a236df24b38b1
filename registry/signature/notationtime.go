package signature

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	nx509 "github.com/notaryproject/notation-core-go/x509"
	tspclient "github.com/notaryproject/tspclient-go"
)

// validAt returns nil if verifiers accept the signature's age: all certificates
// are valid at the time, or they were when one of the authorities saw the
// signature. A timestamp over something else is refused even if it is not
// needed, as verifiers that want one find it first.
func (e *envelope) validAt(ctx context.Context, now time.Time, authorities []Authority) error {
	if !e.expiry.IsZero() && !now.Before(e.expiry) {
		return fmt.Errorf("it was to be used until %s", e.expiry.UTC().Format(time.RFC3339))
	}
	var seen *tspclient.Timestamp
	var token *tspclient.SignedToken
	if len(e.token) > 0 {
		var err error
		if token, seen, err = parseTimestamp(e.token, e.sealed); err != nil {
			return fmt.Errorf("its timestamp: %w", err)
		}
	}
	outdated := chainAt(e.chain, tspclient.Timestamp{Value: now})
	if outdated == nil {
		return nil
	}
	if token == nil {
		return fmt.Errorf("%w, and it has no timestamp", outdated)
	}
	if err := trustTimestamp(ctx, token, seen.Value, authorities, nx509.ValidateTimestampingCertChain); err != nil {
		return fmt.Errorf("%w, and its timestamp: %w", outdated, err)
	}
	if err := chainAt(e.chain, *seen); err != nil {
		return fmt.Errorf("when it was timestamped: %w", err)
	}
	return nil
}

// isStamped returns nil if one of the authorities has timestamped the signature.
func (e *envelope) isStamped(ctx context.Context, authorities []Authority) error {
	if len(e.token) == 0 {
		return errNotStamped
	}
	token, seen, err := parseTimestamp(e.token, e.sealed)
	if err == nil {
		err = trustTimestamp(ctx, token, seen.Value, authorities, nx509.ValidateTimestampingCertChain)
	}
	if err != nil {
		return fmt.Errorf("its timestamp: %w", err)
	}
	return nil
}

// chainAt returns nil if all certificates are valid at t, whichever moment
// within its accuracy that was.
func chainAt(chain []*x509.Certificate, t tspclient.Timestamp) error {
	for _, c := range chain {
		if !t.BoundedAfter(c.NotBefore) {
			return fmt.Errorf("the certificate %.80q is not valid before %s", c.Subject, c.NotBefore.UTC().Format(time.RFC3339))
		}
		if !t.BoundedBefore(c.NotAfter) {
			return fmt.Errorf("the certificate %.80q was valid until %s", c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	return nil
}
