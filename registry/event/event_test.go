package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const secret = "abc"

func secretOf(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text), nil }
}

// delivery reads a file of testdata.
func delivery(t testing.TB, name string) (http.Header, []byte) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	head, body, found := bytes.Cut(raw, []byte("\n\n"))
	if !found {
		t.Fatalf("%s has no body", name)
	}
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(bytes.Clone(head), "\n\n"...)))).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(name, "zot-") { // was recorded without
		header.Set("Authorization", "Basic em90OmFiYw==")
	}
	return http.Header(header), body
}

// configs are those that the files of testdata are for, by what their names
// start with.
func configs() map[string]Config {
	with := func(source Source, hosts ...string) Config {
		return Config{Source: source, Hosts: hosts, Secret: secretOf(secret)}
	}
	all := map[string]Config{
		"distribution": with(Distribution, "127.0.0.1:5002"),
		"harbor":       with(Harbor, "127.0.0.1:28080"),
		"swr":          with(SWR, "swr-ee-1.swr-pro.myhuaweicloud.com"),
		"tcr":          with(TCR, "xxx-bj.tencentcloudcr.com"),
		"zot":          with(Zot, "127.0.0.1:5003"),
		"quay":         with(Quay, "quay.io"),
		"acr":          with(ACR, "myregistry.azurecr.io"),
		"gar":          with(GAR, "us-east1-docker.pkg.dev"),
		"ecr":          with(ECR, "123456789012.dkr.ecr.us-west-2.amazonaws.com"),
		"artifactory":  with(Artifactory, "docker-local.example.jfrog.io"),
		"nexus":        with(Nexus, "nexus.example.com:8443"),
		"dockerhub":    with(DockerHub, "index.docker.io"),
	}
	for name, change := range map[string]func(*Config){
		"swr":         func(c *Config) { c.Header = "X-Sealwright" },
		"ecr":         func(c *Config) { c.Header = "X-Api-Key" },
		"quay":        func(c *Config) { c.Username = "quay" },
		"artifactory": func(c *Config) { c.Key = "docker-local" },
		"nexus":       func(c *Config) { c.Key = "docker-hosted" },
	} {
		c := all[name]
		change(&c)
		all[name] = c
	}
	return all
}

func configOf(t testing.TB, file string) Config {
	t.Helper()
	name, _, _ := strings.Cut(file, "-")
	cfg, ok := configs()[name]
	if !ok {
		t.Fatalf("no configuration for %s", file)
	}
	return cfg
}

