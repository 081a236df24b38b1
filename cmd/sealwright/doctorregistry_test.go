package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// diagnosed returns what doctor says of a registry, without its digests.
func diagnosed(t *testing.T, fields string, secrets ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for i, secret := range secrets {
		if err := os.WriteFile(filepath.Join(dir, "secret"+string(rune('1'+i))), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := oneRegistry("insecure: true, " + strings.ReplaceAll(fields, "DIR", dir))
	text, _, _ = strings.Cut(text, "keys:")
	c, err := configs.Parse(filepath.Join(dir, "sealwright.yaml"), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	d := &doctor{app: &app{out: &out, output: "text"}, opener: &opener{}, config: c}
	err = d.run(t.Context())
	for _, secret := range secrets {
		if strings.Contains(out.String(), secret) {
			t.Errorf("doctor says the secret:\n%s", out.String())
		}
	}
	return strings.ReplaceAll(out.String(), dir, "DIR"), err
}

func TestDoctorOfEachRegistry(t *testing.T) {
	harbor, zot, ecr, plain, quay := registrytest.NewHarbor(t), registrytest.NewZot(t), registrytest.NewECR(t), registrytest.Memory(t), registrytest.NewQuay(t)
	for _, s := range []interface {
		Fill(*testing.T, int) registrytest.Filled
	}{harbor, zot, ecr} {
		s.Fill(t, 2)
	}
	plain.Push(t, "team/many:t00000", registrytest.Image(t))
	ecrAPI := "host: '" + ecr.Registry.Host + "', kind: ecr, api: 'http://" + ecr.API.Host + "', cloud: {region: eu-west-1, access_key: " +
		registrytest.ECRAccessKey + ", secret_file: DIR/secret1}"
	docker := `{"auths": {"` + harbor.Host + `": {"username": "` + registrytest.HarborUser + `", "password": "` + registrytest.HarborPassword + `"}}}`
	for _, tt := range []struct {
		name, fields string
		secrets      []string
		want         []string // lines that must be there, in this order
	}{
		{"harbor", "host: '" + harbor.Host + "', kind: harbor, auth: {username: '" + registrytest.HarborUser + "', password_file: DIR/secret1}",
			[]string{registrytest.HarborPassword}, []string{
				"  ok    kind        harbor, by the configuration",
				`  ok    login       user "robot$team+sealwright" with a password`,
				"  ok    catalog     lists repositories",
				"                     → Harbor's API v2.0, 100 a page",
				"                     → its artifacts, 100 a page; digests are in the listing: no request per tag",
				"  ok    untagged    can be seen",
				"                     → by the same listing, each read once",
				"                     → at most 50 requests a second, 16 at once",
			}},
		{"harbor detected", "host: '" + harbor.Host + "', kind: auto, auth: {docker_config: DIR/secret1}",
			[]string{docker}, []string{
				`  ok    kind        harbor: its tokens are for "harbor-registry", and /api/v2.0/ping answers`,
				`  ok    login       user "robot$team+sealwright", the entry of DIR/secret1`,
				"                     → Harbor's API v2.0, 100 a page",
			}},
		{"zot detected", "host: '" + zot.Host + "', kind: auto", nil, []string{
			"  ok    kind        zot: /v2/_oci/ext/discover lists the extension _zot",
			"  ok    login       anonymous",
			"                     → /v2/_catalog, 1000 a page",
			"                     → /v2/NAME/tags/list, 1000 a page; digests by zot's search, a page at a time; a HEAD for each tag that it does not know",
			"  ok    untagged    neither the distribution API nor zot's search lists untagged artifacts, and no storage directory is configured",
		}},
		{"ecr", ecrAPI, []string{registrytest.ECRSecretKey}, []string{
			"  ok    kind        ecr, by the configuration",
			"  ok    login       AWS credentials of cloud.access_key, exchanged for a password of the registry",
			"                     → DescribeRepositories, 1000 a page",
			"                     → DescribeImages, 1000 a page; digests are in the listing: no request per tag",
			"  ok    untagged    can be seen",
		}},
		{"generic detected", "host: '" + plain.Host + "', kind: auto", nil, []string{
			"  ok    kind        generic: nothing that it answers tells it from other registries",
			"                     → /v2/NAME/tags/list, 1000 a page; one HEAD per tag, for its digest",
			"  ok    untagged    the distribution API does not list untagged artifacts",
		}},
		{"quay without its token", "host: '" + quay.Host + "', kind: auto", nil, []string{
			`  warn  kind        /api/v1/discovery describes the API of "Quay Frontend"`,
			"                     → generic: it looks like quay, which cannot be used as it is configured (cloud.secret_file: want the file of an OAuth token with the scopes repo:read and user:read: Quay's API takes no other login)",
			"  ok    login       anonymous",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, _ := diagnosed(t, tt.fields, tt.secrets...)
			t.Log("\n" + said)
			var got []string
			for line := range strings.Lines(said) {
				line = strings.TrimRight(line, "\n")
				if len(got) < len(tt.want) && line == tt.want[len(got)] {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lines in this order (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDoctorOfWhatDoesNotAnswer: a kind that cannot be found out is a failure.
func TestDoctorOfWhatDoesNotAnswer(t *testing.T) {
	s := registrytest.Memory(t)
	s.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	})
	said, err := diagnosed(t, "host: '"+s.Host+"', kind: auto")
	if err == nil || !strings.Contains(said, "  FAIL  kind        finding out which kind of registry "+s.Host+" is (kind says it without asking): not supported by the registry: GET /v2/ answers 404") {
		t.Errorf("%v\n%s", err, said)
	}
}
