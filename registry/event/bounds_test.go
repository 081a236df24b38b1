package event

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/strictjson"
)

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
		{"index.docker.io:443", "docker.io", true},
		{"[FE80::1%eth0]:5000", "[fe80::1%eth0]:5000", true},
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
	for _, source := range sources() {
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
		{more(strings.Repeat("[", strictjson.MaxDepth) + strings.Repeat("]", strictjson.MaxDepth)), "nested more than 32 levels deep"},
		{more(strings.Repeat("[", strictjson.MaxDepth-1) + strings.Repeat("]", strictjson.MaxDepth-1)), ""},
		{more("[" + strings.Repeat("1,", strictjson.MaxValues) + "1]"), "more than 200000 values"},
		{more("[" + strings.Repeat("1,", strictjson.MaxValues/2) + "1]"), ""},
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
