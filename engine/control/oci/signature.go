package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
)

// api is what the audit log calls this API.
const api = "oci"

// timeForm is how Oracle writes times.
const timeForm = "2006-01-02T15:04:05.000Z"

// A signature is one as Oracle's clients read it. A summary has no createdBy.
type signature struct {
	CompartmentID    string          `json:"compartmentId"`
	CreatedBy        string          `json:"createdBy,omitempty"`
	DisplayName      string          `json:"displayName"`
	ID               string          `json:"id"`
	ImageID          string          `json:"imageId"`
	KMSKeyID         string          `json:"kmsKeyId"`
	KMSKeyVersionID  string          `json:"kmsKeyVersionId"`
	Message          string          `json:"message"`
	Signature        string          `json:"signature"`
	SigningAlgorithm string          `json:"signingAlgorithm"`
	TimeCreated      string          `json:"timeCreated"`
	LifecycleState   string          `json:"lifecycleState"`
	FreeformTags     json.RawMessage `json:"freeformTags"`
	DefinedTags      json.RawMessage `json:"definedTags"`
	SystemTags       struct{}        `json:"systemTags"`
}

func summaryOf(s journal.ImageSignature) signature {
	return signature{CompartmentID: s.CompartmentID, DisplayName: s.DisplayName, ID: s.ID, ImageID: s.ImageID,
		KMSKeyID: s.KeyID, KMSKeyVersionID: s.KeyVersionID, Message: s.Message, Signature: s.Signature, SigningAlgorithm: s.Algorithm,
		TimeCreated: formatTime(s.CreatedAt), LifecycleState: "AVAILABLE",
		FreeformTags: json.RawMessage(s.FreeformTags), DefinedTags: json.RawMessage(s.DefinedTags)}
}

func answerOf(s journal.ImageSignature) answer {
	body := summaryOf(s)
	body.CreatedBy = s.Creator
	return answer{body: body, etag: s.ETag}
}

func formatTime(t time.Time) string { return t.UTC().Format(timeForm) }

// An upload is a signature that somebody wants to be kept, as it was sent.
type upload struct {
	CompartmentID, ImageID, KMSKeyID, KMSKeyVersionID string
	Message, Signature, SigningAlgorithm              string
	FreeformTags, DefinedTags                         string
}

func parseUpload(body []byte) (upload, error) {
	o, err := parseObject(body)
	if err != nil {
		return upload{}, err
	}
	var u upload
	for _, f := range []struct {
		name  string
		most  int
		value *string
	}{
		{"compartmentId", maxCompartmentID, &u.CompartmentID},
		{"imageId", 255, &u.ImageID},
		{"kmsKeyId", 255, &u.KMSKeyID},
		{"kmsKeyVersionId", 255, &u.KMSKeyVersionID},
		{"message", 0, &u.Message},
		{"signature", 0, &u.Signature},
		{"signingAlgorithm", 255, &u.SigningAlgorithm},
	} {
		if *f.value, err = o.text(f.name, f.most); err != nil {
			return upload{}, err
		}
	}
	algorithm, ok := message.Algorithm(u.SigningAlgorithm)
	if !ok {
		return upload{}, invalid("signingAlgorithm", "it is not allowed; allowed: %s", strings.Join(message.Algorithms(), ", "))
	}
	u.SigningAlgorithm = algorithm
	u.FreeformTags, u.DefinedTags, err = parseTags(o, "{}", "{}")
	return u, err
}

// parseTags returns both kinds of tags, or those given where none are sent.
func parseTags(o object, freeform, defined string) (string, string, error) {
	freeform, err := o.tags("freeformTags", freeform, checkFreeformTags)
	if err != nil {
		return "", "", err
	}
	if defined, err = o.tags("definedTags", defined, checkDefinedTags); err != nil {
		return "", "", err
	}
	if n := len(freeform) + len(defined); n > maxTags {
		return "", "", invalid("freeformTags", "all tags have %d bytes as JSON; allowed: at most %d", n, maxTags)
	}
	return freeform, defined, nil
}

// maxRetryToken is how long a retry token may be.
const maxRetryToken = 64

// retryToken reads the caller's retry token, for the upload alone. An empty one is none.
func (c *call) retryToken(u upload) (journal.RetryToken, error) {
	token, err := c.one("opc-retry-token")
	if err != nil || token == "" {
		return journal.RetryToken{}, err
	}
	if len(token) > maxRetryToken || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
		return journal.RetryToken{}, invalid("opc-retry-token", "it is not 1 to %d ASCII characters", maxRetryToken)
	}
	text, err := json.Marshal(u)
	sum := sha256.Sum256(text)
	return journal.RetryToken{Caller: c.caller.Name, Token: token, Call: hex.EncodeToString(sum[:])}, err
}

