package event

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	topic          = "arn:aws:sns:us-west-2:123456789012:ecr"
	snsCertificate = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-0000000000000000000000000000abcd.pem"
	snsConfirm     = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=" + topic + "&Token=2336412f37f"
)

// A web answers what it knows and notes what it was asked for.
type web struct {
	pages map[string]string
	asked []string
}

func (w *web) RoundTrip(req *http.Request) (*http.Response, error) {
	w.asked = append(w.asked, req.URL.String())
	page, found := w.pages[req.URL.String()]
	status := http.StatusOK
	switch {
	case req.Method != http.MethodGet:
		return nil, errors.New("want GET")
	case page == "offline":
		return nil, errors.New("network is unreachable")
	case !found:
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(page)), Request: req}, nil
}

func snsWeb(t testing.TB) *web {
	t.Helper()
	certificate, err := os.ReadFile("testdata/sns/certificate.pem")
	if err != nil {
		t.Fatal(err)
	}
	return &web{pages: map[string]string{snsCertificate: string(certificate), snsConfirm: "<ConfirmSubscriptionResponse/>"}}
}

func snsConfig(w *web) Config {
	return Config{
		Source: ECR, Hosts: []string{"123456789012.dkr.ecr.us-west-2.amazonaws.com"}, Topic: topic, Transport: w,
		Now: func() time.Time { return at("2026-12-22T02:21:00Z") },
	}
}

