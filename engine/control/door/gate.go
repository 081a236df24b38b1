package door

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// An SDKKey signs requests with SDK-HMAC-SHA256 in Huawei's plain form (Access=). It
// does not print its secret.
type SDKKey struct {
	AccessKey string
	Secret    []byte
}

// String returns which key it is.
func (k SDKKey) String() string { return fmt.Sprintf("key %q", k.AccessKey) }

// Format writes String for every verb, so that no verb shows the secret.
func (k SDKKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText returns String, for JSON and YAML too.
func (k SDKKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// unsigned are headers that transports and proxies add or change under way.
const unsigned = " accept-encoding authorization connection content-length expect forwarded keep-alive te trailer transfer-encoding " +
	"upgrade user-agent via x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip "

// SignSDKHMAC signs a request that is about to be sent with that body: its method,
// path, query, host, body, and all headers that reach the receiver as they are. It
// sets X-Sdk-Date and Authorization. A request is signed anew each time it is sent.
func SignSDKHMAC(r *http.Request, body []byte, key SDKKey, at time.Time) error {
	if key.AccessKey == "" || len(key.Secret) == 0 {
		return errors.New("signing a request: the key has no name or no secret")
	}
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	a := sdk{date: at.UTC().Format(sdkDateForm), names: []string{"host"}}
	r.Header.Set(sdkDate, a.date)
	for name := range r.Header {
		if name = strings.ToLower(name); name != "host" && !strings.Contains(unsigned, " "+name+" ") {
			a.names = append(a.names, name)
		}
	}
	slices.Sort(a.names)
	if err := checkNames(a.names); err != nil {
		return err
	}
	a.list = strings.Join(a.names, ";")
	sent, err := asReceived(r)
	if err != nil {
		return err
	}
	if err := a.parseTarget(sent); err != nil {
		return err
	}
	text, err := a.text(sent, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", fmt.Sprintf("%s Access=%s, SignedHeaders=%s, Signature=%s", sdkScheme, key.AccessKey, a.list, hex.EncodeToString(a.sign(key.Secret, text))))
	return nil
}

// asReceived returns a request as a server will get it.
func asReceived(r *http.Request) (*http.Request, error) {
	sent := *r
	sent.RequestURI = r.URL.RequestURI()
	var err error
	if sent.URL, err = url.ParseRequestURI(sent.RequestURI); err != nil {
		return nil, malformed("the URL's path or query cannot be sent")
	}
	return &sent, nil
}

// A Gate verifies requests signed by SDKKeys, which its owner looks up for each
// request: unlike a Door's they may change at any time. It remembers signatures as a
// Door does, whatever key made them. Its methods may be called by many goroutines.
type Gate struct {
	window time.Duration
	clock  func() time.Time
	memory *memory
}

// NewGate returns a gate that remembers no more than so many signatures.
func NewGate(window time.Duration, remembered int, clock func() time.Time) *Gate {
	return &Gate{window: window, clock: clock, memory: newMemory(remembered)}
}

// SDKHMAC returns nil for a request, whose body was read, that is signed by the key,
// or what Door.SDKHMAC would. An unknown key costs what a wrong signature does.
func (g *Gate) SDKHMAC(r *http.Request, body []byte, key SDKKey) error {
	a, err := parseSDK(r)
	switch {
	case err != nil:
		return err
	case a.scope != nil:
		return fmt.Errorf("%w: in the scoped form, want Access=", ErrUnsupported)
	case key.AccessKey == "" || len(key.Secret) == 0:
		return ErrUnknown
	case g.clock().Sub(a.at).Abs() > g.window:
		return ErrClock
	}
	text, err := a.text(r, body)
	if err != nil {
		return err
	}
	right := hmac.Equal(a.signature, a.sign(key.Secret, text))
	if _, err := (&holder{}).judge(a.accessKey == key.AccessKey, right); err != nil {
		return err
	}
	if reads(r.Method) {
		return nil
	}
	_, err = g.memory.admit(claim{at: a.at, window: g.window, signature: a.signature}, g.clock)
	return err
}
