package oci_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A reply is an answer to a request that Oracle's client would not send.
type reply struct {
	status  int
	header  http.Header
	text    string
	Code    string `json:"code"`
	Message string `json:"message"`
}

// send sends a request, signed by a caller, with the path as it is.
func (s *site) send(t *testing.T, name, method, uri, body string, change func(*http.Request)) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque = uri // nobody cleans it
	sign(t, r, name, uri, body)
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return replyOf(t, r, resp, text)
}

// replyOf reads an answer. What is wrong is said in Oracle's words.
func replyOf(t *testing.T, r *http.Request, resp *http.Response, text []byte) reply {
	t.Helper()
	got := reply{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if resp.StatusCode >= 400 {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		var f struct{ Code, Message string }
		if err := d.Decode(&f); err != nil || f.Code == "" || f.Message == "" || resp.Header.Get("opc-request-id") == "" {
			t.Errorf("%s %.200s: %d %q is no error of Oracle's, %v", r.Method, r.URL, resp.StatusCode, text, err)
		}
		got.Code, got.Message = f.Code, f.Message
	}
	return got
}

// sent makes requests of one second differ.
var sent atomic.Int64 //nolint:gochecknoglobals // a counter

func sign(t *testing.T, r *http.Request, name, uri, body string) {
	t.Helper()
	r.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	r.Header.Set("X-Unique", fmt.Sprint(sent.Add(1)))
	names := []string{"date", "(request-target)", "host", "x-unique"}
	if r.Method[0] == 'P' {
		sum := sha256.Sum256([]byte(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Content-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
		names = append(names, "content-length", "content-type", "x-content-sha256")
	}
	lines := make([]string, len(names))
	for i, n := range names {
		v := r.Header.Get(n)
		switch n {
		case "(request-target)":
			v = strings.ToLower(r.Method) + " " + uri
		case "host":
			v = r.Host
		case "content-length":
			v = fmt.Sprint(len(body))
		}
		lines[i] = n + ": " + v
	}
	digest := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	signature, err := rsa.SignPKCS1v15(rand.Reader, callerKeys()[name], crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", fmt.Sprintf(`Signature version="1",headers="%s",keyId="%s/%s/%s",algorithm="rsa-sha256",signature="%s"`,
		strings.Join(names, " "), tenancy, userOf(name), name, base64.StdEncoding.EncodeToString(signature)))
}