// TestSNS: messages that openssl signed, of both versions.
func TestSNS(t *testing.T) {
	for name, test := range map[string]struct {
		want  said
		asked []string
	}{
		"notification-1": {deliveries["ecr-push"], []string{snsCertificate}},
		"notification-2": {deliveries["ecr-push"], []string{snsCertificate}},
		"subscription":   {ignored(Subscription), []string{snsCertificate, snsConfirm}},
		"unsubscription": {ignored(Subscription), []string{snsCertificate}},
	} {
		w := snsWeb(t)
		r := open(t, snsConfig(w))
		header, body := delivery(t, "sns/"+name)
		got, err := r.Receive(t.Context(), header, body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(test.want.pushes, got.Pushes); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if test.want.ignored != nil && !cmp.Equal(test.want.ignored, got.Ignored) {
			t.Errorf("%s: %v", name, got.Ignored)
		}
		if diff := cmp.Diff(test.asked, w.asked); diff != "" {
			t.Errorf("%s asked: %s", name, diff)
		}
		if _, err := r.Receive(t.Context(), header, body); err != nil || strings.Count(strings.Join(w.asked, " "), snsCertificate) != 1 {
			t.Errorf("%s again: %v, asked %v", name, err, w.asked)
		}
	}
}

// TestSNSForged: what was changed after it was signed, or is not of our topic,
// region and hour, is refused; and nothing is asked for at other hosts.
func TestSNSForged(t *testing.T) {
	for name, test := range map[string]struct {
		file, old, new string
		asked          int
	}{
		"message":             {"notification-2", "my-repository-name", "other", 1},
		"subject":             {"notification-2", "My First", "My Second", 1},
		"subject added":       {"notification-1", `"Type":`, `"Subject": "x", "Type":`, 1},
		"signature":           {"notification-2", `"Signature": "`, `"Signature": "AAAA`, 1},
		"no base64":           {"notification-2", `"Signature": "`, `"Signature": "!`, 1},
		"no signature":        {"notification-2", `"Signature"`, `"X"`, 0},
		"version":             {"notification-2", `"SignatureVersion": "2"`, `"SignatureVersion": "1"`, 1},
		"version 3":           {"notification-2", `"SignatureVersion": "2"`, `"SignatureVersion": "3"`, 0},
		"topic":               {"notification-2", `"TopicArn": "` + topic, `"TopicArn": "` + topic + "x", 0},
		"time":                {"notification-2", "02:20:00.123Z", "01:20:00.123Z", 0},
		"future":              {"notification-2", "02:20:00.123Z", "03:21:00.123Z", 0},
		"kind":                {"notification-2", `"Type": "Notification"`, `"Type": "Other"`, 0},
		"type swapped":        {"notification-2", `"Type": "Notification"`, `"Type": "UnsubscribeConfirmation"`, 0},
		"http":                {"notification-2", `"https://sns.us-west-2.amazonaws.com/Simple`, `"http://sns.us-west-2.amazonaws.com/Simple`, 0},
		"other host":          {"notification-2", `sns.us-west-2.amazonaws.com/Simple`, `sns.us-west-2.amazonaws.com.evil.net/Simple`, 0},
		"other region":        {"notification-2", `sns.us-west-2.amazonaws.com/Simple`, `sns.us-east-1.amazonaws.com/Simple`, 0},
		"S3":                  {"notification-2", `sns.us-west-2.amazonaws.com/Simple`, `sns.us-west-2.amazonaws.com.s3.amazonaws.com/Simple`, 0},
		"user":                {"notification-2", `https://sns.us-west-2.amazonaws.com/Simple`, `https://sns.us-west-2.amazonaws.com@evil.net/Simple`, 0},
		"port":                {"notification-2", `sns.us-west-2.amazonaws.com/Simple`, `sns.us-west-2.amazonaws.com:444/Simple`, 0},
		"path":                {"notification-2", `amazonaws.com/Simple`, `amazonaws.com/x/../Simple`, 0},
		"query":               {"notification-2", `abcd.pem"`, `abcd.pem?x=y"`, 0},
		"empty query":         {"notification-2", `abcd.pem"`, `abcd.pem?"`, 0},
		"fragment":            {"notification-2", `abcd.pem"`, `abcd.pem#x"`, 0},
		"empty fragment":      {"notification-2", `abcd.pem"`, `abcd.pem#"`, 0},
		"escaped":             {"notification-2", `abcd.pem"`, `abc%64.pem"`, 0},
		"upper case":          {"notification-2", `https://sns`, `HTTPS://SNS`, 0},
		"subscribe elsewhere": {"subscription", `"SubscribeURL": "https://sns.us-west-2.amazonaws.com/`, `"SubscribeURL": "https://evil.net/`, 1},
		"duplicate":           {"notification-2", `"Type":`, `"Type": "Notification", "Type":`, 0},
		"no JSON":             {"notification-2", `{`, `<`, 0},
	} {
		w := snsWeb(t)
		header, body := delivery(t, "sns/"+test.file)
		changed := bytes.Replace(body, []byte(test.old), []byte(test.new), 1)
		if bytes.Equal(changed, body) {
			t.Errorf("%s: nothing changed", name)
		}
		got, err := open(t, snsConfig(w)).Receive(t.Context(), header, changed)
		if !errors.Is(err, ErrUnauthorized) || len(got.Pushes) > 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if len(w.asked) != test.asked {
			t.Errorf("%s: asked %v", name, w.asked)
		}
	}
}

// An snsSigner signs as SNS would.
type snsSigner struct{ key *rsa.PrivateKey }

func (s snsSigner) certificate(t testing.TB, template x509.Certificate) string {
	t.Helper()
	template.SerialNumber = big.NewInt(1)
	raw, err := x509.CreateCertificate(rand.Reader, &template, &template, &s.key.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

func (s snsSigner) sign(t testing.TB, message map[string]string, names ...string) []byte {
	t.Helper()
	text := ""
	for _, name := range names {
		text += name + "\n" + message[name] + "\n"
	}
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	message["SignatureVersion"], message["Signature"] = "2", base64.StdEncoding.EncodeToString(signature)
	body, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func newSigner(t testing.TB, bits int) snsSigner {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return snsSigner{key}
}

// TestSNSCertificate: a certificate is of RSA, long enough, valid and small.
func TestSNSCertificate(t *testing.T) {
	now := at("2026-12-22T02:21:00Z")
	valid := x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	signer := newSigner(t, 2048)
	good := signer.certificate(t, valid)
	for name, test := range map[string]struct {
		page string
		want string // "" passes
		ours bool   // no fault of the sender
	}{
		"good":       {good, "", false},
		"expired":    {signer.certificate(t, x509.Certificate{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}), "not valid now", false},
		"not yet":    {signer.certificate(t, x509.Certificate{NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)}), "not valid now", false},
		"no pem":     {"hello", "no PEM", false},
		"no cert":    {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "malformed", false},
		"other kind": {strings.ReplaceAll(good, "CERTIFICATE", "PUBLIC KEY"), "no PEM", false},
		"other key":  {newSigner(t, 2048).certificate(t, valid), "not valid", false},
		"too long":   {strings.Repeat(" ", maxFetched) + good, "more than", true},
		"offline":    {"offline", "unreachable", true},
	} {
		w := &web{pages: map[string]string{snsCertificate: test.page}}
		r := open(t, snsConfig(w))
		body := signer.sign(t, map[string]string{
			"Type": "Notification", "MessageId": "1", "TopicArn": topic, "Timestamp": "2026-12-22T02:20:00Z",
			"SigningCertURL": snsCertificate, "Message": `{"source":"aws.s3","detail-type":"x"}`,
		}, "Message", "MessageId", "Timestamp", "TopicArn", "Type")
		_, err := r.Receive(t.Context(), http.Header{}, body)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrUnauthorized) == test.ours {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseCertificate([]byte(newSigner(t, 1024).certificate(t, valid)), now); err == nil || !strings.Contains(err.Error(), "2048") {
		t.Errorf("short key: %v", err)
	}
}

// TestSNSConfirm: only a subscription of our topic at SNS is confirmed, also if
// SNS signed the message that asks.
func TestSNSConfirm(t *testing.T) {
	now := at("2026-12-22T02:21:00Z")
	signer := newSigner(t, 2048)
	certificate := signer.certificate(t, x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
	for confirm, want := range map[string]error{
		snsConfirm: nil,
		strings.Replace(snsConfirm, "https:", "http:", 1):                           ErrUnauthorized,
		strings.Replace(snsConfirm, "amazonaws.com/", "amazonaws.com.evil.net/", 1): ErrUnauthorized,
		strings.Replace(snsConfirm, "/?", "/x?", 1):                                 ErrUnauthorized,
		strings.Replace(snsConfirm, "ConfirmSubscription", "DeleteTopic", 1):        ErrUnauthorized,
		strings.Replace(snsConfirm, url.QueryEscape("ecr"), "other", 1):             ErrUnauthorized,
		strings.Replace(snsConfirm, "https://", "https://user:secret@", 1):          ErrUnauthorized,
	} {
		w := &web{pages: map[string]string{snsCertificate: certificate, confirm: "ok"}}
		body := signer.sign(t, map[string]string{
			"Type": "SubscriptionConfirmation", "MessageId": "1", "TopicArn": topic, "Timestamp": "2026-12-22T02:20:00Z",
			"SigningCertURL": snsCertificate, "SubscribeURL": confirm, "Token": "2336412f37f", "Message": "x",
		}, "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
		_, err := open(t, snsConfig(w)).Receive(t.Context(), http.Header{}, body)
		if !errors.Is(err, want) || len(w.asked) != map[bool]int{true: 2, false: 1}[want == nil] {
			t.Errorf("%s: %v, asked %v", confirm, err, w.asked)
		}
	}
	// What SNS refuses is not confirmed, and the token stays untold.
	w := snsWeb(t)
	delete(w.pages, snsConfirm)
	header, body := delivery(t, "sns/subscription")
	_, err := open(t, snsConfig(w)).Receive(t.Context(), header, body)
	if err == nil || errors.Is(err, ErrUnauthorized) || strings.Contains(err.Error(), "2336412f37f") {
		t.Error(err)
	}
	w.pages[snsConfirm] = "offline"
	if _, err = open(t, snsConfig(w)).Receive(t.Context(), header, body); err == nil || strings.Contains(err.Error(), "2336412f37f") {
		t.Error(err)
	}
}

// TestFetchesAreFew: strangers cannot make us fetch without end.
func TestFetchesAreFew(t *testing.T) {
	w := &web{}
	now := at("2026-12-22T02:21:00Z")
	cfg := snsConfig(w)
	cfg.Now = func() time.Time { return now }
	r := open(t, cfg)
	_, body := delivery(t, "sns/notification-2")
	send := func(ctx context.Context) error {
		_, err := r.Receive(ctx, http.Header{}, body)
		return err
	}
	for range 3 * maxFetches {
		if err := send(t.Context()); err == nil || errors.Is(err, ErrUnauthorized) {
			t.Fatal(err)
		}
	}
	if len(w.asked) != maxFetches {
		t.Errorf("asked %d times", len(w.asked))
	}
	now = now.Add(time.Minute)
	w.pages = snsWeb(t).pages
	if err := send(t.Context()); err != nil {
		t.Errorf("after a minute: %v", err)
	}
}

// TestStrangersAndCertificates: whatever strangers name as SNS's certificate, the
// one that has verified a message stays, and can be renewed.
func TestStrangersAndCertificates(t *testing.T) {
	now := at("2026-12-22T02:21:00Z")
	w := &web{pages: map[string]string{}}
	cfg := snsConfig(w)
	cfg.Now = func() time.Time { return now }
	r := open(t, cfg)
	valid := x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour)}
	sns, other := newSigner(t, 2048), newSigner(t, 2048)
	named := func(i int) string { return strings.Replace(snsCertificate, "abcd.pem", fmt.Sprintf("%d.pem", i), 1) }
	w.pages[snsCertificate] = sns.certificate(t, valid)
	for i := range 3 * maxFetches {
		w.pages[named(i)] = other.certificate(t, valid) // SNS's as well, but of no message to us
	}
	send := func(url string, signer snsSigner) error {
		_, err := r.Receive(t.Context(), http.Header{}, signer.sign(t, map[string]string{
			"Type": "Notification", "MessageId": "1", "TopicArn": topic, "Timestamp": now.Format(time.RFC3339),
			"SigningCertURL": url, "Message": `{"source":"aws.s3","detail-type":"x"}`,
		}, "Message", "MessageId", "Timestamp", "TopicArn", "Type"))
		return err
	}
	genuine := func(when string, fetches int) {
		t.Helper()
		before := strings.Count(strings.Join(w.asked, " "), snsCertificate)
		if err := send(snsCertificate, sns); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if n := strings.Count(strings.Join(w.asked, " "), snsCertificate) - before; n != fetches {
			t.Errorf("%s: the certificate was read %d times, want %d", when, n, fetches)
		}
	}
	strangers := func(signer snsSigner, url func(int) string) {
		t.Helper()
		for i := range 3 * maxFetches {
			if err := send(url(i), signer); err == nil {
				t.Fatal("a stranger's message was taken")
			}
		}
	}
	genuine("at first", 1)
	strangers(sns, named)
	genuine("after others were named", 0)
	now = now.Add(certificateFresh)
	strangers(sns, named)
	genuine("when it has become old, and others were named", 1)
	now = now.Add(certificateFresh)
	asked := len(w.asked)
	strangers(other, func(int) string { return snsCertificate })
	if n := len(w.asked) - asked; n != 1 {
		t.Errorf("strangers had it read %d times, want once", n)
	}
	genuine("when strangers named it first", 0)
	// Of those that do verify, the latest stay.
	for i := range 2 * maxCertificates {
		now = now.Add(time.Second)
		if err := send(named(i), other); err != nil {
			t.Fatal(err)
		}
	}
	asked = len(w.asked)
	for i := range maxCertificates {
		if err := send(named(maxCertificates+i), other); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.asked) - asked; n != 0 {
		t.Errorf("%d of the latest were read again", n)
	}
	// One that cannot be had anew takes nothing from the others.
	now = now.Add(certificateFresh)
	delete(w.pages, named(maxCertificates))
	strangers(other, func(int) string { return named(maxCertificates) })
	if err := send(named(maxCertificates+1), other); err != nil {
		t.Error(err)
	}
}
