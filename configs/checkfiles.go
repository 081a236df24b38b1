package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// CheckFiles returns what is wrong with the files and environment variables
// that the configuration names, as Errors: private keys and password files are
// there, readable, and closed to group and others; directories are there.
func (c *Config) CheckFiles() error {
	var faults Errors
	check := func(at place, field string, problem, allowed string) {
		if problem != "" {
			faults = append(faults, at.in(field).fault(problem, allowed))
		}
	}
	c.registryFiles(check)
	c.keyFiles(check)
	c.policyFiles(check)
	c.callerFiles(check)
	c.sinkFiles(check)
	return faults.asError()
}

// A fileCheck keeps a problem, unless it is "".
type fileCheck func(at place, field string, problem, allowed string)

func (c *Config) registryFiles(check fileCheck) {
	for i := range c.Registries {
		r, at := &c.Registries[i], c.root.item("registries", i)
		check(at, "host", directoryProblem(r.Layout()), "an OCI image layout")
		check(at, "storage", directoryProblem(r.Storage), "the root directory of a distribution registry")
		check(at, "auth.docker_config", dockerConfigProblem(r.Auth.DockerConfig), "a Docker config.json, a pull secret of Kubernetes, or a directory with .dockerconfigjson or .dockercfg")
		check(at, "auth.password_file", secretProblem(r.Auth.PasswordFile), privateFileAllowed)
		check(at, "cloud.secret_file", secretProblem(r.Cloud.SecretFile), privateFileAllowed)
		check(at, "cloud.config_file", secretProblem(r.Cloud.ConfigFile), privateFileAllowed)
		check(at, "events.secret_file", secretProblem(r.Events.SecretFile), privateFileAllowed)
	}
}

// keyFiles checks what keys are opened by.
func (c *Config) keyFiles(check fileCheck) {
	for i := range c.KeyStores {
		s, at := &c.KeyStores[i], c.root.item("key_stores", i)
		check(at, "ca_file", fileProblem(s.CAFile), "PEM certificates")
		check(at, "plugin", fileProblem(s.Plugin), "a program")
		check(at, "auth.token_file", secretProblem(s.Auth.TokenFile), privateFileAllowed)
		check(at, "auth.secret_id_file", secretProblem(s.Auth.SecretIDFile), privateFileAllowed)
		check(at, "auth.jwt_file", fileProblem(s.Auth.JWTFile), "a service account token")
		check(at, "auth.secret_key_file", secretProblem(s.Auth.SecretKeyFile), privateFileAllowed)
		check(at, "auth.config_file", secretProblem(s.Auth.ConfigFile), privateFileAllowed)
	}
	for i := range c.Keys {
		k, at := &c.Keys[i], c.root.item("keys", i)
		check(at, "certificate_chain", fileProblem(k.CertificateChain), "PEM certificates, leaf first")
		check(at, "uri", secretProblem(k.File()), privateFileAllowed)
		check(at, "password_file", secretProblem(k.PasswordFile), privateFileAllowed)
		if k.PasswordEnv != "" && os.Getenv(k.PasswordEnv) == "" {
			check(at, "password_env", fmt.Sprintf("environment variable %s is empty", k.PasswordEnv), "the name of a variable that holds the password")
		}
		for _, id := range slices.Sorted(maps.Keys(k.Versions)) {
			check(at.in("versions"), id, secretProblem(filePath(k.Versions[id])), privateFileAllowed)
		}
	}
	for i, k := range c.PublicKeys {
		check(c.root.item("public_keys", i), "public_key_file", fileProblem(k.PublicKeyFile), "a PEM public key")
	}
}

func (c *Config) policyFiles(check fileCheck) {
	for i := range c.Policies {
		for j, a := range c.Policies[i].Timestamp {
			check(c.policyPlace(i), fmt.Sprintf("timestamp[%d].ca", j), fileProblem(a.CA), "PEM certificates")
		}
		check(c.policyPlace(i), "transparency_log_key", fileProblem(c.Policies[i].TransparencyLogKey), "a PEM public key")
	}
}

