//go:build bench

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// A limit is the bare program beside which Sealwright is measured: it knows what
// to sign, checks nothing, reads nothing back, journals nothing, and sends the
// fewest requests that write the same signatures over connections kept alive.
type limit struct {
	t       *testing.T
	reg     *benchRegistry
	key     *ecdsa.PrivateKey
	client  *http.Client
	configs sync.Map // repository → *sync.Once
}

const limitConfig = `{"architecture":"","created":"0001-01-01T00:00:00Z","history":[{"created":"0001-01-01T00:00:00Z"}],"os":"","rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"config":{}}`

func newLimit(t *testing.T, reg *benchRegistry) *limit {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &limit{t: t, reg: reg, key: key, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchWorkers}}}
}

// each does work for every image, benchWorkers at once.
func (l *limit) each(work func(repo, digest string) error) {
	images := make(chan string)
	var wg sync.WaitGroup
	for range benchWorkers {
		wg.Go(func() {
			for image := range images {
				repo, digest, _ := strings.Cut(image, "@")
				if err := work(repo, digest); err != nil {
					l.t.Errorf("the limit: %s: %v", image, err)
				}
			}
		})
	}
	for _, image := range l.reg.images {
		images <- image
	}
	close(images)
	wg.Wait()
}

// sign writes one signature: payload POST and PUT, config POST and PUT once per
// repository, manifest PUT.
func (l *limit) sign(repo, digest string) error {
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"%s/%s"},"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"},"optional":null}`, l.reg.host, repo, digest)
	sum := sha256.Sum256(payload)
	sig, err := ecdsa.SignASN1(rand.Reader, l.key, sum[:])
	if err != nil {
		return err
	}
	once, _ := l.configs.LoadOrStore(repo, &sync.Once{})
	once.(*sync.Once).Do(func() { err = l.blob(repo, []byte(limitConfig)) })
	if err != nil {
		return err
	}
	if err := l.blob(repo, payload); err != nil {
		return err
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":%d,"digest":"sha256:%x"},"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":%d,"digest":"sha256:%x","annotations":{"dev.cosignproject.cosign/signature":"%s"}}]}`,
		len(limitConfig), sha256.Sum256([]byte(limitConfig)), len(payload), sum, base64.StdEncoding.EncodeToString(sig))
	_, err = l.do("PUT", "/v2/"+repo+"/manifests/"+sigTagOf(digest), "application/vnd.oci.image.manifest.v1+json", manifest, http.StatusCreated)
	return err
}

func sigTagOf(digest string) string { return strings.Replace(digest, ":", "-", 1) + ".sig" }

func (l *limit) blob(repo string, content []byte) error {
	location, err := l.do("POST", "/v2/"+repo+"/blobs/uploads/", "", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	location = strings.TrimPrefix(location, "http://"+l.reg.host)
	_, err = l.do("PUT", fmt.Sprintf("%s&digest=sha256%%3A%x", location, sha256.Sum256(content)), "application/octet-stream", content, http.StatusCreated)
	return err
}

// look is the least that finds a signature: one HEAD of the tag, here by digest
// as there is one per tag, and one GET of the signature manifest.
func (l *limit) look(repo, digest string) error {
	if _, err := l.do("HEAD", "/v2/"+repo+"/manifests/"+digest, "", nil, http.StatusOK); err != nil {
		return err
	}
	_, err := l.do("GET", "/v2/"+repo+"/manifests/"+sigTagOf(digest), "", nil, http.StatusOK)
	return err
}

// do sends a request, reads the answer to its end and returns its Location.
func (l *limit) do(verb, path, contentType string, body []byte, want int) (string, error) {
	req, err := http.NewRequest(verb, "http://"+l.reg.host+path, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := l.client.Do(req)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", verb, path, resp.Status, text)
	}
	return resp.Header.Get("Location"), err
}
