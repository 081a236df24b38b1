package control_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
)

// listen serves an engine with one policy, "all", whose executions nobody
// carries out, and one that is disabled.
func listen(t *testing.T, path string) *control.Server {
	t.Helper()
	s, _ := listenWith(t, path)
	return s
}

func listenWith(t *testing.T, path string) (*control.Server, *journal.Journal) {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(t.Context(), journal.Options{State: filepath.Join(dir, "state")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	r, err := registry.Open(registry.Config{Name: "r", Host: "registry.example.com", Kind: "generic"})
	if err != nil {
		t.Fatal(err)
	}
	private, public, err := kms.Generate(policy.ECDSASHA256, 0)
	if err == nil {
		err = kms.WriteKeyPair(filepath.Join(dir, "k"), private, public)
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := kms.Open(t.Context(), kms.Config{URI: "file:" + filepath.Join(dir, "k.key")})
	if err != nil {
		t.Fatal(err)
	}
	off := false
	all := policy.Policy{Name: "all", Registry: "r", Key: "k", Trigger: policy.Trigger{Type: policy.Manual},
		Scope: []policy.ScopeRule{{Repositories: policy.Selector{Matches: []string{"**"}}, Tags: policy.Selector{Matches: []string{"**"}}}}}
	disabled := all
	disabled.Name, disabled.Enabled = "off", &off
	setup, err := engine.NewSetup([]policy.Policy{all, disabled}, map[string]*engine.Place{"r": engine.NewPlace(r, 1)}, map[string]engine.Key{
		"k":    {Signer: key, Certificates: []*x509.Certificate{{NotAfter: time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC)}, {NotAfter: time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC)}}},
		"lost": {Err: kms.ErrUnavailable},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(engine.Options{Journal: j, Setup: setup})
	s, err := control.Listen(t.Context(), path, control.Options{Engine: e, Journal: j, Log: zap.NewNop(),
		Rights: rights.New(rights.Options{Journal: j, Log: zap.NewNop()}),
		Health: control.NewHealth(control.HealthOptions{Dependencies: e.Dependencies, Log: zap.NewNop()})})
	if err != nil {
		t.Fatal(err)
	}
	return s, j
}

func onSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

// TestMetrics: the keys, their certificates and the registries' requests.
func TestMetrics(t *testing.T) {
	path := filepath.Join(t.TempDir(), control.SocketName)
	s := listen(t, path)
	defer func() { _ = s.Close(context.Background(), path) }()
	client := onSocket(path)
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://control/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	for _, want := range []string{
		`sealwright_key_usable{fingerprint="`, `,key="k",version=""} 1`,
		`sealwright_key_usable{fingerprint="",key="lost",version=""} 0`,
		`sealwright_certificate_expiry_timestamp_seconds{key="k"} 4.102444799e+09`,
		`go_goroutines `,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestFireAndFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), control.SocketName)
	s := listen(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, %v, want 0600", info.Mode(), err)
	}
	c := control.Dial(path)
	x, err := c.Fire(t.Context(), "all")
	if err != nil || x.Policy != "all" || x.Status != journal.Pending || x.Lane != journal.Live {
		t.Errorf("fired %+v, %v", x, err)
	}
	if again, err := c.Execution(t.Context(), x.ID); err != nil || again.ID != x.ID {
		t.Errorf("asked for %d, got %+v, %v", x.ID, again, err)
	}
	for name, want := range map[string]string{"nobody": `"nobody"`, "off": "disabled", "a/b c": `"a/b c"`} {
		if _, err := c.Fire(t.Context(), name); !errors.Is(err, control.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("firing %q: %v, want it refused with %s", name, err, want)
		}
	}
	if _, err := c.Execution(t.Context(), 99); !errors.Is(err, control.ErrRefused) {
		t.Errorf("an execution that is not there: %v", err)
	}
	if err := s.Close(context.Background(), path); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := c.Fire(t.Context(), "all"); err == nil || errors.Is(err, control.ErrRefused) {
		t.Errorf("firing without a daemon: %v", err)
	}
}

// TestFiringIsAudited: the audit log says which user of the system fired what, and the
// execution which request it was.
func TestFiringIsAudited(t *testing.T) {
	path := filepath.Join(t.TempDir(), control.SocketName)
	s, j := listenWith(t, path)
	defer func() { _ = s.Close(context.Background(), path) }()
	c := control.Dial(path)
	x, err := c.Fire(t.Context(), "all")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fire(t.Context(), "no\x00body"); !errors.Is(err, control.ErrRefused) {
		t.Fatal(err)
	}
	entries, err := j.AuditEntries(t.Context(), journal.AuditFilter{})
	if err != nil || len(entries) != 2 {
		t.Fatalf("%+v, %v", entries, err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	refused, fired := entries[0], entries[1]
	if fired.Caller != "local:"+me.Username || fired.API != "socket" || fired.Action != "trigger" || fired.Target != "r/all" || fired.Outcome != "done" ||
		fired.RequestID == "" || fired.RequestID != x.RequestID {
		t.Errorf("fired %+v by %+v", x, fired)
	}
	if refused.Caller != fired.Caller || refused.Target != "no\uFFFDbody" || refused.Outcome != "not done" || refused.RequestID == fired.RequestID {
		t.Errorf("refused %+v", refused)
	}
}

func TestListenReplacesOnlyADeadSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), control.SocketName)
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	s := listen(t, path) // replaces what the dead daemon left
	defer func() { _ = s.Close(context.Background(), path) }()
	if _, err := control.Listen(t.Context(), path, control.Options{Log: zap.NewNop()}); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("a second daemon on the socket: %v", err)
	}
}
