package event

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// TestMalformed: what a source would not send is refused with the place and
// what is wrong there.
func TestMalformed(t *testing.T) {
	const digest, short = "sha256:b5dbeb157ece895344f411db9f09c51fadfdcaed7f0231836bb9933647bc4502", "sha256:b5dbeb"
	for _, test := range []struct {
		file, old, new string // new replaces old once; an empty old is the whole body
		want           string
	}{
		{"distribution-child", "", "", "not one JSON value"},
		{"distribution-child", "", "null", "want an object, have null"},
		{"distribution-child", "", "[]", "want an object, have a list"},
		{"distribution-child", "", `{"events":[]} {}`, "not one JSON value"},
		{"distribution-child", "", `{"events":[]}x`, "not one JSON value"},
		{"distribution-child", "", "{\"events\":[],\"a\":\"\xff\"}", "UTF-8"},
		{"distribution-child", "", `{"events":{}}`, "events: want a list, have an object"},
		{"distribution-child", "", `{"Events":[]}`, "events: want a list, have null"},
		{"distribution-child", "", `{"events":[],"events":[]}`, `"events" stands twice`},
		{"distribution-child", "", `{"events":[1]}`, "events[0]: want an object, have a number"},
		{"distribution-child", `"action": "push"`, `"action": 1`, "events[0].action: want a string, have a number"},
		{"distribution-child", `"action": "push"`, `"action": ""`, "events[0].action: is missing"},
		{"distribution-child", `"action": "push"`, `"action": "push", "action": "pull"`, `"action" stands twice`},
		{"distribution-child", `"` + digest + `",` + "\n" + `            "size"`, `"` + short + `", "size"`, `events[0]: digest "sha256:b5dbeb" is not valid`},
		{"distribution-child", `"` + digest + `",` + "\n" + `            "size"`, `"", "size"`, "events[0]: neither tag nor digest"},
		{"distribution-child", `"` + digest + `",` + "\n" + `            "size"`, `["` + digest + `"], "size"`, "events[0].target.digest: want a string, have a list"},
		{"distribution-child", `"repository": "prod/svc0000"`, `"repository": "prod/../svc"`, `events[0]: repository "prod/../svc" is not valid`},
		{"distribution-child", `"repository": "prod/svc0000"`, `"repository": "Prod"`, `repository "Prod" is not valid`},
		{"distribution-child", `"repository": "prod/svc0000"`, `"repository": "` + strings.Repeat("a", 256) + `"`, "is not valid"},
		{"distribution-child", `"repository": "prod/svc0000"`, `"repository": "a\u001b[2J"`, `repository "a\x1b[2J" is not valid`},
		{"distribution-child", `"repository": "prod/svc0000"`, `"repository": null`, `repository "" is not valid`},
		{"distribution-index", `"tag": "1.0.0"`, `"tag": "-1"`, `tag "-1" is not valid`},
		{"distribution-index", `"tag": "1.0.0"`, `"tag": "` + strings.Repeat("a", 129) + `"`, "is not valid"},
		{"distribution-child", `"timestamp": "2026`, `"timestamp": "26`, "events[0].timestamp:"},
		{"distribution-child", `"url": "http://`, `"url": "http://user:hunter2@%zz`, "events[0].target.url: is no URL"},
		{"distribution-child", `"references": [`, `"references": {"a": [`, "JSON"},
		{"distribution-child", `"mediaType": "application/vnd.oci.image.config.v1+json"`, `"mediaType": true`, "events[0].target.references[0].mediaType: want a string, have true or false"},
		{"acr-push", `"host": "myregistry.azurecr.io"`, `"host": ""`, "no host in request.host or target.url"},
		{"acr-push", `"target": {`, `"target": 1, "t": {`, "target: want an object"},

		{"harbor-push", `"occur_at":1795943068`, `"occur_at":"1795943068"`, "occur_at: want a number, have a string"},
		{"harbor-push", `"occur_at":1795943068`, `"occur_at":-1`, "occur_at: want seconds since 1970"},
		{"harbor-push", `"occur_at":1795943068`, `"occur_at":1e300`, "occur_at: want seconds since 1970"},
		{"harbor-push", `"occur_at":1795943068`, `"occur_at":1e999`, "occur_at: want seconds since 1970"},
		{"harbor-push", `"resources":[`, `"resources":[],"r":[`, "event_data.resources: is empty"},
		{"harbor-push", `"resource_url":"127.0.0.1:28080/prod/team/app:1.0"`, `"x":""`, "event_data.resources[0].resource_url: is missing"},
		{"harbor-push", `"repo_full_name":"prod/team/app"`, `"repo_full_name":""`, "event_data.repository.repo_full_name: is missing"},
		{"harbor-digest", `"digest":"` + harborHash, `"digest":"sha256:00` + harborHash[9:], "tag"},
		{"harbor-cloudevent", `"time":"2026`, `"time":"x`, `time: "x`},
		{"tcr-push", `"tag": "v1.10.0"`, `"tag": ["v1.10.0"]`, "event_data.resources[0].tag: want a string"},

		{"zot-image", `"mediaType":"application/vnd.oci`, `"mediaType":1,"x":"application/vnd.oci`, "mediaType: want a string"},
		{"zot-image", `"reference":"latest"`, `"reference":""`, "reference: is missing"},

		{"quay-push", `quay.io/mynamespace/repository",`, `quay.io/other/repository",`, "docker_url: "},
		{"quay-push", `"latest"`, `{"latest": "abc"}`, "updated_tags[0]: want a string"},
		{"quay-push", `"latest"`, `""`, "updated_tags[0]: is missing"},

		{"gar-push", `"data": "`, `"data": "!`, "message.data: is not base64"},
		{"gar-push", `"message": {`, `"msg": {`, "message.data: is missing"},
		{"gar-push", "", garBody(`{"action":"INSERT"}`), "repository"},
		{"gar-push", "", garBody(`{"action":"INSERT","digest":"sha256:00"}`), "message.data.digest: "},
		{"gar-push", "", garBody(`{"action":"INSERT","tag":"us-east1-docker.pkg.dev/a"}`), "message.data.tag: "},
		{"gar-push", "", garBody(`{"action":"INSERT","tag":"us-east1-docker.pkg.dev/a:1","digest":"us-east1-docker.pkg.dev/b@` + busybox + `"}`), "of two repositories"},
		{"gar-push", "", garBody(`{"action":"INSERT","action":"DELETE"}`), `message.data: "action" stands twice`},
		{"gar-push", "", garBody(`x`), "message.data: not one JSON value"},

		{"ecr-push", `"account": "123456789012"`, `"account": "evil.example.com/"`, `account "evil.example.com/"`},
		{"ecr-push", `"region": "us-west-2"`, `"region": "us-west-2.evil.example.com"`, "region"},
		{"ecr-push", `"result": "SUCCESS"`, `"result": null`, "detail.result: is missing"},
		{"ecr-push", `"detail": {`, `"detail": "", "d": {`, "detail: want an object"},

		{"artifactory-push", `"tag": "1.0"`, `"tag": ""`, "data.tag: is missing"},
		{"artifactory-push", `"sha256": "dde8`, `"sha256": "xxxx`, "data: digest "},
		{"artifactory-push", `"image_name": "team/app"`, `"image_name": "/team/app"`, `data: repository "/team/app"`},
		{"dockerhub-push", `"pushed_at": 1417566161`, `"pushed_at": true`, "push_data.pushed_at: want a number"},
		{"dockerhub-push", `"push_data"`, `"pushed"`, "push_data.tag: is missing"},
	} {
		header, body := delivery(t, test.file)
		changed := []byte(test.new)
		if test.old != "" {
			if changed = bytes.Replace(body, []byte(test.old), []byte(test.new), 1); bytes.Equal(changed, body) {
				t.Errorf("%s has no %s", test.file, test.old)
				continue
			}
		}
		got, err := open(t, configOf(t, test.file)).Receive(t.Context(), header, changed)
		switch {
		case !errors.Is(err, ErrMalformed) || errors.Is(err, ErrForeign) || len(got.Pushes) > 0:
			t.Errorf("%s with %.60s: %v, %v", test.file, test.new, got.Pushes, err)
		case !strings.Contains(err.Error(), test.want):
			t.Errorf("%s with %.60s: %v; want %s", test.file, test.new, err, test.want)
		case len(err.Error()) > 400 || strings.Contains(err.Error(), "hunter2") || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }):
			t.Errorf("%s: the error is long, tells a secret or is not plain: %q", test.file, err)
		}
	}
}

