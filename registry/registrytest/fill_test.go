package registrytest

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestFill: what Fill wrote is what a registry would have.
func TestFill(t *testing.T) {
	s := Distribution(t)
	all, err := Fill(s.Root, 3, 2)
	if err != nil || len(all) != 6 {
		t.Fatalf("%d artifacts, %v", len(all), err)
	}
	reg, err := name.NewRegistry(s.Host, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	repos, err := remote.Catalog(t.Context(), reg)
	if err != nil || len(repos) != 3 {
		t.Fatalf("catalog %v, %v", repos, err)
	}
	for _, a := range all {
		ref, err := name.NewDigest(s.Host+"/"+a, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(ref)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("layers %v, %v", layers, err)
		}
		if _, err := layers[0].Compressed(); err != nil {
			t.Error(err)
		}
	}
	first, _, _ := strings.Cut(all[0], "@")
	repo, err := name.NewRepository(s.Host+"/"+first, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if tags, err := remote.List(repo); err != nil || len(tags) != 2 {
		t.Errorf("tags %v, %v", tags, err)
	}
}
