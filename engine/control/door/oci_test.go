package door

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOCIClient: what the signer of OCI's SDK sends over loopback, by every method.
func TestOCIClient(t *testing.T) {
	at := time.Date(2026, 11, 22, 2, 19, 57, 0, time.UTC)
	date := http.Header{"Date": {at.Format(http.TimeFormat)}}
	s := scheme{name: "OCI", enter: (*Door).OCI, at: at}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPost, http.MethodPut, http.MethodPatch} {
		body := ""
		if method[0] == 'P' {
			body = `{"a":"ü"}`
		}
		for _, uri := range []string{"/", "/20160918/container/imageSignatures?imageDigest=sha256%3Ae7&sortBy=X", "/a%2Fb/%7e?", "/a?b=c?d&b=%20"} {
			d := s.open(t)
			req := oracleSends(t, method, uri, body, date, nil)
			s.expect(t, d, method+" "+uri, req, nil)
			s.expect(t, d, method+" "+uri+" again", req, cmpErr(method == http.MethodGet || method == http.MethodHead, nil, ErrReplayed))
			s.expect(t, s.open(t), method+" "+uri+"x", req.with(func(s *sent) { s.uri += "x" }), ErrSignature)
		}
	}
	s.expect(t, s.open(t), "POST without a body", oracleSends(t, http.MethodPost, "/", "", date, nil), nil)
}

// TestOCIDate: x-date may stand for date, if it is signed.
func TestOCIDate(t *testing.T) {
	at := time.Date(2026, 11, 22, 2, 19, 57, 0, time.UTC)
	now, old := at.Format(http.TimeFormat), at.Add(-time.Hour).Format(http.TimeFormat)
	s := scheme{name: "OCI", enter: (*Door).OCI, at: at}
	sign := func(header http.Header, names ...string) sent {
		return oracleSends(t, http.MethodGet, "/", "", header, append(names, "(request-target)", "host"))
	}
	s.tryAll(t, []try{
		{"x-date", sign(http.Header{"X-Date": {now}}, "x-date"), nil},
		{"x-date before date", sign(http.Header{"X-Date": {now}, "Date": {old}}, "x-date"), nil},
		{"both", sign(http.Header{"X-Date": {now}, "Date": {old}}, "x-date", "date"), nil},
		{"both, x-date is old", sign(http.Header{"X-Date": {old}, "Date": {now}}, "x-date", "date"), ErrClock},
		{"an x-date that is not signed", sign(http.Header{"Date": {old}}, "date").set("X-Date", now), ErrClock},
		{"a date that is not signed", sign(http.Header{"X-Date": {old}}, "x-date").set("Date", now), ErrClock},
		{"neither is signed", sign(http.Header{"Date": {now}}), ErrMalformed},
		{"an old form", sign(http.Header{"Date": {at.Format(time.RFC3339)}}, "date"), ErrMalformed},
	})
}

// TestOCIMinimum: each header that must be signed, left out.
func TestOCIMinimum(t *testing.T) {
	at := time.Date(2026, 11, 22, 2, 19, 57, 0, time.UTC)
	s := scheme{name: "OCI", enter: (*Door).OCI, at: at}
	all := []string{"date", ociTarget, "host", "content-length", "content-type", ociHash}
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPost, http.MethodPut, http.MethodPatch} {
		for i, name := range all {
			if method[0] != 'P' && i > 2 {
				continue
			}
			rest := slices.Delete(slices.Clone(all), i, i+1)
			for _, body := range []string{"{}", ""} {
				s.expect(t, s.open(t), method+" without "+name, resigned(t, sent{method: method, uri: "/x", body: body}, at, rest), ErrMalformed)
			}
		}
		s.expect(t, s.open(t), method+" with all", resigned(t, sent{method: method, uri: "/x", body: "{}"}, at, all), nil)
	}
	// A body must be signed, whether or not the method should have one.
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodOptions} {
		s.expect(t, s.open(t), method+" with a body", resigned(t, sent{method: method, uri: "/x", body: "{}"}, at, all[:3]), ErrMalformed)
		s.expect(t, s.open(t), method+" without", resigned(t, sent{method: method, uri: "/x"}, at, all[:3]), nil)
	}
}

