package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/policy"
)

const goodPolicy = `{"name":"p","registry":"prod","namespace":"team","trigger":{"type":"scheduled","cron":"0 0 2 * * *"},"key":"release",
	"scope":[{"repositories":["a","b"],"tags":{"matches":"v*","excludes":["v1"]},"untagged":true}],"formats":["cosign","bundle"],"enabled":false}`

// FuzzPolicy: whatever a body says, it is refused with reasons, or it is a valid
// policy that says the same when it is written again.
func FuzzPolicy(f *testing.F) {
	a := &API{huma: newHuma(http.NewServeMux())}
	for _, body := range []string{goodPolicy, "{}", "null", "[", `{"a":1,"a":2}`, `{"scope":[{"repositories":{"matches":[null]}}]}`, strings.Repeat(`{"scope":[`, 50), "\xff"} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := a.decodePolicy(body)
		if err != nil {
			var faults faultsError
			if !errors.Is(err, errSyntax) && (!errors.As(err, &faults) || len(faults) == 0) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if faults := p.Validate(); len(faults) > 0 || !json.Valid(body) {
			t.Fatalf("%q is taken: %v", body, faults)
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q policy.Policy
		if q, err = a.decodePolicy(again); err != nil {
			t.Fatalf("%q is %q, and that is refused: %v", body, again, err)
		}
		if d := cmp.Diff(p, q); d != "" {
			t.Fatalf("%q: %s", body, d)
		}
	})
}

// FuzzMatch: a policy is changed by * or by its own ETag, and by nothing else.
func FuzzMatch(f *testing.F) {
	for _, header := range []string{"", "*", `"7"`, `W/"7"`, `"1", "7"`, `7`, `"`, `""`, `"7`, `"1","`, "*,*", ` "7" `} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		match, err := parseMatch(header)
		if err != nil {
			return
		}
		want := strings.TrimSpace(header) == "" || strings.TrimSpace(header) == "*"
		for part := range strings.SplitSeq(header, ",") {
			want = want || strings.TrimSpace(part) == `"7"`
		}
		if match(`"7"`) != want {
			t.Fatalf("%q matches: %v", header, match(`"7"`))
		}
	})
}

// FuzzQuery: what a query says is read in one way.
func FuzzQuery(f *testing.F) {
	for _, raw := range []string{"", "a=1", "a=1&a=2", "a;b", "%zz", "a=%00"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var faults faultsError
		if err := checkQuery(raw); err != nil && !errors.As(err, &faults) {
			t.Fatal(err)
		}
	})
}
