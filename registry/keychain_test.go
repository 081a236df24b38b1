package registry

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
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
