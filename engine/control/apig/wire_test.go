package apig_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/controltest/wire"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// A clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func readWire(tb testing.TB) []wire.Request {
	tb.Helper()
	all := wire.Read(tb)
	if len(all) != 52 {
		tb.Fatalf("%d requests, want 52", len(all))
	}
	return all
}

// TestWire: what SDKs sent is understood, in their order: keys that they name by the
// ids of their server are not there.
func TestWire(t *testing.T) {
	t.Parallel()
	now := &clock{}
	const instance = "eddc4d25480b4cd6b512f270a1b8b341"
	place := newPlace(t, controltest.Options{Clock: now.Now, Rights: rights.Options{PerSecond: 1e6, Burst: 1e6},
		Credentials: []door.Credential{{Name: "wire", Role: door.Admin, TokenSHA256: sha("token-for-the-probe")}}})
	place.Rights.Replace([]rights.Instance{{ID: instance, Registry: controltest.Registry}}, nil)
	counts := map[string]int{}
	for i, w := range readWire(t) {
		status, raw := sendWire(t, w, place, now)
		name := fmt.Sprintf("request %d, %s %s %s: %d %s", i, w.Method, w.URI, w.Body, status, raw)
		var expect []int
		switch body := w.Body; {
		case w.Refused:
			expect = []int{401}
		case w.Method == "POST" && strings.HasSuffix(w.URI, "/signs"):
			expect = []int{201}
			for _, bad := range []string{`"ab"`, `"1abc"`, `"bad_`, `"9x"`} {
				if strings.Contains(body, bad) {
					expect = []int{400}
				}
			}
			if body == "{\"name\":\"signature_demo_340334124\"}\n" { // taken
				expect = []int{400}
			}
		case w.Method == "GET" && strings.Contains(w.URI, "/signs"):
			expect = []int{200}
		default: // by an id of their server; or the same change in the same second
			expect = []int{404, 401}
		}
		if status != expect[0] && status != expect[len(expect)-1] {
			t.Errorf("%s\nwant %v", name, expect)
		}
		counts[fmt.Sprint(status)]++
	}
	if counts["201"] != 12 || counts["200"] < 4 || counts["400"] < 6 {
		t.Errorf("%v", counts)
	}
}

// send sends a request byte by byte as it was, with the door's clock at its time.
func sendWire(t *testing.T, w wire.Request, place *place, now *clock) (int, string) {
	t.Helper()
	now.set(time.Now())
	if date := w.Header["X-Sdk-Date"]; date != "" {
		at, err := time.Parse("20060102T150405Z", date)
		ok(t, err)
		now.set(at)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(place.url, "http://"))
	ok(t, err)
	defer func() { _ = conn.Close() }()
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\n", w.Method, w.URI)
	for name, value := range w.Header {
		fmt.Fprintf(&text, "%s: %s\r\n", name, value)
	}
	_, err = io.WriteString(conn, text.String()+"\r\n"+w.Body)
	ok(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	ok(t, err)
	raw, err := io.ReadAll(answer.Body)
	ok(t, err)
	_ = answer.Body.Close()
	return answer.StatusCode, string(raw)
}
