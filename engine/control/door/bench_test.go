package door

import (
	"net/http"
	"strings"
	"testing"
)

// BenchmarkDoor is one read by each scheme, with a body of 4 KiB where there is one,
// among a hundred callers.
func BenchmarkDoor(b *testing.B) {
	body := strings.Repeat("x", 4<<10)
	read := tc3Sign(b, sent{http.MethodPost, "/", "tcr.example.com", body, http.Header{
		"Content-Type": {"application/json"}, "X-Tc-Timestamp": {"1795313997"}, "X-Tc-Action": {"DescribeNamespaces"}}})
	header := http.Header{"User-Agent": {"x"}}
	credentials := []Credential{ci()}
	for n := range 100 {
		name := strings.Repeat("x", n+1)
		credentials = append(credentials, Credential{Name: name, Role: Viewer, AccessKey: name, Secret: []byte(name), TokenSHA256: hashOf(name)})
	}
	for _, bench := range []struct {
		name  string
		enter func(*Door, *http.Request) (Caller, []byte, error)
		req   sent
	}{
		{"TC3", enterTCR, read},
		{"Huawei", (*Door).SDKHMAC, huaweiSign(b, sent{http.MethodGet, "/v2/p/signs?limit=10&offset=0", "localhost", body, header.Clone()}, fuzzTime)},
		{"scoped", (*Door).SDKHMAC, scopedSign(sent{http.MethodGet, "/v2/p/signs?limit=10&offset=0", "localhost", body, header.Clone()}, fuzzTime)},
		{"OCI", (*Door).OCI, resigned(b, sent{method: http.MethodGet, uri: "/x?y=z", body: body}, fuzzTime, []string{"date", ociTarget, "host", ociHash})},
		{"Token", (*Door).Token, sent{http.MethodGet, "/", "localhost", body, http.Header{"X-Auth-Token": {bearer}}}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			d := open(b, Config{Credentials: credentials, Clock: (&clock{now: fuzzTime}).Now})
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := bench.enter(d, bench.req.request()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
