package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/policy"
)

// write writes files into a new directory and returns it.
func write(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range contents {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mustParse parses text that has no faults, as the file /etc/sealwright.yaml.
func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("/etc/sealwright.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseFull(t *testing.T) {
	c, err := Load("examples/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	one := func(patterns ...string) policy.Selector { return policy.Selector{Matches: patterns} }
	on, off := true, false
	want := Config{
		Registries: []Registry{
			{
				Name: "prod", Host: "registry.example.com", Kind: Generic,
				Auth:   Auth{Username: "sealwright", PasswordFile: "/etc/sealwright/prod.password"},
				Limits: Limits{RequestsPerSecond: 50, Concurrency: 16},
			},
			{
				Name: "mirror", Host: "localhost:5000", Kind: Distribution, Insecure: true, Storage: "/var/lib/registry",
				Limits: Limits{RequestsPerSecond: DefaultRequestsPerSecond, Concurrency: DefaultConcurrency},
			},
		},
		Keys: []Key{
			{
				Name: "release", Aliases: []string{"08408a30-0416-11ed-abdc-52540036b432"}, URI: "file:/etc/sealwright/release.key",
				Algorithm: policy.ECDSASHA256, PublicKeySHA256: "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9",
				PasswordFile: "/etc/sealwright/release.password",
			},
			{Name: "archive", URI: "file:/etc/sealwright/archive.key", Algorithm: policy.RSAPKCS1SHA256, PasswordEnv: "SEALWRIGHT_ARCHIVE_PASSWORD"},
		},
		Policies: []policy.Policy{
			{
				Name: "library-releases", Description: "every release image in library", Enabled: &on, Registry: "prod", Namespace: "library",
				Trigger: policy.Trigger{Type: policy.Scheduled, Cron: "0 0 2 * * *"},
				Scope: []policy.ScopeRule{
					{Repositories: policy.Selector{Matches: []string{"**"}, Excludes: []string{"test/**", "**/scratch"}}, Tags: one("v*")},
					{Repositories: one("base"), Tags: one("latest", "stable")},
				},
				Index: policy.IndexOnly, Key: "release", Formats: []policy.Format{policy.FormatCosign}, Domain: "images.example.com",
			},
			{
				Name: "mirrored", Enabled: &off, Registry: "mirror", Trigger: policy.Trigger{Type: policy.Manual},
				Scope: []policy.ScopeRule{{Namespaces: policy.Selector{Excludes: []string{"tmp", "ci-*"}}, Repositories: one("**"), Tags: one("**"), Untagged: true}},
				Index: policy.IndexBoth, Key: "archive",
			},
		},
		State: "/var/lib/sealwright", Remember: DefaultRemember, DriftScan: DefaultDriftScan,
		MinScheduleInterval: DefaultMinScheduleInterval, AuditRetention: DefaultAuditRetention,
	}
	got := *c
	got.root, got.policies, got.notes = want.root, want.policies, want.notes
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Config{}), cmp.Comparer(func(a, b place) bool { return a == b })); diff != "" {
		t.Errorf("full.yaml (-want +got):\n%s", diff)
	}
}

// TestKept: what is kept how long, and how far apart ticks must be.
func TestKept(t *testing.T) {
	for text, want := range map[string][2]time.Duration{
		"{}": {time.Minute, 365 * 24 * time.Hour},
		"{min_schedule_interval: 1s, audit_retention: 36h}":    {time.Second, 36 * time.Hour},
		"{min_schedule_interval: 24h, audit_retention: \"0\"}": {24 * time.Hour, 0},
		"{min_schedule_interval: 1d, audit_retention: 3650d}":  {24 * time.Hour, 3650 * 24 * time.Hour},
	} {
		c := mustParse(t, text)
		if got := [2]time.Duration{c.MinScheduleDuration(), c.AuditDuration()}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestLookups(t *testing.T) {
	c, err := Load("examples/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := c.Registry("mirror"); !ok || r.Host != "localhost:5000" {
		t.Errorf("registry mirror is %+v, %t", r, ok)
	}
	if k, ok := c.Key("08408a30-0416-11ed-abdc-52540036b432"); !ok || k.Name != "release" || k.File() != "/etc/sealwright/release.key" {
		t.Errorf("the key of that alias is %+v, %t", k, ok)
	}
	if p, ok := c.Policy("mirrored"); !ok || p.Key != "archive" {
		t.Errorf("policy mirrored is %+v, %t", p, ok)
	}
	_, r := c.Registry("nosuch")
	_, k := c.Key("")
	_, p := c.Policy("nosuch")
	if r || k || p {
		t.Error("something is found that is not there")
	}
}

func TestPolicyFilesAreReadInOrderAndOnce(t *testing.T) {
	one := "policies:\n- {name: %s, registry: r, key: k, trigger: {type: manual}, scope: [{repositories: '**', untagged: true}]}\n"
	dir := write(t, map[string]string{
		"main.yaml": "registries: [{name: r, host: r.example.com}]\nkeys: [{name: k, uri: 'file:k'}]\n" +
			"policy_files: [z.yaml, d/*.yaml, d/b.yaml, d/*.yml]\n" + fmt.Sprintf(one, "first"),
		"z.yaml":      fmt.Sprintf(one, "z"),
		"d/a.yaml":    fmt.Sprintf(one, "a"),
		"d/b.yaml":    fmt.Sprintf(one, "b"),
		"d/c.ignored": "nonsense: [",
	})
	c, err := Load(filepath.Join(dir, "main.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range c.Policies {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"first", "z", "a", "b"}, names); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if !slices.ContainsFunc(c.Warnings(), func(w Fault) bool {
		return strings.HasSuffix(w.Error(), "main.yaml:3: policy_files[3]: matches no file")
	}) {
		t.Errorf("no warning about the glob that matches nothing in %v", c.Warnings())
	}
}

// TestConfigMapDirectory reads policies through the symbolic links of which
// Kubernetes makes a mounted ConfigMap.
func TestConfigMapDirectory(t *testing.T) {
	dir := write(t, map[string]string{
		"main.yaml":      "registries: [{name: r, host: r.example.com}]\nkeys: [{name: k, uri: 'file:k'}]\npolicy_files: [d/*.yaml]\n",
		"d/..1/one.yaml": "policies:\n- {name: one, registry: r, key: k, trigger: {type: manual}, scope: [{repositories: '**', untagged: true}]}\n",
	})
	for link, target := range map[string]string{"d/..data": "..1", "d/one.yaml": "..data/one.yaml"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "main.yaml"))
	if err != nil || len(c.Policies) != 1 {
		t.Fatalf("policies of %+v, %v; want one", c, err)
	}
}

func TestRelativePaths(t *testing.T) {
	c := mustParse(t, `
registries:
  - {name: a, host: a.example.com, auth: {docker_config: docker.json}}
  - {name: b, host: "b.example.com:5000", kind: distribution, storage: ../srv, auth: {username: u, password_file: p/w}}
keys:
  - {name: a, uri: "file:a.key", password_file: a.password}
  - {name: b, uri: "file:///abs/b.key", versions: {v1: "file:old/../b1.key"}}
  - {name: c, uri: "file:/abs/c.key"}
public_keys:
  - {id: k, version: v, public_key_file: vault.pub}
policies:
  - name: a
    registry: a
    trigger: {type: manual}
    scope: [{repositories: "**", tags: "**"}]
    key: a
    formats: [bundle]
    timestamp: {url: "https://tsa.example.com", ca: tsa.pem}
    transparency_log: https://rekor.example.com
    transparency_log_key: rekor.pub
state: state
`)
	got := []string{
		c.Registries[0].Auth.DockerConfig, c.Registries[1].Storage, c.Registries[1].Auth.PasswordFile,
		c.Keys[0].URI, c.Keys[0].PasswordFile, c.Keys[1].URI, c.Keys[1].Versions["v1"], c.Keys[2].URI, c.State,
		c.Policies[0].Timestamp[0].CA, c.Policies[0].TransparencyLogKey, c.PublicKeys[0].PublicKeyFile,
	}
	want := []string{
		"/etc/docker.json", "/srv", "/etc/p/w",
		"file:/etc/a.key", "/etc/a.password", "file:/abs/b.key", "file:/etc/b1.key", "file:/abs/c.key", "/etc/state",
		"/etc/tsa.pem", "/etc/rekor.pub", "/etc/vault.pub",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestPathsAreRelativeToTheFileNotTheProcess(t *testing.T) {
	dir := write(t, map[string]string{"sub/main.yaml": "keys: [{name: k, uri: 'file:k.key'}]\n"})
	t.Chdir(dir)
	c, err := Load("sub/main.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "sub", "k.key"); c.Keys[0].File() != want {
		t.Errorf("the key is at %s, want %s", c.Keys[0].File(), want)
	}
}

func TestStates(t *testing.T) {
	for _, state := range []string{
		"postgres://db/sealwright", "postgresql://user@db:5432/sealwright?sslmode=verify-full", "postgres:///sealwright?host=/run/postgresql",
	} {
		if c := mustParse(t, "state: "+state); c.State != state {
			t.Errorf("state %s became %s", state, c.State)
		}
	}
	if c := mustParse(t, "registries: []"); c.State != DefaultState {
		t.Errorf("state is %s by default, want %s", c.State, DefaultState)
	}
	for _, state := range []string{"postgres:db", "postgres:///sealwright", "http://db", "postgres://db/x?password=hunter2", "postgres://u:hunter2@[db/x"} {
		_, err := Parse("a.yaml", strings.NewReader("state: "+state))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("state %q: %v; want an error without the password", state, err)
		}
	}
}

func TestHosts(t *testing.T) {
	for host, valid := range map[string]bool{
		"registry.example.com": true, "registry": true, "Registry.Example.com:443": true, "localhost:5000": true,
		"10.0.0.1": true, "10.0.0.1:5000": true, "[::1]": true, "[fd00::1]:5000": true, "xn--bcher-kva.example": true,
		"": false, "::1": false, "[::1": false, "[localhost]": false, "[localhost]:80": false, "registry:": false, "registry:0": false,
		"registry:65536": false, "registry:http": false, "user@registry": false, "a..b": false, "a b": false, "-a": false,
		"under_score": false, strings.Repeat("a", 64): false, "a:1:2": false, "registry.example.com.": false,
	} {
		if got := validHost(host); got != valid {
			t.Errorf("%q is taken for a host: %t, want %t", host, got, valid)
		}
	}
}

// TestAnchors proves that a value may be written once and used again.
func TestAnchors(t *testing.T) {
	c := mustParse(t, `
registries:
  - {name: a, host: a.example.com, limits: &slow {concurrency: 2}}
  - {name: b, host: b.example.com, limits: *slow}
`)
	if c.Registries[1].Limits != c.Registries[0].Limits || c.Registries[1].Limits.Concurrency != 2 {
		t.Errorf("limits %+v and %+v", c.Registries[0].Limits, c.Registries[1].Limits)
	}
}

// TestAliasBomb proves that a small file cannot stand for endlessly many
// values, neither of ours nor of a selector.
func TestAliasBomb(t *testing.T) {
	patterns := "[" + strings.Repeat("a,", 2000) + "a]"
	policies := "policies:\n- {name: a, scope: [{tags: &t " + patterns + "}" + strings.Repeat(", {tags: *t}", 1000) + "]}\n"
	aliases := "keys:\n- {name: a, aliases: &t " + patterns + "}\n" + strings.Repeat("- {aliases: *t}\n", 1000)
	for name, text := range map[string]string{"selectors": policies, "values": aliases} {
		_, err := Parse("bomb.yaml", strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), "is beyond the first 250000 values") {
			t.Errorf("%s: %.200v", name, err)
		}
	}
}

func TestUnreadable(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "nosuch.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	broken := errors.New("broken")
	if _, err := Parse("a.yaml", iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("a broken file: %v", err)
	}
	for text, want := range map[string]string{
		"":                              "a.yaml:1: is empty; allowed: a configuration",
		"state: \xff":                   "a.yaml: is not YAML: invalid leading UTF-8 octet (value: 255)",
		strings.Repeat(" ", MaxFile+1):  "a.yaml: is larger than 4 MiB; allowed: at most 4194304 bytes",
		"policy_files: ['*.yaml', one]": "a.yaml:1: policy_files[0]: cannot be read: broken\na.yaml:1: policy_files[1]: cannot be read: broken",
	} {
		stub := files{
			glob: func(pattern string) ([]string, error) { return []string{pattern}, nil },
			open: func(path string) (io.ReadCloser, error) {
				if path == "one" {
					return nil, broken
				}
				return io.NopCloser(iotest.ErrReader(broken)), nil
			},
		}
		if _, err := parse("a.yaml", strings.NewReader(text), stub); err == nil || err.Error() != want {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
	largest := "state: /x #" + strings.Repeat("x", MaxFile-len("state: /x #"))
	if _, err := Parse("a.yaml", strings.NewReader(largest)); err != nil {
		t.Errorf("a file of exactly 4 MiB: %v", err)
	}
}

// TestErrorsAreSorted also proves that Errors can be taken apart.
func TestErrorsAreSorted(t *testing.T) {
	_, err := Load("testdata/bad/everything-at-once.yaml")
	faults, ok := errors.AsType[Errors](err)
	if !ok || len(faults) < 15 {
		t.Fatalf("%T with %d faults", err, len(faults))
	}
	for i := 1; i < len(faults); i++ {
		if a, b := faults[i-1], faults[i]; a.Line > b.Line || a.Line == b.Line && a.Column > b.Column {
			t.Errorf("%v stands before %v", a, b)
		}
	}
	for _, f := range faults {
		if f.File == "" || f.Line == 0 || f.Column == 0 || f.Field == "" || f.Problem == "" {
			t.Errorf("incomplete fault %+v", f)
		}
	}
}

// FuzzParse proves that any input gives a configuration or an error, and that
// an error never is empty.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"examples/*.yaml", "examples/*/*.yaml", "testdata/bad/*.yaml", "testdata/bad/d/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatal("no seeds for ", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Add("\"\": x\nkeys: [{\"\": x, versions: {\"\": x, \"a.b[\": x}}]")
	f.Fuzz(func(t *testing.T, text string) {
		itself := files{
			glob: func(pattern string) ([]string, error) { return []string{"a.yaml"}, nil },
			open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
		}
		c, err := parse("a.yaml", strings.NewReader(text), itself)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		if err == nil {
			c.Warnings()
			for i := range c.Policies {
				if faults := c.Policies[i].Validate(); faults != nil {
					t.Errorf("invalid policy: %v", faults)
				}
			}
			return
		}
		faults, ok := errors.AsType[Errors](err)
		if !ok || len(faults) == 0 {
			t.Fatalf("%T %v is no list of faults", err, err)
		}
	})
}
