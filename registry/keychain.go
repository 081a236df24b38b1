package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

const (
	maxDockerConfig  = 1 << 20 // bytes of a configuration file
	maxHelperAnswer  = 1 << 20 // bytes a credential helper may print
	helperTimeout    = 30 * time.Second
	helperPrefix     = "docker-credential-"
	helperNotFound   = "credentials not found in native keychain"
	helperTokenLogin = "<token>" // a helper's user name when the secret is an identity token
)

// helperName is what may follow docker-credential-: a name, never a path.
var helperName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// Static returns a Keychain that answers every registry with the same user
// name and password. Both empty means anonymous.
func Static(username, password string) authn.Keychain {
	return staticKeychain{username: username, password: password}
}

type staticKeychain struct{ username, password string }

// Resolve implements authn.Keychain.
func (k staticKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	if k.username == "" && k.password == "" {
		return authn.Anonymous, nil
	}
	return &authn.Basic{Username: k.username, Password: k.password}, nil
}

// DockerConfig returns a Keychain that reads the docker configuration file at
// path, and no other place: its credHelpers, credsStore and auths, in this
// order, as the docker CLI does. The keys of auths may also name a
// repository's parents ("host/team"), as podman's do; the longest counts.
//
// The file may be a pull secret of Kubernetes: .dockerconfigjson, which has the
// same shape, or .dockercfg, which has the entries of auths alone and is told by
// that name. If path is a directory, as such a secret is mounted, the file is the
// one of these two that is in it.
//
// The file is looked for and read anew whenever credentials are asked for, so
// that rotated ones are found. Helpers (docker-credential-NAME on PATH) are run with the
// caller's context and at most 30 seconds.
func DockerConfig(path string) (authn.Keychain, error) {
	k := dockerKeychain{path: path}
	if _, err := k.read(); err != nil {
		return nil, err
	}
	return k, nil
}

type dockerKeychain struct{ path string }

var _ authn.ContextKeychain = dockerKeychain{}

type dockerFile struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredsStore  string                `json:"credsStore"`
	CredHelpers map[string]string     `json:"credHelpers"`
}

type dockerAuth struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Resolve implements authn.Keychain.
func (k dockerKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext implements authn.ContextKeychain.
func (k dockerKeychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	file, err := k.read()
	if err != nil {
		return nil, err
	}
	host := target.RegistryStr()
	if helper := file.helper(host); helper != "" {
		return askHelper(ctx, helper, serverAddress(host))
	}
	entry, found := file.entry(target)
	if !found {
		return authn.Anonymous, nil
	}
	config, err := entry.config()
	if err != nil {
		return nil, fmt.Errorf("docker configuration %s: auths for %s: %w", k.path, host, err)
	}
	return authn.FromConfig(config), nil
}

// The files of Kubernetes' pull secrets, of types kubernetes.io/dockerconfigjson
// and kubernetes.io/dockercfg.
const (
	pullSecret       = ".dockerconfigjson" //nolint:gosec // a name
	legacyPullSecret = ".dockercfg"
)

// file returns the file that is read.
func (k dockerKeychain) file() (string, error) {
	info, err := os.Stat(k.path)
	if err != nil {
		return "", fmt.Errorf("docker configuration: %w", err)
	}
	if !info.IsDir() {
		return k.path, nil
	}
	for _, name := range []string{pullSecret, legacyPullSecret} {
		file := filepath.Join(k.path, name)
		if _, err := os.Stat(file); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return file, nil // what is wrong with it, reading it says
		}
	}
	return "", fmt.Errorf("docker configuration: directory %s has neither %s nor %s", k.path, pullSecret, legacyPullSecret)
}