// TestOCISizes: keys of two sizes. Who has one cannot be the other, and an unknown key
// id costs what a wrong signature does, whatever its size.
func TestOCISizes(t *testing.T) {
	large, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 2, 19, 57, 0, time.UTC)
	d := open(t, Config{Clock: (&clock{now: at}).Now, Credentials: []Credential{ci(),
		{Name: "large", Role: Admin, OCIKeyID: "large", OCIPublicKey: &large.PublicKey}}})
	s := scheme{name: "OCI", enter: (*Door).OCI, at: at}
	byLarge := ociSign(t, large, sent{method: http.MethodGet, uri: "/"}, at, []string{"date", ociTarget, "host"})
	byOther := ociSign(t, rsaKeys()[1], sent{method: http.MethodGet, uri: "/"}, at, []string{"date", ociTarget, "host"})
	s.expect(t, d, "the large key's signature, as another", byLarge, ErrSignature)
	s.expect(t, d, "the large key's signature, as nobody", byLarge.edit(keyID, "nobody"), ErrUnknown)
	if caller, _, err := d.OCI(byLarge.edit(keyID, "large").request()); err != nil || caller.Name != "large" {
		t.Errorf("the large key: %+v, %v", caller, err)
	}
	for what, signature := range map[string]sent{"large": byLarge.with(func(s *sent) { s.uri = "/x" }), "small": byOther} {
		var costs [3]float64
		for i, id := range []string{keyID, "large", "nobody"} {
			req := signature.edit(keyID, id)
			costs[i] = allocations(func() {
				if _, _, err := d.OCI(req.request()); err == nil {
					t.Fatal("let in")
				}
			})
		}
		if costs[0] != costs[2] || costs[1] != costs[2] {
			t.Errorf("a %s signature allocates %v times, as a small key, a large key and nobody", what, costs)
		}
	}
}

