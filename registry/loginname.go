package registry

import (
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
)

const anonymously = "anonymous"

// A loginNamer is a keychain that says where what it gives comes from.
type loginNamer interface {
	loginName(target authn.Resource) (string, error)
}

var (
	_ loginNamer = staticKeychain{}
	_ loginNamer = dockerKeychain{}
	_ loginNamer = (*cloudKeychain)(nil)
)

// Login says as whom the registry is read and written, and where the credentials
// come from: never a secret. It sends no request and runs no helper, but reads
// the files that are configured.
func (c *Client) Login() (string, error) {
	named, ok := c.auth.keychain.(loginNamer)
	if !ok {
		return "", errors.New("the keychain does not say whose credentials it has")
	}
	return named.loginName(c.host)
}

func (k staticKeychain) loginName(authn.Resource) (string, error) {
	if anonymous(k) {
		return anonymously, nil
	}
	return fmt.Sprintf("user %q with a password", plain(k.username)), nil
}

func (k dockerKeychain) loginName(target authn.Resource) (string, error) {
	file, err := k.read()
	if err != nil {
		return "", err
	}
	path, err := k.file()
	if err != nil {
		return "", err
	}
	host := target.RegistryStr()
	if helper := file.helper(host); helper != "" {
		return fmt.Sprintf("credential helper %s%s, named in %s", helperPrefix, plain(helper), path), nil
	}
	entry, found := file.entry(target)
	if !found {
		return fmt.Sprintf("%s: %s has no entry for %s", anonymously, path, host), nil
	}
	config, err := entry.config()
	switch {
	case err != nil:
		return "", fmt.Errorf("docker configuration %s: auths for %s: %w", path, host, err)
	case config.RegistryToken != "":
		return "a token, the entry of " + path, nil
	case config.IdentityToken != "":
		return "an identity token, the entry of " + path, nil
	case config.Username == "":
		return fmt.Sprintf("%s: the entry of %s is empty", anonymously, path), nil
	}
	return fmt.Sprintf("user %q, the entry of %s", plain(config.Username), path), nil
}

func (k *cloudKeychain) loginName(authn.Resource) (string, error) { return k.name, nil }

// name says where AWS's credentials come from.
func (l *awsLogin) name() string {
	switch {
	case l.cloud.AccessKey != "":
		return "AWS credentials of cloud.access_key"
	case l.cloud.ConfigFile != "":
		return "AWS credentials of cloud.config_file"
	case l.cloud.Profile != "":
		return "AWS credentials of cloud.profile"
	}
	return "AWS credentials of the environment"
}

// name says where Google's credentials come from.
func (l *garLogin) name() string {
	if l.file != "" {
		return "Google credentials of cloud.config_file"
	}
	return "Google credentials of the environment"
}
