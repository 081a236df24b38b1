package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestOneRepositoryOfManyIsForbidden: a repository that may not be listed costs
// none of the others anything. It is named in the summary, in the log and in the
// journal, and the run fails for it.
func TestOneRepositoryOfManyIsForbidden(t *testing.T) {
	const repos, covered = 500, 20
	s := registrytest.Distribution(t)
	for _, size := range []struct{ repos, tags int }{{repos, 1}, {covered, 2}} { // v0 everywhere, v1 here and there
		if _, err := registrytest.Fill(s.Root, size.repos, size.tags); err != nil {
			t.Fatal(err)
		}
	}
	const forbidden = "team-07/app-0007"
	s.Intercept(func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/"+forbidden+"/tags/list" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			registry.ServeHTTP(w, r)
		})
	})
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if _, err := generate(policy.ECDSASHA256, 0, filepath.Join(dir, "release"), nil); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, localConfig)
	text := fmt.Sprintf(`registries: [{name: test, host: %q, insecure: true, limits: {requests_per_second: 5000, concurrency: 8}}]
keys: [{name: release, uri: "file:release.key"}]
policies: [{name: all, registry: test, key: release, trigger: {type: manual}, scope: [{repositories: "**", tags: "v1"}]}]
state: %q
`, s.Host, state)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := command(t, "run", "--once", "--config", config)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 1 {
		t.Fatalf("ended with %v, want exit code 1\n%s%s", err, &stdout, &stderr)
	}
	for where, text := range map[string]string{"summary": stdout.String(), "log": stderr.String()} {
		if !strings.Contains(text, forbidden) || !strings.Contains(text, "forbidden") {
			t.Errorf("the %s does not name the repository and the reason:\n%s", where, text)
		}
	}
	wantOneTaskFailed(t, state, forbidden, repos, covered-1)
}

// wantOneTaskFailed fails unless the only execution failed for that repository
// alone, and signed so many artifacts.
func wantOneTaskFailed(t *testing.T, state, repository string, repos, signed int) {
	t.Helper()
	j, err := journal.OpenReadOnly(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	xs, err := j.Executions(t.Context(), journal.ExecutionFilter{Limit: 10})
	if err != nil || len(xs) != 1 {
		t.Fatalf("%d executions, %v", len(xs), err)
	}
	x := xs[0]
	if x.Status != journal.Failed || x.Tasks != int64(repos) || x.Counts.Total != int64(signed) || x.Counts.Reasons["signed"] != int64(signed) {
		t.Errorf("the execution ended as %s, want %d repositories and %d signed", encoded(t, x), repos, signed)
	}
	tasks, err := j.Tasks(t.Context(), x.ID, 0, 2*repos)
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, task := range tasks {
		if task.Status != journal.Succeed {
			failed = append(failed, fmt.Sprint(task.Repository, " ", task.Status, " ", task.Reason))
		}
	}
	if want := repository + " Failed forbidden"; len(failed) != 1 || failed[0] != want {
		t.Errorf("failed tasks: %v, want only %s", failed, want)
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
