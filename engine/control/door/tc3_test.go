package door

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

// A try is a request and its verdict.
type try struct {
	what string
	req  sent
	want error
}

func (s scheme) tryAll(t *testing.T, tries []try) {
	t.Helper()
	for _, try := range tries {
		s.expect(t, s.open(t), try.what, try.req, try.want)
	}
}

// TestTC3Client: what Tencent's client sends, whichever way it is set up.
func TestTC3Client(t *testing.T) {
	for name, change := range map[string]func(*profile.ClientProfile){
		"POST":              func(*profile.ClientProfile) {},
		"GET":               func(p *profile.ClientProfile) { p.HttpProfile.ReqMethod = http.MethodGet },
		"unsigned payload":  func(p *profile.ClientProfile) { p.UnsignedPayload = true },
		"unsigned GET":      func(p *profile.ClientProfile) { p.UnsignedPayload, p.HttpProfile.ReqMethod = true, http.MethodGet },
		"Chinese and debug": func(p *profile.ClientProfile) { p.Language = "zh-CN" },
	} {
		req := tencentSends(t, "CreateSignaturePolicy", change)
		s := scheme{name: "TC3", enter: enterTCR, at: tencentTime(t, req)}
		s.expect(t, s.open(t), name, req, nil)
		s.expect(t, s.open(t), name+", another query", req.with(func(s *sent) { s.uri += cmp.Or(strings.Repeat("&", strings.Count(s.uri, "?")), "?") + "x=1" }),
			cmpErr(strings.Contains(name, "GET"), ErrSignature, ErrMalformed))
		s.expect(t, s.open(t), name+", another body", req.with(func(s *sent) { s.body += " " }),
			cmpErr(strings.Contains(name, "unsigned"), nil, ErrSignature))
	}
	for _, method := range []string{"HmacSHA1", "HmacSHA256"} {
		for _, verb := range []string{http.MethodGet, http.MethodPost} {
			req := tencentSends(t, "DescribeNamespaces", func(p *profile.ClientProfile) { p.SignMethod, p.HttpProfile.ReqMethod = method, verb })
			s := scheme{name: "older", enter: enterTCR, at: time.Now()}
			s.expect(t, s.open(t), method+" "+verb, req, ErrUnsupported)
		}
	}
}

func TestTC3Tampered(t *testing.T) {
	s := tencent(t)
	good := s.good
	at := fmt.Sprint(s.at.Unix())
	list := "SignedHeaders=content-type;host"
	s.tryAll(t, []try{
		{"another body", good.with(func(s *sent) { s.body = strings.Replace(s.body, "tcr-", "tcr_", 1) }), ErrSignature},
		{"no body", good.with(func(s *sent) { s.body = "" }), ErrSignature},
		{"said to be unsigned", good.set("X-TC-Content-SHA256", unsignedPayload), ErrSignature},
		{"said to have a hash", good.set("X-TC-Content-SHA256", hexSHA256([]byte(good.body))), ErrMalformed},
		{"unsigned twice", good.set("X-TC-Content-SHA256", unsignedPayload).add("X-TC-Content-SHA256", "x"), ErrMalformed},
		{"another content type", good.set("Content-Type", "text/plain"), ErrSignature},
		{"content type twice", good.add("Content-Type", "text/plain"), ErrMalformed},
		{"no content type", good.without("Content-Type"), ErrMalformed},
		{"another host", good.with(func(s *sent) { s.host = "tcr.tencentcloudapi.com" }), ErrSignature},
		{"another port", good.with(func(s *sent) { s.host += "0" }), ErrSignature},
		{"another path", good.with(func(s *sent) { s.uri = "/x" }), ErrMalformed},
		{"a query", good.with(func(s *sent) { s.uri = "/?Name=x" }), ErrMalformed},
		{"GET", good.with(func(s *sent) { s.method = http.MethodGet }), ErrSignature},
		{"PUT", good.with(func(s *sent) { s.method = http.MethodPut }), ErrUnsupported},
		{"another second", good.set("X-TC-Timestamp", fmt.Sprint(s.at.Unix()+1)), ErrSignature},
		{"no time", good.without("X-TC-Timestamp"), ErrMalformed},
		{"time twice", good.add("X-TC-Timestamp", at), ErrMalformed},
		{"time with a sign", good.set("X-TC-Timestamp", "+"+at), ErrMalformed},
		{"time before 1970", good.set("X-TC-Timestamp", "-1"), ErrMalformed},
		{"time with zeros", good.set("X-TC-Timestamp", strings.Repeat("0", 10)+at), ErrMalformed},
		{"no time at all", good.set("X-TC-Timestamp", "now"), ErrMalformed},
		{"action twice", good.add("X-TC-Action", "Delete"), ErrMalformed},
		{"another date", good.edit("/"+s.at.Format(time.DateOnly)+"/", "/2001-01-01/"), ErrMalformed},
		{"another service", good.edit("/tcr/", "/kms/"), ErrMalformed},
		{"another end", good.edit("tc3_request", "tc4_request"), ErrMalformed},
		{"no id", good.edit(accessKey, ""), ErrMalformed},
		{"a credential of five parts", good.edit("/tcr/", "/tcr/x/"), ErrMalformed},
		{"a part after the end", good.edit("tc3_request", "tc3_request/x"), ErrMalformed},
		{"another id", good.edit(accessKey, accessKey+"x"), ErrUnknown},
		{"host unsigned", good.edit(list, "SignedHeaders=content-type"), ErrMalformed},
		{"content type unsigned", good.edit(list, "SignedHeaders=host"), ErrMalformed},
		{"another order", good.edit(list, "SignedHeaders=host;content-type"), ErrSignature},
		{"odd case", good.edit("content-type", "Content-Type"), ErrMalformed},
		{"listed twice", good.edit(list, list+";host"), ErrMalformed},
		{"an empty name", good.edit(list, list+";"), ErrMalformed},
		{"a name with a colon", good.edit(list, list+";x:y"), ErrMalformed},
		{"one that is missing", good.edit(list, list+";x-missing"), ErrMalformed},
		{"one more than was signed", good.edit(list, list+";x-tc-action"), ErrSignature},
		{"itself", good.edit(list, list+";authorization"), ErrMalformed},
		{"too many", many(good, list), ErrMalformed},
		{"no list", good.edit(list+", ", ""), ErrMalformed},
		{"an empty list", good.edit(list, "SignedHeaders="), ErrMalformed},
		{"parameters in another order", good.edit("TC3-HMAC-SHA256 Credential", "TC3-HMAC-SHA256 Signature=x, Credential"), ErrMalformed},
		{"upper-case signature", good.with(func(s *sent) {
			said := s.header.Get("Authorization")
			s.header.Set("Authorization", said[:len(said)-64]+strings.ToUpper(said[len(said)-64:]))
		}), ErrMalformed},
		{"a signature of no digits", good.with(func(s *sent) {
			said := s.header.Get("Authorization")
			s.header.Set("Authorization", said[:len(said)-64]+strings.Repeat("g", 64))
		}), ErrMalformed},
		{"a short signature", good.with(func(s *sent) {
			said := s.header.Get("Authorization")
			s.header.Set("Authorization", said[:len(said)-2])
		}), ErrMalformed},
		{"another signature", good.with(func(s *sent) {
			said := s.header.Get("Authorization")
			s.header.Set("Authorization", said[:len(said)-64]+strings.Repeat("0", 64))
		}), ErrSignature},
		{"no blanks", good.edit(", ", ",").edit(", ", ","), nil},
		{"other headers", good.set("X-TC-Language", "zh-CN"), nil},
	})
}

