package swr

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"net/http/httptest"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/controltest/wire"
	"github.com/sealwright/sealwright/engine/policy"
)

// TestWire: what Huawei's SDK sent to a server, one after the other, gives the answers of
// then. There the execution was the second one.
func TestWire(t *testing.T) {
	var now atomic.Int64
	h := open(t, controltest.Options{Clock: func() time.Time { return time.Unix(now.Load(), 0) }})
	h.replaceKeys(t, map[string]engine.Key{controltest.Key: key(t, policy.ECDSASHA256, "0d0466b0-e727-4d9c-b35d-f84bb474a37f")})
	want := []struct {
		status int
		body   string
	}{
		{201, `{"id":1}`},
		{200, `"description":"made by the acceptance client"`},
		{200, `"total":1`},
		{200, `"extras":"{\"untagged\":true}"`},
		{400, `limit: \"101\" is not allowed; allowed: 1 to 100`},
		{400, `offset: 3 is not a multiple of limit 2`},
		{200, ""},
		{201, `{"id":1}`},
		{200, `"policy_id":1`},
		{404, "SVCSTG.SWR.4040010"},
		{404, "SVCSTG.SWR.4040010"},
		{404, "SVCSTG.SWR.4040010"},
		{200, ""},
		{404, "SVCSTG.SWR.4040010"},
		{401, "APIGW.0301"},
	}
	wire := wire.Read(t)
	if len(wire) != len(want) {
		t.Fatalf("%d requests, want %d", len(wire), len(want))
	}
	for i, w := range wire {
		at, err := time.Parse("20060102T150405Z", w.Header["X-Sdk-Date"])
		if err != nil {
			t.Fatal(err)
		}
		now.Store(at.Unix())
		r := httptest.NewRequestWithContext(t.Context(), w.Method, w.URI, strings.NewReader(w.Body))
		for name, value := range w.Header {
			r.Header.Set(name, value)
		}
		r.Host = w.Header["Host"]
		r.Header.Del("Host")
		answer := httptest.NewRecorder()
		h.api.ServeHTTP(answer, r)
		if answer.Code != want[i].status || !strings.Contains(answer.Body.String(), want[i].body) || want[i].body == "" && answer.Body.Len() > 0 {
			t.Errorf("request %d, %s %s: %d %s, want %+v", i, w.Method, w.URI, answer.Code, answer.Body, want[i])
		}
	}
}