func open(t testing.TB, cfg Config) *Receiver {
	t.Helper()
	r, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func at(text string) time.Time {
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return when
}

const (
	busybox    = "sha256:dde8e930c7b6a490f728e66292bc9bce42efc9bbb5278bae40e4f30f6e00fe8c"
	harborHash = "sha256:55459d2bfff220e765cc40ada17aa68490d88a6db03b97020624416286c93891"
	ecrHash    = "sha256:7f5b2640fe6fb4f46592dfd3410c4a79dac4f89e4782432e0378abcd12340000"
	garHash    = "sha256:6ec128e26cd500000000000000000000000000000000000000000000000000aa"
	acrHash    = "sha256:80f0d5c8786bb9e621a45ece0db56d11cdc624ad20da9fe62e9d25490f331d7d"
)

type said struct {
	pushes  []Push
	ignored map[Reason]int
}

func pushed(repository, tag, digest, when string) said {
	p := Push{Repository: repository, Tag: tag, Digest: digest}
	if when != "" {
		p.At = at(when)
	}
	return said{pushes: []Push{p}}
}

func ignored(reason Reason) said { return said{ignored: map[Reason]int{reason: 1}} }

// deliveries are what each file of testdata says.
var deliveries = map[string]said{
	"distribution-index":      pushed("prod/svc0000", "1.0.0", "sha256:df80d23e9cbec485c9f409f732f9ca68c579e1386adcb10f7ae2d7a8f2e605bd", "2026-11-22T02:19:17.475112682Z"),
	"distribution-child":      pushed("prod/svc0000", "", "sha256:b5dbeb157ece895344f411db9f09c51fadfdcaed7f0231836bb9933647bc4502", "2026-11-22T02:19:17.452264428Z"),
	"distribution-pull":       ignored(OtherAction),
	"distribution-cosign-sig": ignored(Signature),

	"zot-image":              pushed("prod/svc0000", "latest", "sha256:7d6cda2649a704d5de98ad6c4689f8cb2575011d7248fe80c113c66aea99e7dd", "2026-11-22T02:19:17.549669201Z"),
	"zot-repository-created": ignored(OtherAction),
	"zot-cosign-sig":         ignored(Signature),
	"zot-cosign-bundle":      ignored(Signature),

	"harbor-push":              pushed("prod/team/app", "1.0", "sha256:7a1c92a0466b4821db3c2c7e179b22fd0bcc74fd59e8293c0b53ee2cb53d934d", "2026-11-29T09:04:28Z"),
	"harbor-index":             pushed("prod/team/app", "multi", "sha256:1e44712eb8d8918a7e341e79a98f0989a3217debabd4b995c49787dfc072a01b", "2026-11-29T09:05:10Z"),
	"harbor-digest":            pushed("prod/team/bydigest", "", harborHash, "2026-11-29T09:05:02Z"),
	"harbor-pull":              ignored(OtherAction),
	"harbor-delete":            ignored(OtherAction),
	"harbor-scan":              ignored(OtherAction),
	"harbor-quota":             ignored(OtherAction),
	"harbor-cloudevent":        pushed("prod/team/app", "1.0", "sha256:7a1c92a0466b4821db3c2c7e179b22fd0bcc74fd59e8293c0b53ee2cb53d934d", "2026-11-29T09:04:28Z"),
	"harbor-cloudevent-digest": pushed("prod/team/bydigest", "", harborHash, "2026-11-29T09:05:02Z"),
	"harbor-cloudevent-pull":   ignored(OtherAction),
	"harbor-cloudevent-delete": ignored(OtherAction),
	"harbor-cloudevent-scan":   ignored(OtherAction),

	// Signatures: those that no tag names look like untagged images.
	"harbor-sealwright-sig":               ignored(Signature),
	"harbor-sealwright-bundle":            pushed("prod/team/app", "", "sha256:749ebecaadadc47d6916a4c0d2a0b05d3bd3b267656491849c54b2e9407874e1", "2026-11-29T09:07:28Z"),
	"harbor-sealwright-notation":          pushed("prod/team/app", "", "sha256:736c57ae42afb91ce74fa05043e2fe44d5305457293d7c54aac14cb24d65dc39", "2026-11-29T09:07:35Z"),
	"harbor-cloudevent-sealwright-sig":    ignored(Signature),
	"harbor-cloudevent-sealwright-bundle": pushed("prod/team/app", "", "sha256:749ebecaadadc47d6916a4c0d2a0b05d3bd3b267656491849c54b2e9407874e1", "2026-11-29T09:07:28Z"),
	"harbor-cosign-sig":                   ignored(Signature),
	"harbor-cosign-att":                   ignored(Signature),
	"harbor-cosign-bundle":                pushed("prod/team/app", "", "sha256:db859987cf4dc0ffce1eb36d7e91b866253fd362d989362004b017321c30df60", "2026-11-29T09:06:16Z"),
	"harbor-notation":                     pushed("prod/team/app", "", "sha256:e1f79a7f44f12802e9ab3a472757961eeef491ef0cd43049cba16fb0fd11d6e1", "2026-11-29T09:06:29Z"),
	"harbor-notation-index":               ignored(Signature),

	"swr-push":   pushed("library/busybox", "1.36", busybox, "2023-03-06T05:58:23Z"),
	"tcr-push":   pushed("public/nginx", "v1.10.0", "sha256:89a42c3ba15f09a3fbe39856bddacdf9e94cd03df7403cad4fc1050000268fc9", "2020-05-10T10:30:05Z"),
	"tcr-delete": ignored(OtherAction),

	"quay-push": {pushes: []Push{
		{Repository: "mynamespace/repository", Tag: "latest"}, {Repository: "mynamespace/repository", Tag: "foo"},
	}},
	"quay-cosign-sig":    ignored(Signature),
	"quay-vulnerability": ignored(OtherAction),

	"acr-push":       pushed("hello-world", "v1", acrHash, "2017-11-17T16:52:01.343145347Z"),
	"acr-digest":     pushed("hello-world", "", acrHash, "2017-11-17T16:52:01.343145347Z"),
	"acr-cosign-sig": ignored(Signature),
	"acr-ping":       ignored(OtherAction),

	"gar-push":       pushed("my-project/my-repo/hello-world", "1.1", garHash, "2021-02-26T19:13:55.749Z"),
	"gar-digest":     pushed("my-project/my-repo/hello-world", "", garHash, "2021-02-26T19:13:55.749Z"),
	"gar-delete":     ignored(OtherAction),
	"gar-cosign-sig": ignored(Signature),

	"ecr-push":       pushed("my-repository-name", "latest", ecrHash, "2019-11-16T01:54:34Z"),
	"ecr-digest":     pushed("my-repository-name", "", ecrHash, "2019-11-16T01:54:34Z"),
	"ecr-index":      pushed("my-repository-name", "latest", ecrHash, "2019-11-16T01:54:34Z"),
	"ecr-notation":   ignored(Signature),
	"ecr-cosign-sig": ignored(Signature),
	"ecr-delete":     ignored(OtherAction),
	"ecr-scan":       ignored(OtherAction),

	"artifactory-push":       pushed("team/app", "1.0", busybox, ""),
	"artifactory-signed":     pushed("team/app", "1.0", busybox, ""),
	"artifactory-digest":     pushed("team/app", "", busybox, ""),
	"artifactory-cosign-sig": ignored(Signature),
	"artifactory-deleted":    ignored(OtherAction),

	"nexus-component":    pushed("team/app", "1.0", "", "2016-11-10T23:57:49.664Z"),
	"nexus-asset-digest": pushed("team/app", "", busybox, "2016-11-10T23:57:49.664Z"),
	"nexus-cosign-sig":   ignored(Signature),
	"nexus-asset-blob":   ignored(NotAManifest),
	"nexus-npm":          ignored(NotAManifest),
	"nexus-deleted":      ignored(OtherAction),

	"dockerhub-push": pushed("svendowideit/testhook", "latest", "", "2014-12-03T00:22:41Z"),
}

// TestDeliveries reads every file of testdata.
func TestDeliveries(t *testing.T) {
	files, err := fs.Glob(os.DirFS("testdata"), "*.http")
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(file, ".http")
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(deliveries)), slices.Sorted(slices.Values(files))); diff != "" {
		t.Fatalf("files and what they say:\n%s", diff)
	}
	for name, want := range deliveries {
		t.Run(name, func(t *testing.T) {
			header, body := delivery(t, name)
			got, err := open(t, configOf(t, name)).Receive(t.Context(), header, body)
			if err != nil {
				t.Fatal(err)
			}
			if want.ignored == nil {
				want.ignored = map[Reason]int{}
			}
			if diff := cmp.Diff(Delivery{Pushes: want.pushes, Ignored: want.ignored}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestTaggedArtifacts: whatever an artifact is made of, a tag that is no
// signature's makes it one to sign, as in runs. Without the tag it looks like a
// signature or an index of them.
func TestTaggedArtifacts(t *testing.T) {
	wasm := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + busybox + `","size":7,"artifactType":"application/vnd.wasm.config.v0+json"}`
	index := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + wasm + `]}`
	inJSON, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	notification := `{"timestamp":"2026-11-22T02:19:17Z","action":"push","target":{"mediaType":"application/vnd.oci.image.index.v1+json","repository":"app",
		"digest":"` + busybox + `","tag":"TAG","references":[` + wasm + `]},"request":{"host":"HOST"}}`
	bodies := map[string]string{
		"distribution-index": `{"events":[` + notification + `]}`,
		"acr-push":           notification,
		"zot-image": `{"name":"app","reference":"TAG","digest":"` + busybox + `","mediaType":"application/vnd.oci.image.index.v1+json",
			"manifest":` + string(inJSON) + `}`,
		"ecr-push": `{"detail-type":"ECR Image Action","source":"aws.ecr","account":"123456789012","time":"2019-11-16T01:54:34Z","region":"us-west-2",
			"detail":{"result":"SUCCESS","repository-name":"app","image-digest":"` + busybox + `","action-type":"PUSH","image-tag":"TAG",
			"manifest-media-type":"application/vnd.oci.image.manifest.v1+json","artifact-media-type":"application/vnd.cncf.notary.signature"}}`,
	}
	for name, body := range bodies {
		for tag, pushes := range map[string]int{"v1": 1, "": 0, strings.Replace(busybox, ":", "-", 1): 0} {
			if tag == "" && strings.HasPrefix(name, "zot-") {
				tag = busybox
			}
			header, _ := delivery(t, name)
			cfg := configOf(t, name)
			said := strings.NewReplacer("TAG", tag, "HOST", cfg.Hosts[0]).Replace(body)
			got, err := open(t, cfg).Receive(t.Context(), header, []byte(said))
			if err != nil || len(got.Pushes) != pushes || got.Ignored[Signature] != 1-pushes {
				t.Errorf("%s, tag %q: %v, %v", name, tag, got, err)
			}
		}
	}
}

// TestUnauthorized: of no source does anything get in that lacks the secret, and
// that is said before the body is looked at.
func TestUnauthorized(t *testing.T) {
	for name := range deliveries {
		for fault, change := range map[string]func(*Config, http.Header){
			"missing": func(_ *Config, h http.Header) { clear(h) },
			"wrong":   func(c *Config, _ http.Header) { c.Secret = secretOf("abd") },
			"longer":  func(c *Config, _ http.Header) { c.Secret = secretOf("abcd") },
			"twice": func(_ *Config, h http.Header) {
				for key, values := range h {
					h[key] = append(values, values...)
				}
			},
		} {
			header, body := delivery(t, name)
			cfg := configOf(t, name)
			change(&cfg, header)
			for _, body := range [][]byte{body, []byte("not JSON")} {
				got, err := open(t, cfg).Receive(t.Context(), header, body)
				if !errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrMalformed) {
					t.Errorf("%s, %s secret: %v", name, fault, err)
				}
				if len(got.Pushes) > 0 {
					t.Errorf("%s, %s secret: got %v", name, fault, got)
				}
				if err != nil && strings.Contains(err.Error(), "abc") {
					t.Errorf("%s: the secret is in %q", name, err)
				}
			}
		}
	}
}

// TestAdmits: where a header has all of the proof, nobody without it is admitted;
// where the body has it, that is said.
func TestAdmits(t *testing.T) {
	for name := range deliveries {
		source, _, _ := strings.Cut(name, "-")
		inBody := source == "nexus" || source == "artifactory"
		header, _ := delivery(t, name)
		cfg := configOf(t, name)
		if proven, err := open(t, cfg).Admits(t.Context(), header); err != nil || proven == inBody {
			t.Errorf("%s: proven %v, %v", name, proven, err)
		}
		cfg.Secret = secretOf("abd")
		if proven, err := open(t, cfg).Admits(t.Context(), header); proven || errors.Is(err, ErrUnauthorized) == inBody {
			t.Errorf("%s with another secret: proven %v, %v", name, proven, err)
		}
	}
	if proven, err := open(t, snsConfig(&web{})).Admits(t.Context(), http.Header{}); proven || err != nil {
		t.Errorf("SNS: proven %v, %v", proven, err)
	}
}

// TestSecretForms: the secret alone, or as Bearer or Basic.
func TestSecretForms(t *testing.T) {
	for _, test := range []struct {
		said, username string
		ok             bool
	}{
		{"abc", "", true},
		{"Bearer abc", "", true},
		{"bearer abc", "", true},
		{"Basic YW55Ym9keTphYmM=", "", true}, // anybody:abc
		{"Basic YW55Ym9keTphYmM=", "me", false},
		{"Basic bWU6YWJj", "me", true}, // me:abc
		{"Basic bWU6YWJk", "me", false},
		{"Basic bWU6YWJjOg==", "me", false}, // me:abc:
		{"Basic YWJj", "", false},           // abc, no colon
		{"Basic bWU6YWJj!", "", false},
		{"Basic abc", "", false},
		{"abc", "me", false},
		{"Bearer abc", "me", false},
		{"Bearer", "", false},
		{"Bearer ", "", false},
		{"Digest abc", "", false},
		{" abc", "", false},
		{"ABC", "", false},
	} {
		cfg := configOf(t, "tcr-push")
		cfg.Username = test.username
		header, body := delivery(t, "tcr-push")
		header.Set("Authorization", test.said)
		_, err := open(t, cfg).Receive(t.Context(), header, body)
		if ok := err == nil; ok != test.ok || !ok && !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%q as %q: %v", test.said, test.username, err)
		}
	}
	// A secret may be what looks like credentials, as Harbor sends it verbatim.
	cfg := configOf(t, "harbor-push")
	cfg.Secret = secretOf("Bearer xyz")
	header, body := delivery(t, "harbor-push")
	header.Set("Authorization", "Bearer xyz")
	if _, err := open(t, cfg).Receive(t.Context(), header, body); err != nil {
		t.Error(err)
	}
}

// TestSecretIsReadAnew: a rotated secret counts at once, and one that cannot be
// read or is empty lets nobody in, without blaming the sender.
func TestSecretIsReadAnew(t *testing.T) {
	for _, name := range []string{"tcr-push", "nexus-component", "artifactory-push"} {
		now, fault := "abd", error(nil)
		cfg := configOf(t, name)
		cfg.Secret = func() ([]byte, error) { return []byte(now), fault }
		r := open(t, cfg)
		header, body := delivery(t, name)
		if _, err := r.Receive(t.Context(), header, body); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
		now = secret
		if _, err := r.Receive(t.Context(), header, body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		now = ""
		for _, said := range []string{"", "abc", "Basic Og=="} {
			header.Set("Authorization", said)
			if _, err := r.Receive(t.Context(), header, body); err == nil || errors.Is(err, ErrUnauthorized) {
				t.Errorf("%s, empty secret: %v", name, err)
			}
		}
		fault = fs.ErrPermission
		if _, err := r.Receive(t.Context(), header, body); !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
