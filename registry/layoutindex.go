package registry

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	layoutIndex    = "index.json"
	maxLayoutIndex = 64 << 20 // bytes of index.json
	refAnnotation  = "org.opencontainers.image.ref.name"
)

// A layoutDescriptor is an entry of a layout's index.
type layoutDescriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// tag returns the tag that an entry's ref.name means. Tools write tags there,
// or whole references; a reference without a tag names none.
func (d layoutDescriptor) tag() (tag string, tagged bool) {
	ref, _, _ := strings.Cut(d.Annotations[refAnnotation], "@")
	slash := strings.LastIndexByte(ref, '/')
	if colon := strings.LastIndexByte(ref, ':'); colon > slash {
		ref = ref[colon+1:]
	} else if slash >= 0 {
		return "", false
	}
	return ref, ref != ""
}

// descriptors calls each with the entries of a layout's index, of which it
// holds one at a time.
func (l *layouts) descriptors(ctx context.Context, dir string, each func(layoutDescriptor) error) error {
	f, err := l.root.Open(path.Join(dir, layoutIndex))
	if err != nil {
		return missing(err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return missing(err)
	}
	if info.Size() > maxLayoutIndex {
		return fmt.Errorf("%s of %d bytes, at most %d are read: %w", layoutIndex, info.Size(), maxLayoutIndex, ErrTooLarge)
	}
	limited := io.LimitReader(f, maxLayoutIndex)
	err = decodeDescriptors(json.NewDecoder(bufio.NewReader(limited)), func(d layoutDescriptor) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return each(d)
	})
	if errors.Is(err, errMalformed) {
		return fmt.Errorf("%s: %w: %s", layoutIndex, ErrCorrupt, plain(err.Error()))
	}
	return err
}

// errMalformed marks errors of the JSON, as opposed to the visitor's.
var errMalformed = errors.New("malformed")

func decodeDescriptors(dec *json.Decoder, each func(layoutDescriptor) error) error {
	if err := delim(dec, '{'); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err == nil && key != "manifests" {
			err = skipValue(dec)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		if key != "manifests" {
			continue
		}
		if err := decodeEntries(dec, each); err != nil {
			return err
		}
	}
	if err := delim(dec, '}'); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}

func decodeEntries(dec *json.Decoder, each func(layoutDescriptor) error) error {
	token, err := dec.Token()
	if err == nil && token != json.Delim('[') && token != nil {
		err = errors.New("manifests is no list")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	if token == nil {
		return nil
	}
	for dec.More() {
		var d layoutDescriptor
		if err := dec.Decode(&d); err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		if err := each(d); err != nil {
			return err
		}
	}
	if err := delim(dec, ']'); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}

// find returns the entry that ref names: the last one with that tag, or any
// with that digest. A manifest that only an index names has no entry.
func (l *layouts) find(ctx context.Context, dir, ref string) (layoutDescriptor, v1.Hash, error) {
	want, isDigest, err := parseRef(ref)
	if err != nil {
		return layoutDescriptor{}, v1.Hash{}, err
	}
	var last layoutDescriptor
	err = l.descriptors(ctx, dir, func(d layoutDescriptor) error {
		tag, tagged := d.tag()
		if isDigest && d.Digest == ref || !isDigest && tagged && tag == ref {
			last = d
		}
		return nil
	})
	if err != nil || isDigest {
		return last, want, err
	}
	if last.Digest == "" {
		return last, v1.Hash{}, fmt.Errorf("no such tag: %w", ErrNotFound)
	}
	digest, err := v1.NewHash(last.Digest)
	if err != nil {
		return last, v1.Hash{}, fmt.Errorf("digest %q in the index is not valid: %w", plain(last.Digest), ErrCorrupt)
	}
	return last, digest, nil
}
