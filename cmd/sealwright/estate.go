package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealwright/sealwright/registry"
)

// An estate is the demo's world: a registry in this process, with images.
type estate struct {
	host   string
	images []string     // what was pushed, for people
	writes atomic.Int64 // requests that change the registry
	server *http.Server
	done   chan struct{}
}

// newEstate starts a registry on a free loopback port and fills it, and an OCI
// layout in dir.
func newEstate(ctx context.Context, dir string) (*estate, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &estate{host: l.Addr().String(), done: make(chan struct{})}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	e.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			e.writes.Add(1)
		}
		inner.ServeHTTP(w, r)
	})}
	go func() {
		defer close(e.done)
		_ = e.server.Serve(l) // ends with close
	}()
	if err := errors.Join(e.fill(ctx), e.fillLayout(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("filling the demo's registry: %w", err), e.close())
	}
	return e, nil
}

func (e *estate) close() error {
	err := e.server.Close()
	<-e.done
	return err
}

func (e *estate) fill(ctx context.Context) error {
	for _, repo := range []string{"api", "web", "jobs/nightly"} {
		for _, tag := range []string{"v1.0.0", "v1.1.0", "v1.2.0-rc.1", "dev"} {
			img, err := image()
			if err != nil {
				return err
			}
			if err := e.push(ctx, path.Join("library", repo)+":"+tag, img); err != nil {
				return err
			}
		}
		e.images = append(e.images, "library/"+repo+": v1.0.0 v1.1.0 v1.2.0-rc.1 dev")
	}
	index, err := multiArch()
	if err != nil {
		return err
	}
	for _, tag := range []string{"stable", "3.2"} {
		if err := e.push(ctx, "platform/proxy:"+tag, index); err != nil {
			return err
		}
	}
	e.images = append(e.images, "platform/proxy: stable 3.2 (one index: amd64, arm64)")
	return nil
}

// fillLayout writes an OCI layout with two tagged and two untagged images.
func (e *estate) fillLayout(dir string) error {
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	for _, tag := range []string{"2026.1", "2026.2", "", ""} {
		img, err := image()
		if err != nil {
			return err
		}
		var options []layout.Option
		if tag != "" {
			options = append(options, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
		}
		if err := p.AppendImage(img, options...); err != nil {
			return err
		}
	}
	e.images = append(e.images, "oci-layout "+dir+": 2026.1 2026.2 and two untagged")
	return nil
}

func (e *estate) push(ctx context.Context, ref string, what remote.Taggable) error {
	tag, err := name.NewTag(e.host+"/"+ref, name.Insecure)
	if err != nil {
		return err
	}
	if index, ok := what.(v1.ImageIndex); ok {
		return remote.WriteIndex(tag, index, remote.WithContext(ctx))
	}
	return remote.Write(tag, what.(v1.Image), remote.WithContext(ctx))
}

func image() (v1.Image, error) {
	img, err := random.Image(256, 1)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON), nil
}

func multiArch() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := image()
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return index, nil
}

func newClients() map[string]registry.Registry { return map[string]registry.Registry{} }
