// Package ocir takes signature records to Oracle Artifacts: for each image that was
// signed it uploads an image signature as Oracle has them, which clients of Oracle
// find and verify (the OCI CLI with "artifacts container image-signature get-verify",
// OKE by its image verification policies).
//
// Such a signature is over Oracle's own message, and not over what is signed in the
// registry: it is another use of a key, and made only if none by this version of the
// key is there yet.
package ocir

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/sink"
	"github.com/sealwright/sealwright/kms"
)

// entryTime is what one more entry may need: it is not begun with less.
const entryTime = 30 * time.Second

// limits are what Oracle is asked at most.
var limits = budget.Limits{RequestsPerSecond: 10, Concurrency: 1}

// A Key gives the key that signs. It is used by one goroutine at a time.
type Key interface {
	// Signer returns the signer that is in force, or why there is none now. It may be
	// used until the next call or Close.
	Signer() (kms.Signer, error)
	// Close gives the signer back.
	Close() error
}

// Options say whose signatures are uploaded, and where. All are required but those
// that say otherwise.
type Options struct {
	// Region is the name of Oracle's region, like us-phoenix-1, that messages say.
	Region string
	// Endpoint is the URL of Oracle Artifacts. Empty: the region's.
	Endpoint string
	// Registry is whose images are meant, as records call it.
	Registry string
	// Namespace is the tenancy's, which Oracle's names of repositories do not begin
	// with. Empty: the first part of the names of repositories in the registry.
	Namespace string
	// Compartment is the OCID of the compartment whose images are meant. Empty: all.
	Compartment string
	// Key signs with RSA-PSS.
	Key Key
	// KeyID and KeyVersionID are the OCIDs of the key and of the version that signs.
	// An empty KeyVersionID is what the key store calls the version.
	KeyID, KeyVersionID string
	// Identity returns who asks, for each request anew.
	Identity func() (common.KeyProvider, error)
	// Has returns whether the registry holds what has that digest. It is asked when
	// Oracle finds no such image.
	Has func(ctx context.Context, repository, digest string) (bool, error)
	// KeyUsed, if set, is told of each use of the key, and what came of it.
	KeyUsed func(took time.Duration, err error)
	// Count, if set, is told what became of an image.
	Count func(Result)
	// UserAgent says who asks.
	UserAgent string
	// Log is told of images that no signature was uploaded of. Nil logs nothing.
	Log *zap.Logger
}

// A Result is what became of an image of which a signature was recorded.
type Result string

// The results.
const (
	Uploaded         Result = "uploaded"          // and read back
	AlreadyThere     Result = "already_there"     // by this version of the key, and verified
	ImageGone        Result = "image_gone"        // neither Oracle nor the registry has it any more
	OtherCompartment Result = "other_compartment" // it is not of the compartment that is meant
)

// Results returns all results.
func Results() []Result { return []Result{Uploaded, AlreadyThere, ImageGone, OtherCompartment} }

// A Sink uploads image signatures, one at a time. What is not the state signed, or of
// another registry, it takes and does nothing.
type Sink struct {
	opts   Options
	client *client
	// pending was signed for an entry and perhaps not uploaded: it is what the next try
	// uploads, as the key need not sign again, and a retry token stands for one upload.
	pending *upload
	// last is the image and the version of the key of which a signature is there for
	// sure: an image that is signed in several formats has an entry for each.
	last string
}

var _ sink.Sink = (*Sink)(nil)

// New returns a sink that uploads to Oracle.
func New(o Options) (*Sink, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Count == nil {
		o.Count = func(Result) {}
	}
	if o.KeyUsed == nil {
		o.KeyUsed = func(time.Duration, error) {}
	}
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	return &Sink{opts: o, client: c}, nil
}

