package event

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/sealwright/sealwright/registry"
)

// FuzzReceive: whatever the body of an authenticated delivery is, it is refused
// with one of two reasons, or says valid names only.
func FuzzReceive(f *testing.F) {
	receivers := map[Source]*Receiver{}
	for _, cfg := range configs() {
		receivers[cfg.Source] = open(f, cfg)
	}
	receivers[GitLab] = receivers[Distribution]
	for name := range deliveries {
		_, body := delivery(f, name)
		cfg := configOf(f, name)
		f.Add(uint8(slices.Index(sources(), cfg.Source)), "zotregistry.image.updated", "2026-11-22T02:19:17Z", body)
	}
	f.Fuzz(func(t *testing.T, n uint8, kind, when string, body []byte) {
		source := sources()[int(n)%len(sources())]
		got, err := receivers[source].Receive(t.Context(), fuzzHeader(kind, when, body), body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrForeign) || len(got.Pushes) > 0 || len(got.Ignored) > 0 {
				t.Fatalf("%s: %v, %v", source, got, err)
			}
			checkPlain(t, err)
			return
		}
		checkDelivery(t, got)
	})
}

// fuzzHeader authenticates a body for every source.
func fuzzHeader(kind, when string, body []byte) http.Header {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write(body)
	header := http.Header{}
	for name, value := range map[string]string{
		"Authorization": "Basic cXVheTphYmM=", // quay:abc
		"X-Api-Key":     secret, "X-Sealwright": secret, artifactoryHeader: secret,
		nexusHeader:      hex.EncodeToString(mac.Sum(nil)),
		"Ce-Specversion": "1.0", "Ce-Type": kind, "Ce-Time": when,
	} {
		header.Set(name, value)
	}
	return header
}

var reasons = []Reason{OtherAction, Signature, NotAManifest, OtherDigest, Subscription}

func checkPlain(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); len(text) > 1000 || slices.ContainsFunc([]byte(text), func(b byte) bool { return b < ' ' || b == 0x7f }) {
		t.Fatalf("the error is not short and plain: %q", text)
	}
}

func checkDelivery(t *testing.T, d Delivery) {
	t.Helper()
	for reason := range d.Ignored {
		if !slices.Contains(reasons, reason) {
			t.Fatalf("unknown reason %q", reason)
		}
	}
	if len(d.Pushes) > MaxEvents {
		t.Fatalf("%d pushes", len(d.Pushes))
	}
	for _, p := range d.Pushes {
		switch {
		case !registry.ValidRepository(p.Repository),
			p.Tag != "" && (!registry.ValidTag(p.Tag) || registry.IsSignatureTag(p.Tag)),
			p.Digest != "" && !sha256Digest.MatchString(p.Digest),
			p.Tag == "" && p.Digest == "",
			!p.At.IsZero() && (p.At.Year() < 0 || p.At.Year() > 9999):
			t.Fatalf("push %+v", p)
		}
	}
}

// FuzzSNS: what SNS did not sign is unauthorized, whatever it is.
func FuzzSNS(f *testing.F) {
	for _, name := range []string{"notification-1", "notification-2", "subscription", "unsubscription"} {
		_, body := delivery(f, "sns/"+name)
		f.Add(body)
	}
	w := snsWeb(f)
	r := open(f, snsConfig(w))
	f.Fuzz(func(t *testing.T, body []byte) {
		w.asked = nil
		got, err := r.Receive(context.Background(), http.Header{}, body)
		if err != nil {
			checkPlain(t, err)
			return
		}
		checkDelivery(t, got)
	})
}

// FuzzToken: what Google did not sign is unauthorized, whatever it is.
func FuzzToken(f *testing.F) {
	g := newGoogle(f)
	r := open(f, g.config())
	claims := g.claims()
	claims["aud"] = "other"
	f.Add(g.token(f, claims))
	f.Add("bnVsbA.bnVsbA.bnVsbA")
	_, body := delivery(f, "gar-push")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := r.Receive(context.Background(), http.Header{"Authorization": {"Bearer " + token}}, body)
		if !errors.Is(err, ErrUnauthorized) || len(got.Pushes) > 0 {
			t.Fatalf("%v, %v", got, err)
		}
		checkPlain(t, err)
	})
}