// read never quotes the file's content: it is full of secrets.
func (k dockerKeychain) read() (dockerFile, error) {
	var file dockerFile
	path, err := k.file()
	if err != nil {
		return file, err
	}
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return file, fmt.Errorf("docker configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	raw, err := io.ReadAll(io.LimitReader(f, maxDockerConfig+1))
	if err != nil {
		return file, fmt.Errorf("docker configuration %s: %w", path, err)
	}
	if len(raw) > maxDockerConfig {
		return file, fmt.Errorf("docker configuration %s: more than %d bytes: %w", path, maxDockerConfig, ErrTooLarge)
	}
	var into any = &file
	if filepath.Base(path) == legacyPullSecret {
		into = &file.Auths
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return file, fmt.Errorf("docker configuration %s: not the JSON it should be: %s", path, jsonFault(err))
	}
	return file, nil
}

// jsonFault says where, without the values that encoding/json may quote.
func jsonFault(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("syntax error at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("field %s: want %s", kind.Field, kind.Type)
	default:
		return "unexpected end"
	}
}

func (f dockerFile) helper(host string) string {
	if helper, ok := f.CredHelpers[serverAddress(host)]; ok {
		return helper
	}
	if helper, ok := f.CredHelpers[host]; ok {
		return helper
	}
	return f.CredsStore
}

// entry returns the auths entry with the longest key that covers target.
func (f dockerFile) entry(target authn.Resource) (dockerAuth, bool) {
	host := target.RegistryStr()
	for key := target.String(); ; {
		if entry, ok := f.Auths[key]; ok {
			return entry, true
		}
		i := strings.LastIndexByte(key, '/')
		if i < 0 {
			break
		}
		key = key[:i]
	}
	if entry, ok := f.Auths[serverAddress(host)]; ok {
		return entry, true
	}
	for key, entry := range f.Auths { // https://host/v1/, as old clients wrote
		if hostOfKey(key) == host {
			return entry, true
		}
	}
	return dockerAuth{}, false
}

// serverAddress is the name docker knows a host by.
func serverAddress(host string) string {
	if host == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return host
}

func hostOfKey(key string) string {
	rest, found := strings.CutPrefix(key, "https://")
	if !found {
		if rest, found = strings.CutPrefix(key, "http://"); !found {
			return ""
		}
	}
	host, _, _ := strings.Cut(rest, "/")
	return host
}

func (a dockerAuth) config() (authn.AuthConfig, error) {
	config := authn.AuthConfig{
		Username:      a.Username,
		Password:      a.Password,
		IdentityToken: a.IdentityToken,
		RegistryToken: a.RegistryToken,
	}
	if a.Auth == "" {
		return config, nil
	}
	raw, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return config, errors.New("field auth is not base64")
	}
	username, password, found := strings.Cut(string(raw), ":")
	if !found || username == "" {
		return config, errors.New("field auth is not user:password in base64")
	}
	config.Username, config.Password = username, strings.TrimRight(password, "\x00")
	return config, nil
}

// askHelper runs docker-credential-NAME get, which reads the server's address
// and prints JSON. What it prints stays out of errors.
func askHelper(ctx context.Context, helper, server string) (authn.Authenticator, error) {
	if !helperName.MatchString(helper) {
		return nil, fmt.Errorf("credential helper %q: want the NAME of a program %sNAME", helper, helperPrefix)
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, helperPrefix+helper, "get") //nolint:gosec // named by the operator's own file, checked above
	cmd.Stdin = strings.NewReader(server)
	cmd.WaitDelay = time.Second
	out := &cappedBuffer{limit: maxHelperAnswer}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		if strings.Contains(out.String(), helperNotFound) {
			return authn.Anonymous, nil
		}
		return nil, fmt.Errorf("credential helper %s%s: %w", helperPrefix, helper, err)
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return nil, fmt.Errorf("credential helper %s%s: %s", helperPrefix, helper, jsonFault(err))
	}
	if answer.Username == helperTokenLogin {
		return authn.FromConfig(authn.AuthConfig{IdentityToken: answer.Secret}), nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: answer.Username, Password: answer.Secret}), nil
}

// A cappedBuffer refuses to grow beyond its limit.
type cappedBuffer struct {
	bytes.Buffer
	limit int
}

// Write implements io.Writer.
func (b *cappedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, ErrTooLarge
	}
	return b.Buffer.Write(p)
}
