package registry

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// maxIdentityFile is how much of a file is read that says who asks, in bytes.
const maxIdentityFile = 64 << 10

// An ociIdentity is who signs requests to OCI. It never changes.
type ociIdentity struct {
	keyID string
	key   *rsa.PrivateKey
}

// PrivateRSAKey and KeyID implement common.KeyProvider.
func (i *ociIdentity) PrivateRSAKey() (*rsa.PrivateKey, error) { return i.key, nil }

// KeyID names the key in requests.
func (i *ociIdentity) KeyID() (string, error) { return i.keyID, nil }

// An ociIdentitySource is a profile of a configuration file of the OCI tools. It
// is read for each request, so that rotated keys and tokens are found.
type ociIdentitySource struct{ file, profile string }

// ociIdentityFile returns where the identity is: cfg's file, or the one that the
// OCI tools read.
func ociIdentityFile(cloud Cloud) (*ociIdentitySource, error) {
	if way := os.Getenv("OCI_CLI_AUTH"); cloud.ConfigFile == "" && way != "" && way != "api_key" && way != "security_token" {
		return nil, fmt.Errorf("OCI_CLI_AUTH %q is not supported to list a registry: want cloud.config_file, or one of api_key, security_token", plain(way))
	}
	source := &ociIdentitySource{
		file:    cmp.Or(cloud.ConfigFile, os.Getenv("OCI_CLI_CONFIG_FILE"), os.Getenv("OCI_CONFIG_FILE"), "~/.oci/config"),
		profile: cmp.Or(cloud.Profile, os.Getenv("OCI_CLI_PROFILE"), "DEFAULT"),
	}
	_, err := source.read()
	return source, err
}

func (s *ociIdentitySource) read() (*ociIdentity, error) {
	raw, err := readIdentityFile(s.file)
	if err != nil {
		return nil, fmt.Errorf("cloud.config_file: %w", err)
	}
	settings, err := ociProfile(raw, s.profile)
	if err == nil {
		var identity *ociIdentity
		if identity, err = newOCIIdentity(settings); err == nil {
			return identity, nil
		}
	}
	return nil, fmt.Errorf("cloud.config_file %s, profile %q: %w", s.file, plain(s.profile), err)
}

func newOCIIdentity(settings map[string]string) (*ociIdentity, error) {
	keyID, err := ociKeyID(settings)
	if err != nil {
		return nil, err
	}
	if settings["key_file"] == "" {
		return nil, errors.New("key_file is missing")
	}
	raw, err := readIdentityFile(settings["key_file"])
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	password := cmp.Or(settings["pass_phrase"], settings["passphrase"])
	key, err := common.PrivateKeyFromBytes(raw, &password)
	if err != nil { // whose words may hold parts of the key
		return nil, errors.New("key_file holds no RSA key in PEM that pass_phrase opens")
	}
	return &ociIdentity{keyID: keyID, key: key}, nil
}

// ociKeyID is TENANCY/USER/FINGERPRINT, or without a user a session's token.
func ociKeyID(settings map[string]string) (string, error) {
	if file := settings["security_token_file"]; file != "" && settings["user"] == "" {
		token, err := readIdentityFile(file)
		if err != nil {
			return "", fmt.Errorf("security_token_file: %w", err)
		}
		return "ST$" + string(bytes.TrimSpace(token)), nil
	}
	var parts []string
	for _, name := range []string{"tenancy", "user", "fingerprint"} {
		if settings[name] == "" || strings.ContainsAny(settings[name], "\"/ ") {
			return "", fmt.Errorf("%s is missing or not valid", name)
		}
		parts = append(parts, settings[name])
	}
	return strings.Join(parts, "/"), nil
}

// ociProfile returns the settings of one profile, their names in small letters.
// As in the OCI tools, profiles inherit nothing.
func ociProfile(raw []byte, profile string) (map[string]string, error) {
	var settings map[string]string
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, maxIdentityFile+1)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if section, ok := strings.CutPrefix(line, "["); ok {
			if settings != nil {
				break
			}
			if section == profile+"]" {
				settings = map[string]string{}
			}
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if settings == nil || !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		settings[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if settings == nil {
		return nil, errors.New("there is no such profile")
	}
	return settings, nil
}

// readIdentityFile never quotes what is in the file.
func readIdentityFile(path string) ([]byte, error) {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(home, rest)
	}
	f, err := os.Open(path) //nolint:gosec // the operator names their own files
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	raw, err := io.ReadAll(io.LimitReader(f, maxIdentityFile+1))
	if err == nil && len(raw) > maxIdentityFile {
		err = fmt.Errorf("%s: more than %d bytes: %w", path, maxIdentityFile, ErrTooLarge)
	}
	return raw, err
}
