package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const filesConfig = `registries:
  - {name: a, host: a.example.com, auth: {docker_config: docker.json}}
  - {name: b, host: b.example.com, kind: distribution, storage: data, auth: {username: u, password_file: b.password}}
  - {name: c, host: "oci-layout:DIR/images", kind: oci-layout}
keys:
  - {name: a, uri: "file:a.key", password_file: a.password}
  - name: b
    uri: file:b.key
    password_env: SEALWRIGHT_TEST_PASSWORD
    versions:
      v1: file:b1.key
public_keys:
  - {id: k, version: v, public_key_file: vault.pub}
policies:
  - name: a
    registry: a
    trigger: {type: manual}
    scope: [{repositories: "**", tags: "**"}]
    key: a
    formats: [bundle]
    timestamp: {url: "https://tsa.example.com", ca: tsa.pem}
    transparency_log: https://rekor.example.com
    transparency_log_key: rekor.pub
`

// loadFiles loads filesConfig from a directory with the given files.
func loadFiles(t *testing.T, contents map[string]string) (*Config, string) {
	t.Helper()
	dir := write(t, contents)
	path := filepath.Join(dir, "main.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(filesConfig, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func allFiles() map[string]string {
	return map[string]string{
		"docker.json": "{}", "b.password": "b", "a.key": "a", "a.password": "secret\r\n", "b.key": "b", "b1.key": "b1",
		"data/x": "", "images/index.json": "{}",
		"tsa.pem": "", "rekor.pub": "", "vault.pub": "",
	}
}

func TestCheckFilesAccepts(t *testing.T) {
	t.Setenv("SEALWRIGHT_TEST_PASSWORD", "secret")
	c, dir := loadFiles(t, allFiles())
	if err := os.Chmod(filepath.Join(dir, "docker.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "a.key"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := c.CheckFiles(); err != nil {
		t.Error(err)
	}
}

func TestCheckFilesReportsEverything(t *testing.T) {
	t.Setenv("SEALWRIGHT_TEST_PASSWORD", "")
	c, dir := loadFiles(t, nil)
	err := c.CheckFiles()
	if err == nil {
		t.Fatal("accepted")
	}
	const secret = "; allowed: a readable file with permissions 0600 or narrower, or 0440 if it is root's\n"
	want := strings.ReplaceAll("DIR/main.yaml:2: registries[0].auth.docker_config: DIR/docker.json does not exist; allowed: a Docker config.json, a pull secret of Kubernetes, or a directory with .dockerconfigjson or .dockercfg\n"+
		"DIR/main.yaml:3: registries[1].storage: DIR/data does not exist; allowed: the root directory of a distribution registry\n"+
		"DIR/main.yaml:3: registries[1].auth.password_file: DIR/b.password does not exist"+secret+
		"DIR/main.yaml:4: registries[2].host: DIR/images does not exist; allowed: an OCI image layout\n"+
		"DIR/main.yaml:6: keys[0].uri: DIR/a.key does not exist"+secret+
		"DIR/main.yaml:6: keys[0].password_file: DIR/a.password does not exist"+secret+
		"DIR/main.yaml:8: keys[1].uri: DIR/b.key does not exist"+secret+
		"DIR/main.yaml:9: keys[1].password_env: environment variable SEALWRIGHT_TEST_PASSWORD is empty; allowed: the name of a variable that holds the password\n"+
		"DIR/main.yaml:11: keys[1].versions.v1: DIR/b1.key does not exist"+secret+
		"DIR/main.yaml:13: public_keys[0].public_key_file: DIR/vault.pub does not exist; allowed: a PEM public key\n"+
		"DIR/main.yaml:21: policies[0].timestamp[0].ca: DIR/tsa.pem does not exist; allowed: PEM certificates\n"+
		"DIR/main.yaml:23: policies[0].transparency_log_key: DIR/rekor.pub does not exist; allowed: a PEM public key", "DIR", dir)
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestCheckFilesWantsSecretsClosed(t *testing.T) {
	t.Setenv("SEALWRIGHT_TEST_PASSWORD", "secret")
	for _, name := range []string{"a.key", "b1.key", "a.password", "b.password"} {
		for _, mode := range []os.FileMode{0o640, 0o604, 0o700, 0o620} {
			c, dir := loadFiles(t, allFiles())
			path := filepath.Join(dir, name)
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			if err := c.CheckFiles(); err == nil || !strings.Contains(err.Error(), path+" has permissions 0") {
				t.Errorf("%s with %v: %v", name, mode, err)
			}
		}
	}
}

func TestCheckFilesWantsTheRightSort(t *testing.T) {
	t.Setenv("SEALWRIGHT_TEST_PASSWORD", "secret")
	contents := allFiles()
	delete(contents, "a.key")
	contents["a.key/x"] = ""
	delete(contents, "data/x")
	contents["data"] = ""
	c, dir := loadFiles(t, contents)
	err := c.CheckFiles()
	for _, want := range []string{dir + "/a.key is not a regular file", dir + "/data is not a directory"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// TestCheckFilesTakesMountedPullSecrets: the directory is enough, if one of the
// two files is in it.
func TestCheckFilesTakesMountedPullSecrets(t *testing.T) {
	t.Setenv("SEALWRIGHT_TEST_PASSWORD", "secret")
	for file, want := range map[string]string{
		".dockerconfigjson": "", ".dockercfg": "",
		"config.json": "docker.json is a directory without .dockerconfigjson or .dockercfg",
	} {
		contents := allFiles()
		delete(contents, "docker.json")
		contents["docker.json/"+file] = "{}"
		c, _ := loadFiles(t, contents)
		err := c.CheckFiles()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}