func garBody(data string) string {
	return `{"message":{"data":"` + base64.StdEncoding.EncodeToString([]byte(data)) + `"}}`
}

// TestTolerated: what vendors may add, and what they may leave out.
func TestTolerated(t *testing.T) {
	for _, test := range []struct{ file, old, new string }{
		{"distribution-child", `"action": "push"`, `"action": "push", "meta": {"a": [1, null]}, "Action": "pull"`},
		{"distribution-child", `"url": "http://127.0.0.1:5002`, `"url": "`}, // http.relativeurls
		{"distribution-child", `"host": "127.0.0.1:5002"`, `"host": null`},
		{"distribution-child", `"timestamp": "2026-11-22T02:19:17.452264428Z"`, `"timestamp": null`},
		{"harbor-push", `"occur_at":1795943068`, `"occur_at":1795943068.5`},
		{"harbor-push", `"repo_type":"private"`, `"repo_type":"private"},"custom_attributes":{"a":"b"`},
		{"gar-push", `"publishTime": "2021-02-26T19:13:55.749Z"`, `"publishTime": ""`},
	} {
		header, body := delivery(t, test.file)
		changed := bytes.Replace(body, []byte(test.old), []byte(test.new), 1)
		if bytes.Equal(changed, body) {
			t.Errorf("%s has no %s", test.file, test.old)
		}
		if got, err := open(t, configOf(t, test.file)).Receive(t.Context(), header, changed); err != nil || len(got.Pushes) != 1 {
			t.Errorf("%s with %s: %v, %v", test.file, test.new, got, err)
		}
	}
}

