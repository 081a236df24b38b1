package event

import (
	"bufio"
	"bytes"
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
		"harbor":       with(Harbor, "harbor.dev"),
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
	busybox = "sha256:dde8e930c7b6a490f728e66292bc9bce42efc9bbb5278bae40e4f30f6e00fe8c"
	ecrHash = "sha256:7f5b2640fe6fb4f46592dfd3410c4a79dac4f89e4782432e0378abcd12340000"
	garHash = "sha256:6ec128e26cd500000000000000000000000000000000000000000000000000aa"
	acrHash = "sha256:80f0d5c8786bb9e621a45ece0db56d11cdc624ad20da9fe62e9d25490f331d7d"
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

	"harbor-push":       pushed("library/busybox", "1.36", busybox, "2023-03-06T05:58:23Z"),
	"harbor-cloudevent": pushed("library/busybox", "1.36", busybox, "2023-03-06T06:08:43Z"),
	"harbor-digest":     pushed("library/busybox", "", busybox, "2023-03-06T05:58:23Z"),
	"harbor-cosign-sig": ignored(Signature),
	"harbor-pull":       ignored(OtherAction),
	"harbor-scan":       ignored(OtherAction),

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

// TestForeign: a push to another registry is refused, whatever else is in the
// delivery; where a source has no word for the host, its own name for the
// repository is compared.
func TestForeign(t *testing.T) {
	for name, want := range deliveries {
		source, _, _ := strings.Cut(name, "-")
		if len(want.pushes) == 0 || source == "zot" {
			continue
		}
		cfg := configOf(t, name)
		cfg.Hosts, cfg.Key = []string{"other.example.com"}, strings.Replace(cfg.Key, "docker", "other", 1)
		header, body := delivery(t, name)
		got, err := open(t, cfg).Receive(t.Context(), header, body)
		if !errors.Is(err, ErrForeign) || errors.Is(err, ErrMalformed) || len(got.Pushes) > 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	// Partly foreign, and foreign by one of two hosts.
	header, body := delivery(t, "distribution-index")
	_, child := delivery(t, "distribution-child")
	r := open(t, configOf(t, "distribution-index"))
	for _, part := range []string{`"host": "127.0.0.1:5002"`, `"url": "http://127.0.0.1:5002`} {
		foreign := bytes.Replace(child, []byte(part), []byte(strings.Replace(part, "127.0.0.1", "EVIL.example.com", 1)), 1)
		both := join(body, foreign)
		got, err := r.Receive(t.Context(), header, both)
		if !errors.Is(err, ErrForeign) || len(got.Pushes) > 0 || !strings.Contains(err.Error(), "EVIL.example.com:5002") {
			t.Errorf("%s: %v, %v", part, got, err)
		}
	}
	if got, err := r.Receive(t.Context(), header, join(body, child)); err != nil || len(got.Pushes) != 2 {
		t.Errorf("both ours: %v, %v", got, err)
	}
	long := strings.Repeat("x", 100_000)
	_, err := r.Receive(t.Context(), header, bytes.ReplaceAll(body, []byte("127.0.0.1"), []byte(long)))
	if !errors.Is(err, ErrForeign) || len(err.Error()) > 300 {
		t.Errorf("a long host makes an error of %d bytes", len(err.Error()))
	}
}

// join puts the events of two notifications into one.
func join(a, b []byte) []byte {
	inside := func(body []byte) string {
		text := string(body)
		return text[strings.Index(text, "[")+1 : strings.LastIndex(text, "]")]
	}
	return []byte(`{"events":[` + inside(a) + "," + inside(b) + "]}")
}

// TestHosts: case and default ports make no other host.
func TestHosts(t *testing.T) {
	for _, test := range []struct {
		configured, said string
		same             bool
	}{
		{"Registry.Example.com", "registry.example.com", true},
		{"registry.example.com:443", "REGISTRY.example.com", true},
		{"registry.example.com", "registry.example.com:443", true},
		{"registry.example.com", "registry.example.com:80", true},
		{"registry.example.com", "registry.example.com:8443", false},
		{"registry.example.com", "registry.example.com.evil.net", false},
		{"registry.example.com", "registryXexample.com", false},
		{"[::1]:443", "[::1]", true},
		{"[::1]:5000", "[::1]:5000", true},
		{"docker.io", "registry-1.docker.io", true},
		{"registry.example.com", "", false},
	} {
		h, err := newHosts([]string{test.configured})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.check(test.said); (err == nil) != test.same {
			t.Errorf("%s and %s: %v", test.configured, test.said, err)
		}
	}
}

// TestOpenFaults: everything that is wrong is said at once, and nothing opens
// that cannot tell who sends.
func TestOpenFaults(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  Config
		want []string
	}{
		"source":      {Config{Source: "podman"}, []string{`source: "podman" is none of acr, artifactory, distribution,`}},
		"nothing":     {Config{Source: Harbor}, []string{"hosts: want at least", "secret_file: is required"}},
		"host":        {Config{Source: Harbor, Hosts: []string{"https://harbor.dev"}, Secret: secretOf("x")}, []string{`hosts: "https://harbor.dev": want HOST`}},
		"header":      {Config{Source: Harbor, Hosts: []string{"a"}, Secret: secretOf("x"), Header: "a b"}, []string{`header: "a b" is no name`}},
		"foreign":     {Config{Source: Harbor, Hosts: []string{"a"}, Secret: secretOf("x"), Topic: "t", Audience: "a", ServiceAccount: "s"}, []string{"topic: is for ecr only", "audience: is for gar only", "service_account: is for gar only"}},
		"nexus":       {Config{Source: Nexus, Hosts: []string{"a"}, Username: "u", Header: "h"}, []string{"secret_file: is required", "cloud.project: is required", "username: is not used", "header: is not used"}},
		"artifactory": {Config{Source: Artifactory, Hosts: []string{"a"}}, []string{"secret_file: is required", "cloud.project: is required"}},
		"gar":         {Config{Source: GAR, Hosts: []string{"a"}, ServiceAccount: "s", Secret: secretOf("x"), Header: "h", Username: "u"}, []string{"audience: is required", "secret_file: is not used", "header: is not used", "username: is not used", "transport: is required"}},
		"audience":    {Config{Source: GAR, Hosts: []string{"a"}, Audience: "x"}, []string{"audience: wants service_account", "secret_file: is required"}},
		"ecr":         {Config{Source: ECR, Hosts: []string{"a"}, Topic: topic}, []string{"transport: is required"}},
		"topic":       {Config{Source: ECR, Hosts: []string{"a"}, Topic: "arn:aws:sqs:eu-west-1:123456789012:x"}, []string{"topic: ", "want arn:aws:sns"}},
	} {
		r, err := Open(test.cfg)
		if err == nil || r != nil {
			t.Errorf("%s opened", name)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in:\n%v", name, want, err)
			}
		}
	}
	for _, source := range Sources() {
		if _, err := Open(Config{Source: source, Hosts: []string{"a"}, Key: "k"}); err == nil || !strings.Contains(err.Error(), "secret_file") {
			t.Errorf("%s opened without a secret: %v", source, err)
		}
	}
}