// callerFiles checks what callers prove themselves by, and we ourselves to them.
func (c *Config) callerFiles(check fileCheck) {
	for i, a := range c.Access {
		at := c.root.item("access", i)
		check(at, "token_file", secretProblem(a.TokenFile), privateFileAllowed)
		check(at, "secret_key_file", secretProblem(a.SecretKeyFile), privateFileAllowed)
		check(at, "certificate_file", fileProblem(a.CertificateFile), "a PEM certificate")
		check(at, "public_key_file", fileProblem(a.PublicKeyFile), "a PEM public key")
	}
	check(c.root, "tls.cert_file", fileProblem(c.TLS.CertFile), "a PEM certificate chain")
	check(c.root, "tls.key_file", secretProblem(c.TLS.KeyFile), privateFileAllowed)
}

// sinkFiles checks what is sent out with: records, the keys that sign requests, traces.
func (c *Config) sinkFiles(check fileCheck) {
	for i := range c.Sinks {
		s, at := &c.Sinks[i], c.root.item("sinks", i)
		check(at, "ca_file", fileProblem(s.CAFile), "PEM certificates")
		check(at, "token_file", secretProblem(s.TokenFile), privateFileAllowed)
		check(at, "config_file", secretProblem(s.ConfigFile), privateFileAllowed)
	}
	check(c.root, "signature_keys.seal_key_file", secretProblem(c.SignatureKeys.SealKeyFile), privateFileAllowed)
	for i, path := range c.SignatureKeys.FormerSealKeyFiles {
		check(c.root, fmt.Sprintf("signature_keys.former_seal_key_files[%d]", i), secretProblem(path), privateFileAllowed)
	}
	check(c.root, "tracing.token_file", secretProblem(c.Tracing.TokenFile), privateFileAllowed)
}

const privateFileAllowed = "a readable file with permissions 0600 or narrower, or 0440 if it is root's"

// The problem functions return "" for an empty path: the file is not wanted.

func secretProblem(path string) string {
	if problem := fileProblem(path); problem != "" || path == "" {
		return problem
	}
	info, err := os.Stat(path)
	if err != nil {
		return pathProblem(path, err)
	}
	if mode := info.Mode().Perm(); mode&^0o600 != 0 && (mode&^0o440 != 0 || !rootOwns(info)) {
		return fmt.Sprintf("%s has permissions %04o", path, mode)
	}
	return ""
}

// fileProblem opens the file, because only that tells whether it can be read.
func fileProblem(path string) string {
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return path + " is not a regular file"
	}
	f, err := os.Open(path) //nolint:gosec // Named by the configuration.
	if err != nil {
		return pathProblem(path, err)
	}
	_ = f.Close() // It was only opened.
	return ""
}

// dockerConfigProblem also takes a directory, as pull secrets are mounted.
func dockerConfigProblem(path string) string {
	if info, err := os.Stat(path); path == "" || err != nil || !info.IsDir() {
		return fileProblem(path)
	}
	for _, name := range []string{".dockerconfigjson", ".dockercfg"} {
		if problem := fileProblem(filepath.Join(path, name)); !strings.HasSuffix(problem, " does not exist") {
			return problem
		}
	}
	return path + " is a directory without .dockerconfigjson or .dockercfg"
}

func directoryProblem(path string) string {
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return pathProblem(path, err)
	}
	if !info.IsDir() {
		return path + " is not a directory"
	}
	return ""
}

func pathProblem(path string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path + " does not exist"
	case errors.Is(err, fs.ErrPermission):
		return path + " may not be read by this user"
	}
	return "cannot be read: " + err.Error()
}

// rootOwns reports whether a file is root's. Service managers hand out secrets
// in files that root owns and a group, or an access list that shows as one, may
// read: systemd's credentials and a Kubernetes secret under a fsGroup are 0440.
func rootOwns(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0
}