// TestZotHeaders: what zot says in headers is as strict as a body.
func TestZotHeaders(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"Ce-Specversion", "0.3", "Ce-Specversion: want 1.0"},
		{"Ce-Type", "", "Ce-Type: is missing"},
		{"Ce-Time", "yesterday", "Ce-Time: "},
	} {
		header, body := delivery(t, "zot-image")
		header.Set(test.name, test.value)
		_, err := open(t, configOf(t, "zot-image")).Receive(t.Context(), header, body)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v", test.name, test.value, err)
		}
	}
	// The types of events may be called after somebody else.
	header, body := delivery(t, "zot-image")
	header.Set("Ce-Type", "com.example.image.updated")
	if got, err := open(t, configOf(t, "zot-image")).Receive(t.Context(), header, body); err != nil || len(got.Pushes) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestOtherDigests: an artifact that only a digest of another algorithm names
// cannot be told of.
func TestOtherDigests(t *testing.T) {
	header, body := delivery(t, "acr-digest")
	sha512 := "sha512:" + strings.Repeat("ab", 64)
	got, err := open(t, configOf(t, "acr-digest")).Receive(t.Context(), header, bytes.ReplaceAll(body, []byte(acrHash), []byte(sha512)))
	if err != nil || len(got.Pushes) > 0 || got.Ignored[OtherDigest] != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestKeyInNames: at a host of several repositories of Artifactory or Nexus,
// their keys are part of the names.
func TestKeyInNames(t *testing.T) {
	for name, want := range map[string]string{"artifactory-push": "docker-local/team/app", "nexus-component": "docker-hosted/team/app"} {
		cfg := configOf(t, name)
		cfg.KeyInNames = true
		header, body := delivery(t, name)
		got, err := open(t, cfg).Receive(t.Context(), header, body)
		if err != nil || got.Pushes[0].Repository != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestSignedBody: a signature is of these bytes and no others.
func TestSignedBody(t *testing.T) {
	for _, name := range []string{"nexus-component", "artifactory-signed"} {
		header, body := delivery(t, name)
		r := open(t, configOf(t, name))
		_, err := r.Receive(t.Context(), header, append(body, ' '))
		if !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s with a space more: %v", name, err)
		}
	}
	// Nexus never sends the secret itself.
	header, body := delivery(t, "nexus-component")
	header.Set(nexusHeader, secret)
	if _, err := open(t, configOf(t, "nexus-component")).Receive(t.Context(), header, body); !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
}