// TestBounds: no delivery is worth more than it may be.
func TestBounds(t *testing.T) {
	r := open(t, configOf(t, "distribution-index"))
	header, body := delivery(t, "distribution-child")
	event := string(body[bytes.IndexByte(body, '[')+1 : bytes.LastIndexByte(body, ']')])
	of := func(n int) []byte {
		return []byte(`{"events":[` + strings.TrimSuffix(strings.Repeat(event+",", n), ",") + `]}`)
	}
	if got, err := r.Receive(t.Context(), header, of(MaxEvents)); err != nil || len(got.Pushes) != MaxEvents {
		t.Errorf("%d pushes, %v", len(got.Pushes), err)
	}
	more := func(value string) []byte { return []byte(`{"events":[],"a":` + value + "}") }
	for _, test := range []struct {
		body []byte
		want string // "" passes
	}{
		{of(MaxEvents + 1), "more than 1000 events"},
		{append(of(1), bytes.Repeat([]byte(" "), MaxBody)...), "more than 4194304 bytes"},
		{more(strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)), "nested deeper than 32"},
		{more(strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1)), ""},
		{more("[" + strings.Repeat("1,", maxValues) + "1]"), "more than 200000 values"},
		{more("[" + strings.Repeat("1,", maxValues/2) + "1]"), ""},
	} {
		got, err := r.Receive(t.Context(), header, test.body)
		if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.want)) || len(got.Pushes) > 0 {
			t.Errorf("%.40s: %v; want %q", test.body, err, test.want)
		}
	}
	quay := open(t, configOf(t, "quay-push"))
	header, body = delivery(t, "quay-push")
	tags := strings.Repeat(`"a",`, MaxEvents)
	if _, err := quay.Receive(t.Context(), header, bytes.Replace(body, []byte(`"latest"`), []byte(tags+`"latest"`), 1)); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}
