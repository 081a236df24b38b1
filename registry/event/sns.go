package event

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // SNS's signature version 1
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

var (
	topicARN = regexp.MustCompile(`^arn:aws(?:-cn|-us-gov)?:sns:([a-z0-9-]{1,30}):[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?$`)
	certPath = regexp.MustCompile(`^/[A-Za-z0-9_-]{1,100}\.pem$`)
)

// snsWindow is how far from now a message of SNS may be, which is tried for
// less than an hour.
const snsWindow = time.Hour

// ecrProver checks messages of SNS where a topic is configured, otherwise the
// secret of an API destination.
func ecrProver(cfg Config, fault func(string, ...any)) proof {
	if cfg.Topic == "" {
		return secretProver(cfg, fault)
	}
	cfg.unused(fault, "as SNS signs")
	if cfg.Secret != nil {
		fault("secret_file: is not used, as SNS signs")
	}
	arn := topicARN.FindStringSubmatch(cfg.Topic)
	if arn == nil {
		fault("topic: %s: want arn:aws:sns:REGION:ACCOUNT:NAME", quote(cfg.Topic))
		return proof{}
	}
	f := newFetcher(cfg, fault)
	s := &sns{
		topic: cfg.Topic, host: "sns." + arn[1] + "." + awsDomain(arn[1]),
		fetcher: f, certificates: certificates{fetcher: f, proven: map[string]*provenCertificate{}},
	}
	return proof{prove: s.prove}
}

// An sns checks the messages of one topic.
type sns struct {
	topic        string
	host         string // of its region
	fetcher      *fetcher
	certificates certificates
	confirms     allowance // of subscriptions
}

// prove reads the envelope, as the signature is in it.
func (s *sns) prove(ctx context.Context, header http.Header, body []byte) (letter, error) {
	doc, err := read("", body)
	if err != nil {
		return letter{}, fmt.Errorf("%w: no message of SNS", ErrUnauthorized)
	}
	if err := s.check(ctx, doc); err != nil {
		return letter{}, err
	}
	switch doc.get("Type").text() {
	case "Notification":
		return letter{header: header, body: []byte(doc.get("Message").text())}, nil
	case "SubscriptionConfirmation":
		if err := s.confirm(ctx, doc.get("SubscribeURL").text()); err != nil {
			return letter{}, err
		}
	}
	return letter{aside: Subscription}, nil
}

// check verifies the signature of a message of our topic.
func (s *sns) check(ctx context.Context, doc value) error {
	text, signature := signedText(doc), doc.get("Signature").must()
	version, at, certificate := doc.get("SignatureVersion").must(), doc.get("Timestamp"), doc.get("SigningCertURL").must()
	sent := at.when()
	now := s.fetcher.now()
	switch {
	case doc.err != nil:
		return fmt.Errorf("%w: no signed message of SNS", ErrUnauthorized)
	case doc.get("TopicArn").text() != s.topic:
		return fmt.Errorf("%w: message of another topic", ErrUnauthorized)
	case sent.Before(now.Add(-snsWindow)) || sent.After(now.Add(snsWindow)):
		return fmt.Errorf("%w: message is not of this hour", ErrUnauthorized)
	case version != "1" && version != "2":
		return fmt.Errorf("%w: signature version %s is neither 1 nor 2", ErrUnauthorized, quote(version))
	}
	// One spelling only, as certificates are kept by URL.
	if path, ours := strings.CutPrefix(certificate, "https://"+s.host); !ours || !certPath.MatchString(path) {
		return fmt.Errorf("%w: SigningCertURL is not that of a certificate of %s", ErrUnauthorized, s.host)
	}
	found, err := s.certificates.find(ctx, certificate)
	if err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || !verifies(found.key, version, text, raw) {
		return fmt.Errorf("%w: the signature of SNS is not valid", ErrUnauthorized)
	}
	s.certificates.keep(certificate, found)
	return nil
}

// signedText returns what SNS signs of a message.
func signedText(doc value) string {
	names := []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	switch doc.get("Type").must() {
	case "Notification":
		names = []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	case "SubscriptionConfirmation", "UnsubscribeConfirmation":
	default:
		doc.fail("Type", "is none of SNS")
	}
	var b strings.Builder
	for _, name := range names {
		member := doc.get(name)
		if name == "Subject" && !member.present() {
			continue
		}
		if name != "Subject" {
			member.must()
		}
		b.WriteString(name + "\n" + member.text() + "\n")
	}
	return b.String()
}

func verifies(key *rsa.PublicKey, version, text string, signature []byte) bool {
	if version == "1" {
		sum := sha1.Sum([]byte(text)) //nolint:gosec // version 1 is what topics have by default
		return rsa.VerifyPKCS1v15(key, crypto.SHA1, sum[:], signature) == nil
	}
	sum := sha256.Sum256([]byte(text))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
}

// confirm tells SNS that we want the topic. The message that asks is signed, so
// that the URL is SNS's word.
func (s *sns) confirm(ctx context.Context, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("%w: SubscribeURL is no URL", ErrUnauthorized)
	}
	if u.Scheme != "https" || u.Host != s.host || u.User != nil || u.Fragment != "" || u.RawPath != "" || u.Path != "/" && u.Path != "" {
		return fmt.Errorf("%w: SubscribeURL is not one of %s", ErrUnauthorized, s.host)
	}
	query := u.Query()
	if query.Get("Action") != "ConfirmSubscription" || query.Get("TopicArn") != s.topic {
		return fmt.Errorf("%w: SubscribeURL confirms something else", ErrUnauthorized)
	}
	if _, err := s.fetcher.get(ctx, raw, &s.confirms); err != nil {
		return fmt.Errorf("confirming the subscription to %s: %w", s.topic, plainURLError(err))
	}
	return nil
}

// plainURLError drops the URL of an error, as it holds the subscription's token.
func plainURLError(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}
