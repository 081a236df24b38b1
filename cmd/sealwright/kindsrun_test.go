package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestKindsAreSigned runs a policy over registries with listings of their own, as
// they are configured: with the names and logins of their vendors. coverage says
// what the kind cannot see.
func TestKindsAreSigned(t *testing.T) {
	harbor, quay, zot, ecr := registrytest.NewHarbor(t), registrytest.NewQuay(t), registrytest.NewZot(t), registrytest.NewECR(t)
	harborLogin := `{"auths": {"` + harbor.Host + `": {"username": "` + registrytest.HarborUser + `", "password": "` + registrytest.HarborPassword + `"}}}`
	for _, tt := range []struct {
		name, fields string
		fill         func(*testing.T, int) registrytest.Filled
		secrets      map[string]string
		unseen       string // "" if everything is seen
	}{
		{"harbor", "host: '" + harbor.Host + "', kind: harbor, auth: {username: '" + registrytest.HarborUser + "', password_file: password}",
			harbor.Fill, map[string]string{"password": registrytest.HarborPassword}, ""},
		{"harbor detected, with a pull secret", "host: '" + harbor.Host + "', kind: auto, auth: {docker_config: pull}",
			nil, map[string]string{"pull/.dockerconfigjson": harborLogin}, ""},
		{"quay", "host: '" + quay.Host + "', kind: quay, auth: {username: '" + registrytest.QuayRobot + "', password_file: password}, cloud: {secret_file: token}",
			quay.Fill, map[string]string{"password": registrytest.QuayPassword, "token": registrytest.QuayToken}, "Quay lists tags, and soon deletes what has none"},
		{"zot detected", "host: '" + zot.Host + "', kind: auto", zot.Fill, nil, "no storage directory is configured"},
		{"zot with storage", "host: '" + zot.Host + "', kind: zot, storage: '" + zot.Root + "'", nil, nil, ""},
		{"ecr", "host: '" + ecr.Registry.Host + "', kind: ecr, api: 'http://" + ecr.API.Host + "', cloud: {region: eu-west-1, access_key: " + registrytest.ECRAccessKey + ", secret_file: secret}",
			ecr.Fill, map[string]string{"secret": registrytest.ECRSecretKey}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			write := func(name, content string) {
				t.Helper()
				if err := os.MkdirAll(filepath.Dir(at(name)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(at(name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for name, secret := range tt.secrets {
				write(name, secret)
			}
			write("sealwright.yaml", "registries: [{name: r, insecure: true, "+tt.fields+"}]\nkeys: [{name: k, uri: 'file:k.key'}]\nstate: state\n"+
				"policies: [{name: p, registry: r, key: k, trigger: {type: manual}, scope: [{repositories: '**', tags: '**', untagged: true}]}]\n")
			said := func(want int, args ...string) string {
				t.Helper()
				var out, errOut bytes.Buffer
				if got := execute(args, strings.NewReader(""), &out, &errOut); got != want {
					t.Fatalf("%v exits with %d, want %d\n%s%s", args, got, want, out.String(), errOut.String())
				}
				for name, secret := range tt.secrets {
					if strings.Contains(out.String()+errOut.String(), secret) {
						t.Errorf("%v says the secret in %s", args, name)
					}
				}
				return out.String()
			}
			said(exitOK, "key", "generate", "--out", at("k"))
			if tt.fill != nil {
				tt.fill(t, 3)
			}
			out := said(exitOK, "run", "--once", "--config", at("sealwright.yaml"))
			if !regexp.MustCompile(`(?m)^1 +p +manual +Succeed +3 +3 `).MatchString(out) {
				t.Errorf("run printed\n%s", out)
			}
			exit := exitOK
			if tt.unseen != "" {
				exit = exitFailed
			}
			out = said(exit, "coverage", "--config", at("sealwright.yaml"))
			if !regexp.MustCompile(`(?m)^p +k +1 +3 +3 +0 +0 +100.0 %$`).MatchString(out) || !strings.Contains(out, tt.unseen) ||
				strings.Contains(out, "cannot see") != (tt.unseen != "") {
				t.Errorf("coverage printed\n%s\nwant %q", out, tt.unseen)
			}
		})
	}
}
