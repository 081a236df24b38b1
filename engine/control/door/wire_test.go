package door

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/control/controltest/wire"
)

// A wireRequest is one that a vendor's SDK sent: Huawei's, Tencent's, Oracle's, or
// Open Telekom Cloud's gophertelekomcloud.
type wireRequest struct{ wire.Request }

func (w wireRequest) sent() sent {
	s := sent{method: w.Method, uri: w.URI, body: w.Body, header: http.Header{}}
	for name, value := range w.Header {
		s.header.Set(name, value)
	}
	s.host = s.header.Get("Host")
	s.header.Del("Host")
	return s
}

// enter chooses the scheme as a dialect would: by what the API is.
func (w wireRequest) enter(d *Door, r *http.Request) (Caller, []byte, error) {
	switch said := w.Header["Authorization"]; {
	case said == "":
		return d.Token(r)
	case strings.HasPrefix(said, sdkScheme):
		return d.SDKHMAC(r)
	case strings.HasPrefix(said, ociScheme):
		return d.OCI(r)
	case w.Header["X-Tc-Version"] == "2019-09-24":
		return d.TC3(r, "tcr")
	}
	return d.TC3(r, "kms")
}

func (w wireRequest) time(t *testing.T) time.Time {
	t.Helper()
	s := w.sent()
	var at time.Time
	var err error
	switch {
	case s.header.Get("X-Tc-Timestamp") != "":
		return tencentTime(t, s)
	case s.header.Get("X-Sdk-Date") != "":
		at, err = time.Parse("20060102T150405Z", s.header.Get("X-Sdk-Date"))
	case s.header.Get("Date") != "":
		at, err = http.ParseTime(s.header.Get("Date"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func readWire(tb testing.TB) []wireRequest {
	tb.Helper()
	var all []wireRequest
	for _, w := range wire.Read(tb) {
		all = append(all, wireRequest{w})
	}
	if len(all) != 104 {
		tb.Fatalf("%d requests, want 104", len(all))
	}
	return all
}

var wireKeyID = regexp.MustCompile(`keyId="([^"]+)"`)

func openWire(tb testing.TB, now func() time.Time) *Door {
	tb.Helper()
	var id string
	for _, w := range readWire(tb) {
		if match := wireKeyID.FindStringSubmatch(w.Header["Authorization"]); match != nil && !w.Refused {
			id = match[1]
		}
	}
	return open(tb, Config{Clock: now, Credentials: []Credential{
		{Name: "tencent", Role: Admin, AccessKey: tc3ID, Secret: []byte(tc3Secret)},
		{Name: "huawei", Role: Admin, AccessKey: accessKey, Secret: []byte(secretKey)},
		{Name: "oracle", Role: Admin, OCIKeyID: id, OCIPublicKey: publicKey(tb, "testdata/wire-oci.pem")},
		{Name: "token", Role: Admin, TokenSHA256: hashOf(bearer)},
	}})
}

// TestWire: what SDKs sent is let in, and what they signed wrongly is not.
func TestWire(t *testing.T) {
	callers := map[string]int{}
	for i, w := range readWire(t) {
		d := openWire(t, (&clock{now: w.time(t)}).Now)
		caller, body, err := w.enter(d, w.sent().request())
		switch {
		case !w.Refused && (err != nil || string(body) != w.Body):
			t.Errorf("request %d, %s %s: %v, body %q", i, w.Method, w.URI, err, body)
		case w.Refused && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrUnknown):
			t.Errorf("request %d, %s %s: let in, or %v", i, w.Method, w.URI, err)
		}
		checkError(t, w.URI, err)
		callers[caller.Name]++
	}
	for name, want := range map[string]int{"tencent": 16, "huawei": 60, "oracle": 15, "token": 9, "": 4} {
		if callers[name] != want {
			t.Errorf("%q came %d times, want %d", name, callers[name], want)
		}
	}
}

// TestWireReplays: one door for all. What SDKs sent twice in one second is refused if
// it may be a change: among others a DELETE again with another If-Match, which is not
// signed, and a POST of Tencent's KMS that reads.
func TestWireReplays(t *testing.T) {
	now := &clock{}
	d := openWire(t, now.Now)
	var replays []int
	for i, w := range readWire(t) {
		now.set(w.time(t))
		_, _, err := w.enter(d, w.sent().request())
		if errors.Is(err, ErrReplayed) {
			replays = append(replays, i)
		} else if err != nil && !w.Refused {
			t.Errorf("request %d, %s %s: %v", i, w.Method, w.URI, err)
		}
	}
	if want := []int{27, 31, 40, 42, 48, 80, 95}; !slices.Equal(replays, want) {
		t.Errorf("replays %v, want %v", replays, want)
	}
}
