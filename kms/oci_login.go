package kms

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// An ociIdentity is who signs requests. It never changes, so that a request
// cannot carry one identity's name and another's signature.
type ociIdentity struct {
	keyID string
	key   *rsa.PrivateKey
}

// PrivateRSAKey and KeyID implement common.KeyProvider.
func (i *ociIdentity) PrivateRSAKey() (*rsa.PrivateKey, error) { return i.key, nil }

// KeyID names the key in requests.
func (i *ociIdentity) KeyID() (string, error) { return i.keyID, nil }

func sameOCIIdentity(a, b *ociIdentity) bool { return a.keyID == b.keyID && a.key.Equal(b.key) }

// ociFinder returns how to find the identity: the key store's config_file, else
// what OCI_CLI_AUTH asks for, else the file that the OCI tools read.
func ociFinder(store *Store) (func(context.Context) (*ociIdentity, error), error) {
	auth := store.config.Auth
	if auth != (Auth{ConfigFile: auth.ConfigFile, Profile: auth.Profile}) {
		return nil, errors.New("auth of the key store has a field that ocikms does not use; allowed: config_file, profile")
	}
	if auth.ConfigFile == "" {
		switch way := os.Getenv("OCI_CLI_AUTH"); way {
		case "instance_principal":
			return (&ociInstance{store}).find, nil
		case "", "api_key", "security_token":
		default:
			return nil, fmt.Errorf("OCI_CLI_AUTH %s is not supported; allowed: api_key, security_token, instance_principal", shorten(way))
		}
	}
	file, profile := ociProfile(auth.ConfigFile, auth.Profile)
	return func(context.Context) (*ociIdentity, error) { return readOCIIdentity(file, profile) }, nil
}

// ociProfile is where the OCI tools look for what is not given.
func ociProfile(file, profile string) (string, string) {
	return cmp.Or(file, os.Getenv("OCI_CLI_CONFIG_FILE"), os.Getenv("OCI_CONFIG_FILE"), "~/.oci/config"),
		cmp.Or(profile, os.Getenv("OCI_CLI_PROFILE"), "DEFAULT")
}

// OCIIdentity reads who signs requests to Oracle Cloud Infrastructure: an API key or a
// session token, from a profile of a configuration file of the OCI tools. Empty are the
// file and the profile that these read. What it returns never changes.
func OCIIdentity(file, profile string) (common.KeyProvider, error) {
	if way := os.Getenv("OCI_CLI_AUTH"); file == "" && way != "" && way != "api_key" && way != "security_token" {
		return nil, fmt.Errorf("OCI_CLI_AUTH %s is not supported here; allowed: api_key, security_token, or config_file", shorten(way))
	}
	identity, err := readOCIIdentity(ociProfile(file, profile))
	if err != nil {
		return nil, err
	}
	return identity, nil
}

// readOCIIdentity reads a profile of an OCI configuration file and the files it
// names. The OCI library would read each of them only once in a process.
func readOCIIdentity(file, profile string) (*ociIdentity, error) {
	data, err := readSecret(atHome(file), maxPasswordFile)
	if err != nil {
		return nil, fmt.Errorf("reading the OCI config_file: %w", err)
	}
	settings, err := parseOCIConfig(data, profile)
	if err != nil {
		return nil, fmt.Errorf("OCI config_file %s: %w", file, err)
	}
	identity, err := ociIdentityFrom(settings)
	if err != nil {
		return nil, fmt.Errorf("OCI config_file %s, profile %s: %w", file, shorten(profile), err)
	}
	return identity, nil
}

func ociIdentityFrom(settings map[string]string) (*ociIdentity, error) {
	keyID, err := ociKeyID(settings)
	if err != nil {
		return nil, err
	}
	if settings["key_file"] == "" {
		return nil, errors.New("key_file is missing")
	}
	data, err := readSecret(atHome(settings["key_file"]), maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading key_file: %w", err)
	}
	password := cmp.Or(settings["pass_phrase"], settings["passphrase"])
	key, err := common.PrivateKeyFromBytes(data, &password)
	if err != nil {
		return nil, errors.New("key_file holds no RSA key in PEM that pass_phrase opens") // the library's words may hold parts of it
	}
	return &ociIdentity{keyID: keyID, key: key}, nil
}

// ociKeyID is TENANCY/USER/FINGERPRINT, or the session token that the file
// security_token_file holds.
func ociKeyID(settings map[string]string) (string, error) {
	if file := settings["security_token_file"]; file != "" && settings["user"] == "" {
		token, err := readSecret(atHome(file), maxPasswordFile)
		if err != nil {
			return "", fmt.Errorf("reading security_token_file: %w", err)
		}
		return "ST$" + string(bytes.TrimSpace(token)), nil
	}
	var parts []string
	for _, name := range []string{"tenancy", "user", "fingerprint"} {
		if settings[name] == "" || strings.ContainsAny(settings[name], "\"/ ") {
			return "", fmt.Errorf("%s is missing or no such thing", name)
		}
		parts = append(parts, settings[name])
	}
	return strings.Join(parts, "/"), nil
}

// parseOCIConfig returns the settings of one profile, their names in lower
// case. As in the OCI tools, profiles inherit nothing, and lines that are no
// setting are ignored.
func parseOCIConfig(data []byte, profile string) (map[string]string, error) {
	var settings map[string]string
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxPasswordFile+1)
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
		return nil, fmt.Errorf("has no profile %s", shorten(profile))
	}
	return settings, nil
}

// atHome replaces a leading ~/ by the home directory.
func atHome(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return path // reading it fails and says which path
	}
	return filepath.Join(home, rest)
}