// Deliver implements sink.Sink.
func (s *Sink) Deliver(ctx context.Context, entries []journal.Entry) (int, error) {
	s.last = "" // others may have taken it away meanwhile
	for i, e := range entries {
		if deadline, ok := ctx.Deadline(); ok && i > 0 && time.Until(deadline) < entryTime {
			return i, nil // the next one might be cut off in the middle
		}
		err := s.take(ctx, e)
		if err == nil {
			continue
		}
		wrapped := fmt.Errorf("entry %d: %w", e.Seq, err)
		if refused := (*refusal)(nil); errors.As(err, &refused) && refused.after > 0 {
			return i, &sink.Later{After: refused.after, Err: wrapped}
		}
		return i, wrapped
	}
	return len(entries), nil
}

// Close implements sink.Sink.
func (s *Sink) Close() error {
	s.client.close()
	return s.opts.Key.Close()
}

// take does with an entry what is to be done.
func (s *Sink) take(ctx context.Context, e journal.Entry) error {
	r, err := e.Record()
	if err != nil {
		return err
	}
	if r.State != journal.Signed || r.Registry != s.opts.Registry {
		return nil
	}
	namespace, name, err := s.opts.split(r.Repository)
	if err != nil {
		return err
	}
	result, err := s.settle(ctx, e, r, namespace+"/"+name+"@"+r.Digest, name)
	if err != nil {
		return fmt.Errorf("%s@%s: %w", r.Repository, r.Digest, err)
	}
	s.pending = nil
	s.opts.Count(result)
	if result == ImageGone || result == OtherCompartment {
		s.opts.Log.Info("no image signature is uploaded", zap.Int64("entry", e.Seq), zap.String("repository", r.Repository),
			zap.String("digest", r.Digest), zap.String("reason", string(result)))
	}
	return nil
}

// split returns the namespace of a repository, and what Oracle calls it.
func (o *Options) split(repository string) (namespace, name string, err error) {
	if o.Namespace != "" {
		return o.Namespace, strings.TrimPrefix(repository, o.Namespace+"/"), nil
	}
	namespace, name, ok := strings.Cut(repository, "/")
	if !ok {
		return "", "", fmt.Errorf("repository %s does not begin with a namespace, and the sink names none", repository)
	}
	return namespace, name, nil
}

// settle sees to it that Oracle has a signature of the image.
func (s *Sink) settle(ctx context.Context, e journal.Entry, r journal.Record, uri, name string) (Result, error) {
	key, keyErr := s.version()
	of := strings.Join([]string{uri, key.id, key.version}, "\n")
	if keyErr == nil && s.last == of {
		return AlreadyThere, nil
	}
	image, err := s.client.image(ctx, uri)
	switch {
	case refusedWith(err, http.StatusNotFound):
		return s.missing(ctx, r, err)
	case err != nil:
		return "", fmt.Errorf("looking up the image: %w", err)
	case text(image.Digest) != r.Digest || text(image.RepositoryName) != name || text(image.Id) == "" || text(image.CompartmentId) == "":
		return "", fmt.Errorf("looking up the image: %w: it is about another image", errAnswer)
	case image.LifecycleState == imageDeleting, image.LifecycleState == imageDeleted:
		return ImageGone, nil
	case s.opts.Compartment != "" && s.opts.Compartment != *image.CompartmentId:
		return OtherCompartment, nil
	case keyErr != nil:
		return "", keyErr
	}
	subject := subject{compartment: *image.CompartmentId, image: *image.Id, digest: r.Digest, repository: name, region: s.opts.Region, key: key}
	there, err := s.there(ctx, subject)
	if err != nil {
		return "", fmt.Errorf("looking for signatures: %w", err)
	}
	result := AlreadyThere
	if !there {
		result, err = Uploaded, s.upload(ctx, e, subject)
	}
	if err == nil {
		s.last = of
	}
	return result, err
}

// missing decides what it means that Oracle knows no such image, or does not let us see
// it, as it does not say which. The registry says whether the image is gone.
func (s *Sink) missing(ctx context.Context, r journal.Record, refused error) (Result, error) {
	has, err := s.opts.Has(ctx, r.Repository, r.Digest)
	switch {
	case err != nil:
		return "", fmt.Errorf("no such image at Oracle; asking the registry for it: %w", err)
	case has:
		return "", fmt.Errorf("the registry has the image, but Oracle does not find it: no permission, or another namespace or region: %w", refused)
	}
	return ImageGone, nil
}
