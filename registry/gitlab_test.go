package registry

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// gitlabAPI is a GitLab, and the configuration that finds it.
func gitlabAPI(t *testing.T, host string, c *registrytest.Contents, api registrytest.GitLabAPI) Config {
	t.Helper()
	api.Token = exampleToken
	own := registrytest.GitLab(t, c, api)
	cfg := config(host)
	cfg.Kind, cfg.API = KindGitLab, "http://"+own.Host
	cfg.Cloud = Cloud{Project: "org/sub", Secret: secretOf(exampleToken)}
	return cfg
}

func TestSuiteGitLab(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		s := registrytest.Memory(t)
		cfg := gitlabAPI(t, s.Host, registrytest.Watch(t, s), registrytest.GitLabAPI{Groups: []string{"org/sub"}})
		cfg.PageSize = 10_000 // of tags: this server tells of no further page
		r := open(t, cfg)
		r.(*listed).lister.(*gitlabLister).size = 3
		target := suiteTarget(r, s)
		target.Prefix, target.PerArtifact = "org/sub/", 1
		return target
	})
}

// TestGitLabRepositories: of a group or of a project, counted or not.
func TestGitLabRepositories(t *testing.T) {
	t.Parallel()
	names := []string{"org/sub", "org/sub/a", "org/sub/b/c", "org/sub/d"}
	for name, api := range map[string]registrytest.GitLabAPI{
		"group": {Groups: []string{"org/sub"}}, "project": {Projects: []string{"org/sub"}},
		"uncounted": {Groups: []string{"org/sub"}, Uncounted: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := registrytest.Memory(t)
			cfg := gitlabAPI(t, s.Host, registrytest.Watch(t, s), api)
			cfg.PageSize = 2
			cfg.API += "/api/v4/"
			if api.Uncounted { // the registry's password does for the API
				cfg.Cloud.Secret, cfg.Keychain = nil, Static("signer", exampleToken)
			}
			r := open(t, cfg)
			for _, repository := range append(names, "org/subway") {
				pushImage(t, r, repository, "v1", repository)
			}
			var got []string
			for repository, err := range r.Repositories(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, repository)
			}
			slices.Sort(got)
			want(t, got, names, "repositories")
		})
	}
}

// TestGitLabNowhere: neither a group nor a project, and a token that is refused.
func TestGitLabNowhere(t *testing.T) {
	t.Parallel()
	cfg := gitlabAPI(t, "127.0.0.1:1", &registrytest.Contents{}, registrytest.GitLabAPI{})
	end := func(cfg Config) (end error) {
		for _, err := range open(t, cfg).Repositories(t.Context()) {
			end = err
		}
		return end
	}
	if err := end(cfg); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "groups") || !strings.Contains(err.Error(), "projects") {
		t.Errorf("nowhere: %v", err)
	}
	cfg.Cloud.Secret = secretOf("another")
	if err := end(cfg); !errors.Is(err, ErrUnauthorized) || strings.Contains(err.Error(), "another") {
		t.Errorf("refused: %v", err)
	}
}

// TestGitLabConfiguration: where GitLab is.
func TestGitLabConfiguration(t *testing.T) {
	t.Parallel()
	for host, api := range map[string]string{
		"registry.gitlab.com": "https://gitlab.com", "gitlab.example.com:5050": "https://gitlab.example.com", "registry.example.com": "",
	} {
		got, err := gitlabEndpoint(Config{Host: host})
		if got != api || (err == nil) != (api != "") {
			t.Errorf("%s: %s, %v", host, got, err)
		}
	}
	cfg := config("gitlab.example.com:5050")
	cfg.Kind, cfg.Cloud.Project = KindGitLab, "../admin"
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "cloud.project") {
		t.Errorf("project: %v", err)
	}
}

// FuzzGitLabDiagnostics: errors of any shape.
func FuzzGitLabDiagnostics(f *testing.F) {
	f.Add([]byte(`{"message":"404 Project Not Found"}`))
	f.Add([]byte(`{"message":{"base":["x"]}}`))
	f.Add([]byte(`{"error":"insufficient_scope","error_description":"x","scope":"api"}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if e := newResponseError(404, gitlabDiagnostics(body)); len(e.Message) > 2*maxMessage {
			t.Errorf("%q", e.Message)
		}
	})
}
