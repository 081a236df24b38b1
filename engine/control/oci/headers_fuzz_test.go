package oci

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/control/door"
)

// FuzzKeyID: the tenancy and the user are the first two of the three parts of the key id
// that the door let in, or nobody's.
func FuzzKeyID(f *testing.F) {
	const tenancy, user = "ocid1.tenancy.oc1..aaaaaaaaba3pv6wkcr4jqae5f15p2b2m2yt2j6rx32uzr4h25vqstifsfdsq", "ocid1.user.oc1..aaaaaaaat5nvwcna5j6aqzjcaty5eqbb6qt2jvpkanghtgdaqedqw3rynjq"
	for _, id := range []string{tenancy + "/" + user + "/20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34", "wire", "a/b", "a/b/c/d", "/b/c", "a//c", `a"/b/c`, "a/b/", " / / ", "a\n/b/c"} {
		f.Add(id, "")
		f.Add(id, tenancy+"/"+user+"/f")
	}
	f.Fuzz(func(t *testing.T, id, other string) {
		if strings.Contains(id+other, `"`) { // the door lets in no such id
			return
		}
		c := &call{user: "caller"}
		c.parseKeyID(`Signature version="1",headers="date (request-target) host",keyId="` + id + `",algorithm="rsa-sha256",signature="` + other + `"`)
		tenancy, user := "", "caller"
		if parts := strings.Split(id, "/"); len(parts) == 3 && parts[0] != "" && parts[1] != "" && parts[2] != "" {
			tenancy, user = parts[0], parts[1]
		}
		if c.tenancy != tenancy || c.user != user {
			t.Errorf("%q: tenancy %q, user %q, want %q, %q", id, c.tenancy, c.user, tenancy, user)
		}
	})
}

// FuzzRetryToken: a token is the caller's own text, there once and within its bounds, or
// refused; what is called with it is told apart by what it says.
func FuzzRetryToken(f *testing.F) {
	for _, token := range []string{"", "NbIhIaFBdkYWMdbcqXbHGvxcTYLhPNGT", strings.Repeat("x", maxRetryToken), strings.Repeat("x", maxRetryToken+1), "\u00e9", "a b", "a\x00b", "~ ", "\xff"} {
		f.Add(token, false, "message", "message")
		f.Add(token, true, "message", "another")
	}
	f.Fuzz(func(t *testing.T, token string, twice bool, message, another string) {
		c := &call{caller: door.Caller{Name: "ci"}, header: http.Header{}}
		c.header.Add("opc-retry-token", token)
		if twice {
			c.header.Add("opc-retry-token", token)
		}
		got, err := c.retryToken(upload{Message: message})
		if twice && err == nil {
			t.Fatalf("%q is taken twice", token)
		}
		if err != nil {
			isFault(t, err)
			if f := faultOf(err); !strings.HasPrefix(f.message, "opc-retry-token: ") || len(token) > 4 && strings.Contains(f.message, token) {
				t.Errorf("%q: %s", token, f.message)
			}
			return
		}
		if token == "" {
			if got.Token != "" || got.Call != "" {
				t.Errorf("no token is %+v", got)
			}
			return
		}
		if got.Token != token || got.Caller != "ci" || len(got.Call) != 64 || len(token) > maxRetryToken || strings.Trim(token, printable) != "" {
			t.Errorf("%q: %+v", token, got)
		}
		other, err := c.retryToken(upload{Message: another})
		if err != nil || (other.Call == got.Call) != (valid(message) == valid(another)) {
			t.Errorf("%q and %q: %s and %s, %v", message, another, got.Call, other.Call, err)
		}
	})
}

// valid is text as JSON has it, which an upload is told apart by.
func valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
