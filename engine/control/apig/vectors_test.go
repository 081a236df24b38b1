package apig

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/journal"
)

// The values of the vendor's examples.
const (
	exampleKey     = "0b0e8f456b8742218af75f945307173c"
	exampleHex     = "a071a20d460a4f639a636c3d7e3d8163" // a sign_key that was generated
	exampleBinding = "25082bd52f74442bb1d273993d567938"
	exampleAPI     = "5f918d104dc84480a75166ba99efff21"
	examplePublish = "40e7162dc6b94bbbbb1a60d2a24b1b0c"
	exampleUpdated = "2020-08-03T03:50:14.989785802Z"
	exampleBound   = "2020-08-03T04:00:11.638167852Z"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// wantMembers fails unless a value is written with these members.
func wantMembers(t *testing.T, value any, want map[string]any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			delete(got, name)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: %s", text, d)
	}
}

// TestExampleKeys: the example's bodies are what we take, their keys of the type that
// they have, and the key is answered as the example has it, to the nanosecond.
func TestExampleKeys(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"signkeysignkey", exampleHex} {
		w, err := parseWish([]byte(`{"name":"signature_demo","sign_key":"` + key + `","sign_secret":"sig-example-secret"}`))
		if err == nil {
			err = w.fill()
		}
		if err != nil || w.kind != typeHMAC || w.key != key || w.secret != "sig-example-secret" {
			t.Errorf("%s: %+v, %v", key, w, err)
		}
	}
	// A key that begins with a digit is none of type basic.
	w, err := parseWish([]byte(`{"name":"signature_demo","sign_type":"basic","sign_key":"` + exampleKey + `"}`))
	if err != nil || w.fill() == nil {
		t.Errorf("%+v, %v", w, err)
	}
	k := journal.SignatureKey{ID: exampleKey, Name: "signature_demo", Type: typeHMAC, Key: "signkeysignkey", UpdatedAt: at(t, exampleUpdated), CreatedAt: at(t, "2020-08-03T03:39:38.119032659Z")}
	wantMembers(t, masked(k), map[string]any{"name": "signature_demo", "id": exampleKey, "sign_key": "signkeysignkey", "sign_type": "hmac", "sign_secret": mask,
		"update_time": exampleUpdated, "create_time": "2020-08-03T03:39:38.119032659Z"})
}

// TestExampleBinding: the example's binding is read, and answered as it is there; only
// that an API of ours is published under its own id.
func TestExampleBinding(t *testing.T) {
	t.Parallel()
	id, apis, err := parseBinding([]byte(`{"sign_id":"` + exampleKey + `","publish_ids":["` + examplePublish + `"]}`))
	if err != nil || id != exampleKey || !slices.Equal(apis, []string{examplePublish}) {
		t.Errorf("%s, %s, %v", id, apis, err)
	}
	for _, id := range []string{exampleKey, exampleBinding} {
		if !isID(id) || isID(id[1:]) || isID(id+"0") {
			t.Errorf("%s is no id, or what is near it is one", id)
		}
	}
	k := journal.SignatureKey{ID: exampleKey, Name: "signature_demo", Type: typeHMAC, Key: "signkeysignkey"}
	b := bindingOf(journal.SignatureBinding{ID: exampleBinding, API: exampleAPI, BoundAt: at(t, exampleBound)}, API{ID: exampleAPI, Name: "Api_demo", Kind: "sinks"}, k)
	wantMembers(t, keyed(b, k), map[string]any{"id": exampleBinding, "api_id": exampleAPI, "publish_id": exampleAPI, "api_name": "Api_demo", "sign_id": exampleKey,
		"sign_name": "signature_demo", "sign_key": "signkeysignkey", "sign_secret": mask, "sign_type": "hmac", "binding_time": exampleBound,
		"env_id": "DEFAULT_ENVIRONMENT_RELEASE_ID", "env_name": "RELEASE"})
}
