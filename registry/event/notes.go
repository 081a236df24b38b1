package event

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/sealwright/sealwright/registry"
)

// notes collect what a delivery says. What must hold for every source is
// checked here.
type notes struct {
	hosts    hosts
	delivery Delivery
	events   int
}

var (
	sha256Digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	anyDigest    = regexp.MustCompile(`^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-zA-Z=_-]{32,256}$`)
)

// event counts one event, of which there must not be too many.
func (n *notes) event() error {
	if n.events++; n.events > MaxEvents {
		return fmt.Errorf("%w: more than %d events", ErrMalformed, MaxEvents)
	}
	return nil
}

func (n *notes) ignore(reason Reason) { n.delivery.Ignored[reason]++ }

// push notes a push that said where it happened, if its names are valid and it
// is of no signature. at is where it stands in the delivery, hosts are what it
// calls the registry; none where the source has no word for it.
//
// Under a tag, the tag alone says whether it is a signature, as in runs: an index
// of artifacts that somebody named looks like one of referrers. What the content
// says counts for pushes by digest alone.
func (n *notes) push(at string, p Push, hosts ...string) error {
	if !registry.ValidRepository(p.Repository) {
		return malformed(at, "repository %s is not valid", quote(p.Repository))
	}
	if p.Tag != "" && !registry.ValidTag(p.Tag) {
		return malformed(at, "tag %s is not valid", quote(p.Tag))
	}
	if p.Digest != "" && !anyDigest.MatchString(p.Digest) {
		return malformed(at, "digest %s is not valid", quote(p.Digest))
	}
	if p.Digest == "" && p.Tag == "" {
		return malformed(at, "neither tag nor digest")
	}
	for _, host := range hosts {
		if err := n.hosts.check(host); err != nil {
			return err
		}
	}
	switch {
	case registry.IsSignatureTag(p.Tag):
		n.ignore(Signature)
	case p.Digest != "" && !sha256Digest.MatchString(p.Digest):
		if strings.HasPrefix(p.Digest, "sha256:") {
			return malformed(at, "digest %s is not valid", quote(p.Digest))
		}
		n.ignore(OtherDigest)
	default:
		p.At = p.At.UTC()
		n.delivery.Pushes = append(n.delivery.Pushes, p)
	}
	return nil
}

// malformed says what is wrong at a place of the delivery.
func malformed(at, format string, args ...any) error {
	if at != "" {
		at += ": "
	}
	return fmt.Errorf("%w: %s%s", ErrMalformed, at, fmt.Sprintf(format, args...))
}

// maxQuoted is how much of a sender's words an error repeats, in bytes.
const maxQuoted = 100

// quote returns a sender's words as plain, short ASCII.
func quote(text string) string {
	if len(text) <= maxQuoted {
		return strconv.QuoteToASCII(text)
	}
	return strconv.QuoteToASCII(text[:maxQuoted]) + "…"
}