// many lists more headers than are read, all of which are there.
func many(s sent, list string) sent {
	names := ""
	for i := range maxSignedHeaders {
		name := fmt.Sprintf("x-h%d", i)
		names += ";" + name
		s = s.set(name, "1")
	}
	return s.edit(list, list+names)
}

// TestTC3Reads: a read may be repeated, but neither passes for a change nor a change
// for a read.
func TestTC3Reads(t *testing.T) {
	read := tencentSends(t, "DescribeNamespaces", func(*profile.ClientProfile) {})
	s := scheme{name: "TC3", enter: enterTCR, good: read, at: tencentTime(t, read)}
	change := read.set("X-TC-Action", "DeleteSignaturePolicy") // the action is not signed
	d := s.open(t)
	s.expect(t, d, "a read", read, nil)
	s.expect(t, d, "a read again", read, nil)
	s.expect(t, d, "a read sent as a change", change, ErrReplayed)
	s.expect(t, d, "a read sent without an action", read.without("X-TC-Action"), ErrReplayed)
	s.expect(t, d, "the read once more", read, nil)
	d = s.open(t)
	s.expect(t, d, "a change", change, nil)
	s.expect(t, d, "a change sent as a read", read, ErrReplayed)

	get := tencentSends(t, "DeleteSignaturePolicy", func(p *profile.ClientProfile) { p.HttpProfile.ReqMethod = http.MethodGet })
	s = scheme{name: "TC3", enter: enterTCR, at: tencentTime(t, get)}
	d = s.open(t)
	s.expect(t, d, "a change by GET", get, nil)
	s.expect(t, d, "a change by GET again", get, ErrReplayed)
}

// TestTC3Node: Tencent's SDK for Node.js signs for the host's first label, and the
// host without its port.
func TestTC3Node(t *testing.T) {
	t.Parallel()
	s := tencent(t)
	node := func(service, signed, host string) sent {
		return s.good.with(func(req *sent) {
			a := tc3{date: s.at.Format(time.DateOnly), service: service, timestamp: fmt.Sprint(s.at.Unix()),
				list: "content-type;host", names: []string{"content-type", "host"}}
			req.host = signed
			text, err := a.text(req.request(), []byte(req.body))
			if err != nil {
				t.Fatal(err)
			}
			req.host = host
			req.header.Set("Authorization", fmt.Sprintf("TC3-HMAC-SHA256 Credential=%s/%s/%s/tc3_request, SignedHeaders=content-type;host, Signature=%x",
				accessKey, a.date, service, a.sign([]byte(secretKey), text)))
		})
	}
	s.tryAll(t, []try{
		{"loopback", node("127", "127.0.0.1", "127.0.0.1:8374"), nil},
		{"a name", node("signing", "signing.example.com", "signing.example.com"), nil},
		{"with port", node("signing", "signing.example.com", "signing.example.com:8374"), nil},
		{"no dot", node("localhost:8374", "localhost", "localhost:8374"), nil},
		{"for tcr", node("tcr", "signing.example.com", "signing.example.com:8374"), nil},
		{"an address of IPv6", node("tcr", "[::1]", "[::1]:8374"), nil},
		{"another host", node("tcr", "signing.example.com", "other.example.com:8374"), ErrSignature},
		{"another port", node("tcr", "signing.example.com:1", "signing.example.com:8374"), ErrSignature},
		{"a part of the host", node("tcr", "signing", "signing.example.com"), ErrSignature},
		{"another label", node("kms", "signing.example.com", "signing.example.com"), ErrMalformed},
		{"more than a label", node("signing.example", "signing.example.com", "signing.example.com"), ErrMalformed},
	})
}
