//go:build interop

package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// A realHarbor is a Harbor that runs elsewhere, with an account that may make
// projects and robots in it.
type realHarbor struct {
	base     *url.URL
	user     string
	password string
}

func openRealHarbor(t *testing.T) *realHarbor {
	t.Helper()
	const how = "HARBOR=https://harbor.example.com HARBOR_USER=admin HARBOR_PASSWORD=... go test -tags interop -run '^TestInteropHarbor$' ./registry"
	h := &realHarbor{user: os.Getenv("HARBOR_USER"), password: os.Getenv("HARBOR_PASSWORD")}
	base, err := url.Parse(os.Getenv("HARBOR"))
	if err != nil || base.Host == "" || h.user == "" || h.password == "" {
		t.Fatalf("HARBOR, HARBOR_USER and HARBOR_PASSWORD are not set: install Harbor (https://goharbor.io), one for tests, then %s", how)
	}
	h.base = base
	return h
}

// ask is one request to Harbor's API. answer may be nil.
func (h *realHarbor) ask(ctx context.Context, method, path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, h.base.String()+harborPath+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.SetBasicAuth(h.user, h.password)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, said)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(said, answer)
}

// A harborRobot is a robot account of one project.
type harborRobot struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	Secret string `json:"secret"`
}

// robot makes a project, and a robot that has the permissions of the
// documentation in it, and those to delete, which the suite does. Both go when
// the test ends, with what is in the project.
func (h *realHarbor) robot(t *testing.T) (project string, robot harborRobot) {
	t.Helper()
	project = "sealwright-" + strings.ToLower(rand.Text()[:12])
	err := h.ask(t.Context(), http.MethodPost, "/projects", map[string]any{
		"project_name": project, "metadata": map[string]string{"public": "false"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // t's context has ended then
		if err := errors.Join(h.empty(context.Background(), project), h.ask(context.Background(), http.MethodDelete, "/projects/"+project, nil, nil)); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	var access []map[string]string
	for _, may := range []string{
		"repository list", "repository read", "repository pull", "repository push", "artifact list", "artifact read", "tag list",
		"repository delete", "artifact delete",
	} {
		resource, action, _ := strings.Cut(may, " ")
		access = append(access, map[string]string{"resource": resource, "action": action})
	}
	err = h.ask(t.Context(), http.MethodPost, "/robots", map[string]any{
		"name": "sealwright", "level": "project", "duration": 1,
		"permissions": []any{map[string]any{"kind": "project", "namespace": project, "access": access}},
	}, &robot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.ask(context.Background(), http.MethodDelete, fmt.Sprintf("/robots/%d", robot.ID), nil, nil); err != nil {
			t.Error(err)
		}
	})
	return project, robot
}

// empty deletes the repositories of a project.
func (h *realHarbor) empty(ctx context.Context, project string) error {
	for {
		var list []harborRepository
		if err := h.ask(ctx, http.MethodGet, "/projects/"+project+"/repositories?page_size=100", nil, &list); err != nil || len(list) == 0 {
			return err
		}
		for _, r := range list {
			name := url.PathEscape(url.PathEscape(strings.TrimPrefix(r.Name, project+"/")))
			if err := h.ask(ctx, http.MethodDelete, "/projects/"+project+"/repositories/"+name, nil, nil); err != nil {
				return err
			}
		}
	}
}

// filledHarbor writes n images to one repository, eight at a time.
func filledHarbor(t *testing.T, r Registry, repository string, n int) registrytest.Filled {
	t.Helper()
	f := registrytest.Filled{Repository: repository, Tags: map[string]string{}}
	config := putBlob(t, r, repository, ociConfig, `{}`)
	images := map[string][]byte{}
	for i := range n {
		tag := fmt.Sprintf("t%05d", i)
		images[tag] = encode(t, map[string]any{
			"schemaVersion": 2, "mediaType": ociManifest, "config": config, "layers": []any{}, "annotations": map[string]string{"n": tag},
		})
		f.Tags[tag] = sum(images[tag]).String()
	}
	var writers sync.WaitGroup
	turns := make(chan struct{}, 8)
	for tag, raw := range images {
		turns <- struct{}{}
		writers.Go(func() {
			defer func() { <-turns }()
			if _, err := r.PutManifest(t.Context(), repository, tag, ociManifest, raw); err != nil {
				t.Errorf("writing %s: %v", tag, err)
			}
		})
	}
	writers.Wait()
	return f
}

func putBlob(t *testing.T, r Registry, repository, mediaType, content string) entry {
	t.Helper()
	if _, err := r.PutBlob(t.Context(), repository, []byte(content)); err != nil {
		t.Fatal(err)
	}
	return describe(mediaType, []byte(content))
}

// Each check has a project of its own, of which a robot sees nothing but that.
func TestInteropHarbor(t *testing.T) {
	h := openRealHarbor(t)
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		project, robot := h.robot(t)
		s := registrytest.Before(t, h.base)
		cfg := config(s.Host)
		cfg.Kind, cfg.Keychain, cfg.PageSize = KindHarbor, Static(robot.Name, robot.Secret), 3
		r := open(t, cfg)
		target := suiteTarget(r, s)
		target.Prefix, target.Untagged, target.HidesReferrers, target.PageSize = project+"/", true, true, cfg.PageSize
		cfg.PageSize = 0
		target.Usual, target.UsualPage = suiteInventory{open(t, cfg)}, harborPage
		target.Many = 1000
		target.Fill = func(t *testing.T, n int) registrytest.Filled { return filledHarbor(t, r, project+"/team/many", n) }
		target.Concerns, target.Refuse = registrytest.HarborConcerns, registrytest.HarborForbids
		return target
	})
}
