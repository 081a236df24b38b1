package signature

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/notaryproject/notation-core-go/signature"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// day is how long the certificates of tests are valid, and a little more.
const day = 25 * time.Hour

// TestNotationExpires looks at signatures whose certificate has expired.
func TestNotationExpires(t *testing.T) {
	for _, f := range notationFormats {
		t.Run(string(f), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { expires(t, f) }) })
	}
}

func expires(t *testing.T, f policy.Format) {
	k, s := certified(t, newIssuer(t, "root")), notationImage(1)
	tower, other := newClockTower(t), newClockTower(t)
	plain, stamped := lenient{newMemory()}, lenient{newMemory()}
	signNow(t, plain, f, s, k.Key)
	signNow(t, stamped, f, s, k.Key, tower.authority("tower"))
	for _, st := range []lenient{plain, stamped} {
		if look := lookFor(t, st, f, s, k.Key); !look.Signed {
			t.Errorf("while the certificate is valid: %+v", look)
		}
	}
	time.Sleep(day)
	for name, c := range map[string]struct {
		st     lenient
		by     []Authority
		signed bool
		reason string
	}{
		"without timestamp":     {plain, []Authority{tower.authority("tower")}, false, "it has no timestamp"},
		"with one":              {stamped, []Authority{other.authority("other"), tower.authority("tower")}, true, ""},
		"by an unknown one":     {stamped, []Authority{other.authority("other")}, false, "was valid until"},
		"nobody can vouch for":  {stamped, nil, false, "no timestamp authority is configured"},
		"by one without a root": {stamped, []Authority{{Timestamper: tower, Name: "tower"}}, false, "was valid until"},
	} {
		look := lookFor(t, c.st, f, s, k.Key, c.by...)
		if look.Signed != c.signed || !strings.Contains(strings.Join(look.Reasons, ""), c.reason) {
			t.Errorf("%s: %+v", name, look)
		}
		found, err := NewLayouts(c.st).Image(s, Witnesses{Timestamps: c.by}).Check(t.Context(), []Key{k.Key})
		if err != nil || (len(found) == 1) != c.signed {
			t.Errorf("%s: check returns %+v, %v", name, found, err)
		}
	}
	time.Sleep(6 * 365 * day)
	if look := lookFor(t, stamped, f, s, k.Key, tower.authority("tower")); !look.Signed {
		t.Errorf("after the authority's certificate has expired, too: %+v", look)
	}
}

// TestNotationStampedTooLate: a timestamp from after the certificate's end, or
// one whose accuracy reaches beyond it, proves nothing.
func TestNotationStampedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := certified(t, newIssuer(t, "root")), notationImage(1)
		tower := newClockTower(t)
		end := time.Until(k.Certificates[0].NotAfter).Truncate(time.Second)
		early, late := lenient{newMemory()}, lenient{newMemory()}
		tower.late = end - 2*time.Second
		signNow(t, early, policy.FormatNotationJWS, s, k.Key, tower.authority("tower"))
		tower.late = end
		signNow(t, late, policy.FormatNotationJWS, s, k.Key, tower.authority("tower"))
		time.Sleep(day)
		if look := lookFor(t, early, policy.FormatNotationJWS, s, k.Key, tower.authority("tower")); !look.Signed {
			t.Errorf("within the certificate's time: %+v", look)
		}
		if look := lookFor(t, late, policy.FormatNotationJWS, s, k.Key, tower.authority("tower")); look.Signed || !strings.Contains(look.Reasons[0], "when it was timestamped") {
			t.Errorf("beyond the certificate's time: %+v", look)
		}
	})
}

// TestNotationForeignTimestamp puts the timestamp of another signature into an
// envelope. No verifier that wants a timestamp accepts that.
func TestNotationForeignTimestamp(t *testing.T) {
	k, s := certified(t, newIssuer(t, "root")), notationImage(1)
	tower := newClockTower(t)
	for _, f := range notationFormats {
		e := k.sealed(t, f, s, func(r *core.SignRequest) {
			r.Timestamper, r.TSARootCAs = misdirected{tower}, tower.authority("").Roots
		})
		st := lenient{newMemory()}
		referNotation(t, st, f, s, e)
		look := lookFor(t, st, f, s, k.Key, tower.authority("tower"))
		if look.Signed || !strings.Contains(look.Reasons[0], "mismatched message") {
			t.Errorf("%s: %+v", f, look)
		}
	}
}

func TestNotationAsksInOrder(t *testing.T) {
	k, s := certified(t, newIssuer(t, "root")), notationImage(1)
	for _, f := range notationFormats {
		first, second := newClockTower(t), newClockTower(t)
		first.fail = errDown
		*k.uses = 0
		i := NewLayouts(lenient{newMemory()}).Image(s, Witnesses{Timestamps: []Authority{first.authority("first"), second.authority("second")}})
		sig, err := i.Sign(t.Context(), f, k.Key)
		if err != nil || !sig.Timestamped || first.asks != 1 || second.asks != 1 || *k.uses != 1 {
			t.Errorf("%s: timestamped %t, asked %d and %d times, %d uses of the key, %v", f, sig.Timestamped, first.asks, second.asks, *k.uses, err)
		}
		second.fail = errDown
		if _, err := i.Sign(t.Context(), f, k.Key); !errors.Is(err, ErrTimestamp) || !errors.Is(err, errDown) {
			t.Errorf("%s: no authority answers: %v", f, err)
		}
		wrong := Authority{Timestamper: newClockTower(t), Roots: newClockTower(t).authority("").Roots, Name: "wrong"}
		i.Timestamps = []Authority{wrong}
		if _, err := i.Sign(t.Context(), f, k.Key); !errors.Is(err, ErrTimestamp) {
			t.Errorf("%s: the authority is not who it should be: %v", f, err)
		}
	}
}

func TestNotationTimestampingStops(t *testing.T) {
	k := certified(t, newIssuer(t, "root"))
	ctx, cancel := context.WithCancel(t.Context())
	tower := newClockTower(t)
	sign := k.Sign
	k.Sign = func(ctx context.Context, message []byte) ([]byte, error) {
		defer cancel()
		return sign(ctx, message)
	}
	tower.fail = errDown
	i := NewLayouts(lenient{newMemory()}).Image(notationImage(1), Witnesses{Timestamps: []Authority{tower.authority("tower")}})
	if _, err := i.Sign(ctx, policy.FormatNotationJWS, k.Key); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, not that it was cancelled", err)
	}
}

// TestNotationVerifiesTimestamps lets notation's verifier, which must find a
// timestamp, read ours.
func TestNotationVerifiesTimestamps(t *testing.T) {
	ca, tower, stranger := newIssuer(t, "root"), newClockTower(t), newClockTower(t)
	k := certified(t, ca)
	for _, f := range notationFormats {
		server := registrytest.Memory(t)
		st, s := pushedNotationImage(t, server)
		signNow(t, st, f, s, k.Key, tower.authority("tower"))
		if err := notationVerify(t, server.Host, s, ca.cert, tower.root); err != nil {
			t.Errorf("%s: notation refuses it: %v", f, err)
		}
		if err := notationVerify(t, server.Host, s, ca.cert, stranger.root); err == nil {
			t.Errorf("%s: notation accepts it by another timestamp authority", f)
		}
	}
}
