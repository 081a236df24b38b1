package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // the driver named below
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sirupsen/logrus"

	"github.com/sealwright/sealwright/registry"
)

// notified starts a distribution that sends its notifications to a receiver,
// and returns a client of it and what was received.
func notified(t *testing.T, header http.Header) (registry.Registry, <-chan Delivery) {
	t.Helper()
	logrus.SetOutput(io.Discard)
	ours := httptest.NewUnstartedServer(nil)
	host := ours.Listener.Addr().String()
	r := open(t, Config{Source: Distribution, Hosts: []string{host}, Secret: secretOf(secret)})
	received := make(chan Delivery, 100)
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		d, err := r.Receive(req.Context(), req.Header, body)
		if err != nil {
			t.Errorf("%v: %s", err, body)
		}
		received <- d
	}))
	cfg := &configuration.Configuration{
		Version: configuration.CurrentVersion,
		Storage: configuration.Storage{"inmemory": nil, "maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}}},
		Notifications: configuration.Notifications{
			EventConfig: configuration.Events{IncludeReferences: true},
			Endpoints: []configuration.Endpoint{{
				Name: "sealwright", URL: listener.URL, Headers: header, Timeout: 10 * time.Second, Threshold: 1, Backoff: time.Second,
			}},
		},
	}
	cfg.HTTP.Secret, cfg.Log.AccessLog.Disabled, cfg.Log.Level = "test", true, "panic"
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ours.Config.Handler = handlers.NewApp(ctx, cfg)
	ours.Start()
	t.Cleanup(ours.Close)
	t.Cleanup(listener.Close)
	client, err := registry.Open(registry.Config{Name: "test", Host: host, Kind: registry.KindGeneric, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	return client, received
}

// A pusher pushes to the repository team/app.
type pusher struct {
	t     *testing.T
	store registry.Store
}

func (p pusher) blob(mediaType, content string) map[string]any {
	p.t.Helper()
	digest, err := p.store.PutBlob(p.t.Context(), "team/app", []byte(content))
	if err != nil {
		p.t.Fatal(err)
	}
	return map[string]any{"mediaType": mediaType, "digest": digest.String(), "size": len(content)}
}

func (p pusher) put(tag, mediaType string, manifest map[string]any) v1.Hash {
	p.t.Helper()
	manifest["schemaVersion"], manifest["mediaType"] = 2, mediaType
	raw, err := json.Marshal(manifest)
	if err != nil {
		p.t.Fatal(err)
	}
	digest, _, err := v1.SHA256(strings.NewReader(string(raw)))
	if err != nil {
		p.t.Fatal(err)
	}
	ref := tag
	if tag == "" {
		ref = digest.String()
	}
	if _, err := p.store.PutManifest(p.t.Context(), "team/app", ref, mediaType, raw); err != nil {
		p.t.Fatal(err)
	}
	return digest
}

// TestDistributionItself: a real distribution tells of images, indexes and
// signatures in every layout; only the former come through.
func TestDistributionItself(t *testing.T) {
	const (
		image, index   = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
		config, layer  = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"
		empty, bundle  = "application/vnd.oci.empty.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json"
		notary, cosign = "application/vnd.cncf.notary.signature", "application/vnd.dev.cosign.simplesigning.v1+json"
	)
	client, received := notified(t, http.Header{"Authorization": {"Bearer " + secret}})
	p := pusher{t, client}
	first := p.put("v1", image, map[string]any{"config": p.blob(config, "{}"), "layers": []any{p.blob(layer, "one")}})
	subject := map[string]any{"mediaType": image, "digest": first.String(), "size": 1}
	second := p.put("", image, map[string]any{"config": p.blob(config, "{}"), "layers": []any{p.blob(layer, "two")}})
	both := p.put("both", index, map[string]any{"manifests": []any{
		map[string]any{"mediaType": image, "digest": first.String(), "size": 1, "artifactType": config},
		map[string]any{"mediaType": image, "digest": second.String(), "size": 1, "artifactType": config},
	}})
	// Under a tag of its own, an index of artifacts is what somebody released.
	chart := map[string]any{"mediaType": image, "digest": second.String(), "size": 1, "artifactType": "application/vnd.cncf.helm.config.v1+json"}
	charts := p.put("charts", index, map[string]any{"manifests": []any{chart}})
	// Signatures: cosign's tag, a bundle and a notation signature by digest, the
	// fallback index under its tag and by digest.
	p.put(registry.FallbackTag(first)+".sig", image, map[string]any{"config": p.blob(config, "{}"), "layers": []any{p.blob(cosign, "signed")}})
	p.put("", image, map[string]any{"config": p.blob(config, "{}"), "layers": []any{p.blob(cosign, "signed too")}})
	signature := p.put("", image, map[string]any{"artifactType": bundle, "config": p.blob(empty, "{}"), "layers": []any{p.blob(bundle, "bundle")}, "subject": subject})
	p.put("", image, map[string]any{"config": p.blob(notary, "{}"), "layers": []any{p.blob("application/jose+json", "jws")}, "subject": subject})
	referrers := []any{map[string]any{"mediaType": image, "digest": signature.String(), "size": 1, "artifactType": bundle}}
	p.put(registry.FallbackTag(first), index, map[string]any{"manifests": referrers})
	p.put("", index, map[string]any{"manifests": referrers, "annotations": map[string]string{"a": "b"}})
	if _, err := client.Manifest(t.Context(), "team/app", "v1"); err != nil {
		t.Fatal(err)
	}
	last := p.put("last", image, map[string]any{"config": p.blob(config, "{}"), "layers": []any{p.blob(layer, "last")}})

	var got []Push
	ignored := map[Reason]int{}
	for done := false; !done; { // distribution sends one after the other
		select {
		case d := <-received:
			for reason, n := range d.Ignored {
				ignored[reason] += n
			}
			for _, push := range d.Pushes {
				if time.Since(push.At).Abs() > time.Hour {
					t.Errorf("%s was pushed %s", push.Tag, push.At)
				}
				push.At = time.Time{}
				got, done = append(got, push), push.Tag == "last"
			}
		case <-time.After(time.Minute):
			t.Fatal(errors.New("nothing more came"))
		}
	}
	want := []Push{
		{Repository: "team/app", Tag: "v1", Digest: first.String()}, {Repository: "team/app", Digest: second.String()},
		{Repository: "team/app", Tag: "both", Digest: both.String()},
		{Repository: "team/app", Tag: "charts", Digest: charts.String()}, {Repository: "team/app", Tag: "last", Digest: last.String()},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if ignored[Signature] != 6 || ignored[NotAManifest] < 8 || ignored[OtherAction] < 1 {
		t.Error(fmt.Sprint("left aside: ", ignored))
	}
}