func TestOCITampered(t *testing.T) {
	at := time.Date(2026, 11, 22, 2, 19, 57, 0, time.UTC)
	s := oracle(t, at)
	good := s.good
	list := `headers="date (request-target) host content-length content-type x-content-sha256"`
	said := good.header.Get("Authorization")
	otherHash := resigned(t, sent{method: http.MethodPost, uri: "/", body: "x"}, at, []string{"date"}).header.Get("X-Content-Sha256")
	s.tryAll(t, []try{
		{"another body", good.with(func(s *sent) { s.body = "x" }), ErrBodyHash},
		{"another body and hash", good.with(func(s *sent) { s.body = "x" }).set("X-Content-Sha256", otherHash), ErrSignature},
		{"a hash in hexadecimal", good.set("X-Content-Sha256", hexSHA256([]byte(good.body))), ErrBodyHash},
		{"the hash twice", good.add("X-Content-Sha256", otherHash), ErrMalformed},
		{"no hash", good.without("X-Content-Sha256"), ErrMalformed},
		{"another path", good.with(func(s *sent) { s.uri = strings.Replace(s.uri, "container", "other", 1) }), ErrSignature},
		{"another query", good.with(func(s *sent) { s.uri += "1" }), ErrSignature},
		{"another way to escape", good.with(func(s *sent) { s.uri = strings.Replace(s.uri, "%3A", "%3a", 1) }), ErrSignature},
		{"unescaped", good.with(func(s *sent) { s.uri = strings.Replace(s.uri, "%3A", ":", 1) }), ErrSignature},
		{"PUT", good.with(func(s *sent) { s.method = http.MethodPut }), ErrSignature},
		{"GET", good.with(func(s *sent) { s.method = http.MethodGet }), ErrSignature},
		{"another host", good.with(func(s *sent) { s.host = "artifacts.example.com" }), ErrSignature},
		{"another content type", good.set("Content-Type", "text/plain"), ErrSignature},
		{"content type twice", good.add("Content-Type", "text/plain"), ErrMalformed},
		{"another second", good.set("Date", at.Add(time.Second).Format(http.TimeFormat)), ErrSignature},
		{"date twice", good.add("Date", at.Format(http.TimeFormat)), ErrMalformed},
		{"no date", good.without("Date"), ErrMalformed},
		{"another key id", good.edit(keyID, "other"), ErrUnknown},
		{"version 2", good.edit(`version="1"`, `version="2"`), ErrUnsupported},
		{"no version", good.edit(`version="1",`, ``), ErrMalformed},
		{"another algorithm", good.edit("rsa-sha256", "rsa-sha1"), ErrUnsupported},
		{"hs2019", good.edit("rsa-sha256", "hs2019"), ErrUnsupported},
		{"no headers", good.edit(list+",", ""), ErrMalformed},
		{"empty headers", good.edit(list, `headers=""`), ErrMalformed},
		{"headers twice", good.edit(list, list+","+list), ErrMalformed},
		{"a header listed twice", good.edit("host content-length", "host host content-length"), ErrMalformed},
		{"the target listed twice", good.edit(ociTarget, ociTarget+" "+ociTarget), ErrMalformed},
		{"odd case", good.edit("date (request", "Date (request"), ErrMalformed},
		{"two blanks", good.edit("date (request", "date  (request"), ErrMalformed},
		{"another order", good.edit("date (request-target) host", "host date (request-target)"), ErrSignature},
		{"one more than was signed", good.edit(`x-content-sha256"`, `x-content-sha256 user-agent"`), ErrSignature},
		{"one that is missing", good.edit(`x-content-sha256"`, `x-content-sha256 x-missing"`), ErrMalformed},
		{"itself", good.edit(`x-content-sha256"`, `x-content-sha256 authorization"`), ErrMalformed},
		{"too many", good.edit(`x-content-sha256"`, "x-content-sha256"+strings.ReplaceAll(strings.Repeat(" x-a", maxSignedHeaders), "x-a", "x-b")+`"`), ErrMalformed},
		{"an unknown parameter", good.edit(`version="1"`, `version="1",created="1"`), ErrMalformed},
		{"no comma", good.edit(`version="1",`, `version="1" `), ErrMalformed},
		{"a blank after a comma", good.edit(`version="1",`, `version="1", `), nil},
		{"text after the end", good.set("Authorization", said+"x"), ErrMalformed},
		{"no quotes", good.edit(`version="1"`, `version=1`), ErrMalformed},
		{"no end", good.set("Authorization", strings.TrimSuffix(said, `"`)), ErrMalformed},
		{"a signature written otherwise", good.set("Authorization", respelled(said)), ErrMalformed},
		{"no base64", good.edit(`signature="`, `signature="*`), ErrMalformed},
		{"an empty signature", good.set("Authorization", said[:strings.Index(said, `signature="`)]+`signature=""`), ErrMalformed},
		{"a short signature", good.set("Authorization", said[:strings.Index(said, `signature="`)]+`signature="AAAA"`), ErrSignature},
		{"a retry token that is not signed", good.set("Opc-Retry-Token", "x"), nil},
	})
}

// respelled has the last letter of the signature, of which two bits count, written in
// another way.
func respelled(said string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	at := len(said) - len(`A=="`)
	return said[:at] + string(letters[strings.IndexByte(letters, said[at])+1]) + said[at+1:]
}

// resigned signs exactly these headers with the key that is known.
func resigned(tb testing.TB, req sent, at time.Time, names []string) sent {
	tb.Helper()
	return ociSign(tb, rsaKeys()[0], req, at, names)
}

// ociSign signs exactly these headers, as the specification says.
func ociSign(tb testing.TB, key *rsa.PrivateKey, req sent, at time.Time, names []string) sent {
	tb.Helper()
	hash := sha256.Sum256([]byte(req.body))
	req.host, req.header = "artifacts.example.com", http.Header{
		"Date": {at.Format(http.TimeFormat)}, "Content-Type": {"application/json"}, "X-Content-Sha256": {base64.StdEncoding.EncodeToString(hash[:])}}
	values := map[string]string{ociTarget: strings.ToLower(req.method) + " " + req.uri, "host": req.host, "content-length": fmt.Sprint(len(req.body))}
	var lines []string
	for _, name := range names {
		value, ok := values[name]
		if !ok {
			value = req.header.Get(name)
		}
		lines = append(lines, name+": "+value)
	}
	digest := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		tb.Fatal(err)
	}
	return req.set("Authorization", `Signature version="1",headers="`+strings.Join(names, " ")+`",keyId="`+keyID+
		`",algorithm="rsa-sha256",signature="`+base64.StdEncoding.EncodeToString(signature)+`"`)
}