// one returns a header that is there at most once.
func (c *call) one(name string) (string, error) {
	values := c.header.Values(name)
	if len(values) > 1 {
		return "", invalid(name, "it is there %d times; allowed: once", len(values))
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}

func (h *handler) createSignature(ctx context.Context, c *call) (answer, error) {
	if err := rights.Allow(c.caller, door.Admin); err != nil {
		return answer{}, err
	}
	u, err := parseUpload(c.body)
	if err != nil {
		return answer{}, err
	}
	registry, err := h.Rights.Registry(c.caller, u.CompartmentID)
	if err != nil {
		return answer{}, err
	}
	token, err := c.retryToken(u)
	if err != nil {
		return answer{}, err
	}
	var created journal.ImageSignature
	err = h.change(ctx, c, "CreateContainerImageSignature", u.ImageID, func(ctx context.Context) error {
		var retried bool
		if created, retried, err = h.Journal.RetriedImageSignature(ctx, token); retried || err != nil {
			return err
		}
		next, err := h.verified(ctx, c, registry, u)
		if err != nil {
			return err
		}
		created, err = h.Journal.CreateImageSignature(ctx, next, token, h.Signatures)
		return err
	})
	if err == nil && !c.caller.SeesNamespace(created.Registry, created.Repository) {
		err = notFound() // it was, when the token was used first
	}
	if err != nil {
		return answer{}, err
	}
	return answerOf(created), nil
}

func (h *handler) change(ctx context.Context, c *call, action, target string, do func(context.Context) error) error {
	return h.Rights.Change(ctx, rights.Change{Caller: c.caller, API: api, Action: action, Target: target, RequestID: c.requestID}, do)
}

// visible returns ErrNotFound for a signature that the caller does not see.
func visible(c *call, s journal.ImageSignature) error {
	if !c.caller.SeesNamespace(s.Registry, s.Repository) {
		return fmt.Errorf("signature %s: %w", s.ID, journal.ErrNotFound)
	}
	return nil
}

func (h *handler) getSignature(ctx context.Context, c *call) (answer, error) {
	if err := c.checkID(); err != nil {
		return answer{}, err
	}
	s, err := h.Journal.ImageSignature(ctx, c.id)
	if err == nil {
		err = visible(c, s)
	}
	if err != nil {
		return answer{}, err
	}
	return answerOf(s), nil
}

// checkID refuses what is nobody's id.
func (c *call) checkID() error {
	if len(c.id) > 255 || checkText("id", c.id, 255) != nil {
		return notFound()
	}
	return nil
}

// matcher returns what refuses a signature that the caller does not see, or that is
// not as the caller has it.
func (c *call) matcher() (func(journal.ImageSignature) error, error) {
	if err := rights.Allow(c.caller, door.Admin); err != nil {
		return nil, err
	}
	if err := c.checkID(); err != nil {
		return nil, err
	}
	wanted, err := c.one("if-match")
	return func(s journal.ImageSignature) error {
		if err := visible(c, s); err != nil {
			return err
		}
		if wanted != "" && wanted != "*" && wanted != s.ETag {
			return &fault{http.StatusPreconditionFailed, "NoEtagMatch", "The if-match header is not the etag of the resource."}
		}
		return nil
	}, err
}

func (h *handler) updateSignature(ctx context.Context, c *call) (answer, error) {
	match, err := c.matcher()
	if err != nil {
		return answer{}, err
	}
	o, err := parseObject(c.body)
	if err != nil {
		return answer{}, err
	}
	if _, _, err := parseTags(o, "{}", "{}"); err != nil {
		return answer{}, err
	}
	var changed journal.ImageSignature
	err = h.change(ctx, c, "UpdateContainerImageSignature", c.id, func(ctx context.Context) error {
		changed, err = h.Journal.UpdateImageSignature(ctx, c.id, func(s *journal.ImageSignature) (err error) {
			if err := match(*s); err != nil {
				return err
			}
			s.ETag = newETag()
			s.FreeformTags, s.DefinedTags, err = parseTags(o, s.FreeformTags, s.DefinedTags)
			return err
		})
		return err
	})
	if err != nil {
		return answer{}, err
	}
	return answerOf(changed), nil
}

func (h *handler) deleteSignature(ctx context.Context, c *call) (answer, error) {
	match, err := c.matcher()
	if err != nil {
		return answer{}, err
	}
	err = h.change(ctx, c, "DeleteContainerImageSignature", c.id, func(ctx context.Context) error {
		return h.Journal.DeleteImageSignature(ctx, c.id, match)
	})
	return answer{status: http.StatusNoContent}, err
}
