package apig_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
)

// TestSigned: a signed request is taken once, in its time, as it was signed.
func TestSigned(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	const body = `{"name":"demo"}`
	request := func(at time.Time) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, place.url+base+"/signs", nil)
		ok(t, err)
		ok(t, door.SignSDKHMAC(r, []byte(body), door.SDKKey{AccessKey: controltest.AdminKey, Secret: []byte(controltest.AdminSecret)}, at))
		return r
	}
	send := func(r *http.Request, body string) said {
		r.Body = io.NopCloser(strings.NewReader(body))
		r.ContentLength = int64(len(body))
		return place.send(t, r)
	}
	const iam = "Incorrect IAM authentication information: "
	now := time.Now()
	want(t, "another body", send(request(now), `{"name":"evil"}`), 401, "APIG.0301", iam+"verify aksk signature fail")
	want(t, "too old", send(request(now.Add(-16*time.Minute)), body), 401, "APIG.0301", iam+door.ErrClock.Error())
	want(t, "too early", send(request(now.Add(16*time.Minute)), body), 401, "APIG.0301", iam+door.ErrClock.Error())
	r := request(now)
	if s := send(r, body); s.status != 201 {
		t.Fatalf("%d %s", s.status, s.raw)
	}
	want(t, "again", send(r, body), 401, "APIG.0301", iam+door.ErrReplayed.Error())
	if n := len(place.stored(t)); n != 1 {
		t.Errorf("%d keys", n)
	}
}

// TestKeysReseal: after a new sealing key encrypted all again, the older one is needed
// no more, and what is bound still signs.
func TestKeysReseal(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	id := place.create(t, `{"name":"demo","sign_key":"signkeysignkey","sign_secret":"sig-secret-0123456789"}`).text("id")
	place.bind(t, id, "hooks:records")
	keys := func(current byte, older ...byte) *apig.Keys {
		var all [][]byte
		for _, n := range older {
			all = append(all, sealKey(n))
		}
		return apig.NewKeys(apig.KeysOptions{Journal: place.Journal, Seal: newSeal(t, sealKey(current), all...)})
	}
	if _, err := keys(2).Signer(t.Context(), "hooks:records"); err == nil || strings.Contains(err.Error(), "sig-secret") {
		t.Fatalf("with another sealing key: %v", err)
	}
	if n, err := keys(2).Reseal(t.Context()); err == nil {
		t.Fatalf("without the older key: %d", n)
	}
	for _, want := range []int{1, 0} {
		if n, err := keys(2, 1).Reseal(t.Context()); n != want || err != nil {
			t.Fatalf("%d, %v, want %d", n, err, want)
		}
	}
	place.keys = keys(2)
	place.wantSecret(t, "hooks:records", "signkeysignkey", "sig-secret-0123456789")
	if bytes.Contains([]byte(place.stored(t)[0].Sealed), []byte("sig-secret")) {
		t.Error("stored in clear")
	}
}
