package registry

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

func dockerConfig(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// helper puts a docker-credential-NAME on PATH.
func helper(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func auth(userPassword string) string {
	return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte(userPassword)) + `"}`
}

func TestDockerConfig(t *testing.T) {
	helper(t, "vault", `read server; [ "$1" = get ] || exit 3; echo "{\"ServerURL\":\"$server\",\"Username\":\"from-vault\",\"Secret\":\"for $server\"}"`)
	helper(t, "token", `echo '{"Username":"<token>","Secret":"identity"}'`)
	helper(t, "empty", `echo "credentials not found in native keychain"; exit 1`)
	tests := map[string]struct {
		file, repository string
		want             authn.AuthConfig
	}{
		"auth":           {`{"auths":{"reg.example":` + auth("me:pass:word") + `}}`, "reg.example/app", authn.AuthConfig{Username: "me", Password: "pass:word"}},
		"plain fields":   {`{"auths":{"reg.example":{"username":"me","password":"pw"}}}`, "reg.example/app", authn.AuthConfig{Username: "me", Password: "pw"}},
		"identity token": {`{"auths":{"reg.example":{"identitytoken":"it"}}}`, "reg.example/app", authn.AuthConfig{IdentityToken: "it"}},
		"registry token": {`{"auths":{"reg.example":{"registrytoken":"rt"}}}`, "reg.example/app", authn.AuthConfig{RegistryToken: "rt"}},
		"old key":        {`{"auths":{"https://reg.example/v1/":` + auth("me:pw") + `}}`, "reg.example/app", authn.AuthConfig{Username: "me", Password: "pw"}},
		"docker hub":     {`{"auths":{"https://index.docker.io/v1/":` + auth("me:pw") + `}}`, "docker.io/library/app", authn.AuthConfig{Username: "me", Password: "pw"}},
		"longest key":    {`{"auths":{"reg.example":` + auth("a:1") + `,"reg.example/team":` + auth("b:2") + `}}`, "reg.example/team/app", authn.AuthConfig{Username: "b", Password: "2"}},
		"not a prefix":   {`{"auths":{"reg.example":` + auth("a:1") + `,"reg.example/tea":` + auth("b:2") + `}}`, "reg.example/team/app", authn.AuthConfig{Username: "a", Password: "1"}},
		"other port":     {`{"auths":{"reg.example:5000":` + auth("a:1") + `}}`, "reg.example/app", authn.AuthConfig{}},
		"nothing":        {`{}`, "reg.example/app", authn.AuthConfig{}},
		"helper":         {`{"auths":{"reg.example":{}},"credHelpers":{"reg.example":"vault"}}`, "reg.example/app", authn.AuthConfig{Username: "from-vault", Password: "for reg.example"}},
		"store":          {`{"credsStore":"vault"}`, "reg.example/app", authn.AuthConfig{Username: "from-vault", Password: "for reg.example"}},
		"store, hub":     {`{"credsStore":"vault"}`, "docker.io/library/app", authn.AuthConfig{Username: "from-vault", Password: "for https://index.docker.io/v1/"}},
		"helper first":   {`{"credsStore":"empty","credHelpers":{"reg.example":"token"}}`, "reg.example/app", authn.AuthConfig{IdentityToken: "identity"}},
		"helper, none":   {`{"credsStore":"empty"}`, "reg.example/app", authn.AuthConfig{}},
	}
	for name_, test := range tests {
		t.Run(name_, func(t *testing.T) {
			keychain, err := DockerConfig(dockerConfig(t, test.file))
			if err != nil {
				t.Fatal(err)
			}
			repository, err := name.NewRepository(test.repository)
			if err != nil {
				t.Fatal(err)
			}
			got, err := authn.Resolve(t.Context(), keychain, repository)
			if err != nil {
				t.Fatal(err)
			}
			config, err := authn.Authorization(t.Context(), got)
			if err != nil {
				t.Fatal(err)
			}
			want(t, *config, test.want, "credentials")
		})
	}
}

func TestDockerConfigIsReadAnew(t *testing.T) {
	file := dockerConfig(t, `{"auths":{"reg.example":`+auth("me:old")+`}}`)
	keychain, err := DockerConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(`{"auths":{"reg.example":`+auth("me:new")+`}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	registry, err := name.NewRegistry("reg.example")
	if err != nil {
		t.Fatal(err)
	}
	got, err := keychain.Resolve(registry)
	if err != nil {
		t.Fatal(err)
	}
	config, err := got.Authorization()
	if err != nil {
		t.Fatal(err)
	}
	want(t, config.Password, "new", "password")
}

func TestDockerConfigFaults(t *testing.T) {
	helper(t, "broken", `echo "geheim"; exit 1`)
	helper(t, "chatty", `head -c 3000000 /dev/zero`)
	files := map[string]string{
		"syntax":         `{"auths":{"reg.example":{"auth":"geheim`,
		"wrong type":     `{"auths":"geheim"}`,
		"not base64":     `{"auths":{"reg.example":{"auth":"geheim!"}}}`,
		"no colon":       `{"auths":{"reg.example":` + auth("geheim") + `}}`,
		"huge":           `{"geheim":"` + strings.Repeat("x", maxDockerConfig) + `"}`,
		"helper by path": `{"credsStore":"../geheim"}`,
		"broken helper":  `{"credsStore":"broken"}`,
		"chatty helper":  `{"credsStore":"chatty"}`,
		"missing helper": `{"credsStore":"not-installed-here"}`,
	}
	registry, err := name.NewRegistry("reg.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		t.Run(name, func(t *testing.T) {
			keychain, err := DockerConfig(dockerConfig(t, content))
			if err == nil {
				_, err = keychain.Resolve(registry)
			}
			if err == nil {
				t.Fatal("no error")
			}
			if name == "helper by path" {
				if !strings.Contains(err.Error(), "want the NAME") {
					t.Errorf("a path was tried: %v", err)
				}
			} else if strings.Contains(err.Error(), "geheim") {
				t.Errorf("error has a secret: %v", err)
			}
		})
	}
	if _, err := DockerConfig(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("missing file: no error")
	}
}

// resolved returns what a keychain has for a registry.
func resolved(t *testing.T, keychain authn.Keychain, host string) authn.AuthConfig {
	t.Helper()
	registry, err := name.NewRegistry(host)
	if err != nil {
		t.Fatal(err)
	}
	found, err := authn.Resolve(t.Context(), keychain, registry)
	if err != nil {
		t.Fatal(err)
	}
	config, err := authn.Authorization(t.Context(), found)
	if err != nil {
		t.Fatal(err)
	}
	return *config
}

// mounted writes a volume as the kubelet does: the files are links into ..data,
// which is a link to a directory with a date. update makes another directory and
// has ..data lead there.
func mounted(t *testing.T, file, content string) (dir string, update func(content string)) {
	t.Helper()
	dir = t.TempDir()
	n := 0
	update = func(content string) {
		n++
		data := fmt.Sprintf("..2026_01_0%d", n)
		if err := errors.Join(os.Mkdir(filepath.Join(dir, data), 0o700),
			os.WriteFile(filepath.Join(dir, data, file), []byte(content), 0o600),
			os.Symlink(data, filepath.Join(dir, "..data_tmp")),
			os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	update(content)
	if err := os.Symlink(filepath.Join("..data", file), filepath.Join(dir, file)); err != nil {
		t.Fatal(err)
	}
	return dir, update
}

// TestKubernetesPullSecrets: both types, named as a file and as the directory
// that they are mounted in, and read anew when the kubelet changes them.
func TestKubernetesPullSecrets(t *testing.T) {
	entries := func(password string) string {
		return `{"reg.example:5000":{"username":"puller","password":"` + password + `","email":"a@example.com","auth":"` +
			base64.StdEncoding.EncodeToString([]byte("puller:"+password)) + `"},"https://index.docker.io/v1/":{"username":"hub","password":"` + password + `"}}`
	}
	for file, shape := range map[string]func(string) string{
		".dockerconfigjson": func(password string) string { return `{"auths":` + entries(password) + `}` },
		".dockercfg":        entries,
	} {
		for _, asFile := range []bool{false, true} {
			dir, update := mounted(t, file, shape("old"))
			path := dir
			if asFile {
				path = filepath.Join(dir, file)
			}
			keychain, err := DockerConfig(path)
			if err != nil {
				t.Fatal(err)
			}
			want(t, resolved(t, keychain, "reg.example:5000"), authn.AuthConfig{Username: "puller", Password: "old"}, file)
			want(t, resolved(t, keychain, "index.docker.io"), authn.AuthConfig{Username: "hub", Password: "old"}, file+", Docker Hub")
			want(t, resolved(t, keychain, "other.example"), authn.AuthConfig{}, file+", another registry")
			update(shape("new"))
			want(t, resolved(t, keychain, "reg.example:5000"), authn.AuthConfig{Username: "puller", Password: "new"}, file+" after it was changed")
		}
	}
	if _, err := DockerConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "has neither .dockerconfigjson nor .dockercfg") {
		t.Errorf("an empty directory: %v", err)
	}
	dir, _ := mounted(t, ".dockercfg", `{"reg.example":"geheim"}`)
	if _, err := DockerConfig(dir); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("a wrong type: %v", err)
	}
}

// TestPullSecretChangesDuringAWalk: the registry takes another password, the
// kubelet brings it, and the walk goes on. No error has either of them.
func TestPullSecretChangesDuringAWalk(t *testing.T) {
	const n = 6
	var mu sync.Mutex
	password := "first-geheim"
	inner := inMemory()
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if user, given, _ := r.BasicAuth(); user != "robot$team+x" || given != password {
			status(http.StatusUnauthorized, "WWW-Authenticate", `Basic realm="x"`)(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	secret := func(password string) string {
		return `{"auths":{"` + host + `":` + auth("robot$team+x:"+password) + `}}`
	}
	dir, update := mounted(t, ".dockerconfigjson", secret(password))
	cfg := config(host)
	cfg.Limits.Concurrency = 1
	var err error
	if cfg.Keychain, err = DockerConfig(dir); err != nil {
		t.Fatal(err)
	}
	r := open(t, cfg)
	for i := range n {
		pushImage(t, r, "team/app", fmt.Sprintf("v%d", i), fmt.Sprint(i))
	}
	seen := 0
	for _, err := range r.Artifacts(t.Context(), Query{Repository: "team/app", Tags: always}) {
		if err != nil {
			t.Fatalf("after %d artifacts: %v", seen, err)
		}
		if seen++; seen == n/2 {
			mu.Lock()
			password = "second-geheim"
			mu.Unlock()
			update(secret("second-geheim"))
		}
	}
	want(t, seen, n, "artifacts")
	mu.Lock()
	password = "third-geheim" // which nobody brings
	mu.Unlock()
	_, err = r.Resolve(t.Context(), "team/app", "v1")
	wants(t, err, ErrUnauthorized, "no password is right")
	keepsSecret(t, err, "geheim", base64.StdEncoding.EncodeToString([]byte("robot$team+x:"))[:12])
}

// TestLoginNames: who logs in is said, and never with what.
func TestLoginNames(t *testing.T) {
	file := dockerConfig(t, `{"auths":{"a.example":`+auth("me:geheim")+`,"b.example":{"identitytoken":"geheim"},"c.example":{}},"credHelpers":{"d.example":"vault"}}`)
	docker, err := DockerConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	secret := cloudSecret("geheim")
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{Host: "a.example", Kind: KindGeneric}, "anonymous"},
		{Config{Host: "a.example", Kind: KindGeneric, Keychain: Static("robot$x", "geheim")}, `user "robot$x" with a password`},
		{Config{Host: "a.example", Kind: KindAuto, Keychain: docker}, `user "me", the entry of ` + file},
		{Config{Host: "b.example", Kind: KindHarbor, Keychain: docker}, "an identity token, the entry of " + file},
		{Config{Host: "c.example", Kind: KindZot, Keychain: docker}, "anonymous: the entry of " + file + " is empty"},
		{Config{Host: "d.example", Kind: KindGeneric, Keychain: docker}, "credential helper docker-credential-vault, named in " + file},
		{Config{Host: "e.example", Kind: KindGeneric, Keychain: docker}, "anonymous: " + file + " has no entry for e.example"},
		{Config{Host: ecrHostName, Kind: KindECR}, "AWS credentials of the environment, exchanged for a password of the registry"},
		{Config{Host: ecrHostName, Kind: KindAuto, Cloud: Cloud{AccessKey: "AK", Secret: secret}}, "AWS credentials of cloud.access_key, exchanged for a password of the registry"},
		{Config{Host: "gcr.io", Kind: KindGAR, Cloud: Cloud{ConfigFile: "/google.json"}}, "Google credentials of cloud.config_file, exchanged for an access token"},
		{Config{Host: "x.azurecr.io", Kind: KindAuto}, "Entra ID credentials of the environment, exchanged for a token of the registry"},
	} {
		test.cfg.Name = "x"
		got, err := open(t, test.cfg).(interface{ Login() (string, error) }).Login()
		if err != nil || got != test.want {
			t.Errorf("%s, kind %s: %q, %v, want %q", test.cfg.Host, test.cfg.Kind, got, err, test.want)
		}
	}
}
