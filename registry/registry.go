// Package registry is what is there and what we put there: one Client per
// registry host with one budgeted transport, and inventories that stream the
// artifacts of a registry.
package registry

import (
	"context"
	"errors"
	"iter"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine/budget"
)

// A Descriptor names content by digest.
type Descriptor struct {
	MediaType string
	Digest    v1.Hash
	Size      int64
}

// A Manifest is a descriptor with the bytes it names. The digest has been
// computed from Raw, not believed.
type Manifest struct {
	Descriptor
	Raw []byte
}

// An Artifact is one manifest of a repository, as an inventory found it.
type Artifact struct {
	Repository string // full name, without the host
	// Of the Descriptor, Size is 0 where the listing does not say it, and
	// MediaType is empty where that says only that it is no index, or nothing.
	Descriptor
	// Unread says that the listing does not tell whether it is an index.
	Unread bool
	// Tags are those the inventory saw pointing to the digest. An artifact
	// with several tags may be yielded several times, each time with some of
	// them. Empty: no tag names the artifact.
	Tags []string
	// Cursor continues the listing after this artifact; see Query.After. An
	// artifact with an error that has no cursor of its own, as its tag or
	// digest is not valid, has that of the one before it ("" if it is the
	// first): a listing continued there may yield it again.
	Cursor string
}

// A Query says which artifacts of a repository are wanted.
type Query struct {
	Repository string
	// Tags reports whether a tag is of interest, so that others cost no
	// request. Nil: no tagged artifact is wanted.
	Tags func(tag string) bool
	// Untagged also asks for artifacts that no tag names. An Inventory that
	// cannot see them (see Inventory.Untagged) takes no notice of it.
	Untagged bool
	// After is the Cursor of the last artifact that was dealt with. What comes
	// before it is not looked at again, unless the artifact has gone and its
	// place cannot be told: then the inventory starts again.
	After string
}

// An Inventory streams what is in a registry. It holds no listing in memory.
type Inventory interface {
	// Repositories yields full repository names in no particular order. An
	// error with a name concerns only that one, which is not valid and must
	// not be used (it is as the registry sent it), and the stream goes on. An
	// error without a name ends the stream.
	Repositories(ctx context.Context) iter.Seq2[string, error]
	// Artifacts yields the wanted artifacts of one repository, never our own
	// or others' signatures, attestations or fallback indexes. An error with
	// a zero Artifact ends the stream; an error with an Artifact concerns only
	// that one (whose digest may be unknown), and the stream goes on.
	Artifacts(ctx context.Context, q Query) iter.Seq2[Artifact, error]
	// Untagged returns "" when untagged artifacts can be seen, else why not. Some
	// inventories know it only once they were listed.
	Untagged() string
}

// A Store reads and writes manifests and blobs of a registry's repositories.
// A reference is a tag or a digest string. Errors wrap the sentinels below.
type Store interface {
	// Resolve returns what ref names, by HEAD where there is a network.
	Resolve(ctx context.Context, repository, ref string) (Descriptor, error)
	// Manifest reads at most MaxManifest bytes.
	Manifest(ctx context.Context, repository, ref string) (Manifest, error)
	// Blob reads a blob of at most limit bytes and checks its digest.
	Blob(ctx context.Context, repository string, digest v1.Hash, limit int64) ([]byte, error)
	// PutBlob writes a blob and returns its digest. Blobs known to be in the
	// repository are not sent again.
	PutBlob(ctx context.Context, repository string, content []byte) (v1.Hash, error)
	// PutManifest writes raw under ref and returns its digest.
	PutManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error)
}

// A Registry is both, for one configured registry.
type Registry interface {
	Inventory
	Store
	// Host is what stands before the repository in a reference, and in the
	// identity that is signed when the policy names no domain.
	Host() string
	// Requests returns how many requests were sent so far.
	Requests() Counters
	// Reach asks whether the registry answers at all, with one request and without
	// a login: nil if it does, whatever it says.
	Reach(ctx context.Context) error
}

// Budgeted is a Registry that has a budget; one in a directory has none.
type Budgeted interface {
	// Budget returns how it stands.
	Budget() budget.State
}

// MaxManifest is the largest manifest that is read, in bytes: the size the
// distribution specification asks registries to accept.
const MaxManifest = 4 << 20

// Errors that callers branch on. Every error of a Registry that is not a
// context's wraps one of them.
var (
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("not authenticated")
	ErrForbidden    = errors.New("not permitted")
	ErrRateLimited  = errors.New("rate limited")
	ErrUnavailable  = errors.New("registry unavailable") // network, 5xx; retried until the deadline
	ErrRejected     = errors.New("rejected by the registry")
	ErrTooLarge     = errors.New("too large")
	ErrCorrupt      = errors.New("content is not what it was said to be")
	ErrUnsupported  = errors.New("not supported by the registry")
)
