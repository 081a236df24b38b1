package configs

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

var (
	aliasRE  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}$`)
	pinRE    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	envRE    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	schemeRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:(?://)?`)
)

const idAllowed = "1 to 255 letters, digits, '.', '_', ':', '/' and '-', starting with a letter or digit"

func (v *validator) keys() {
	seen := map[string]place{} // names and aliases alike
	for i := range v.config.Keys {
		k, at := &v.config.Keys[i], v.config.root.item("keys", i)
		v.name(at, k.Name, seen)
		for j, alias := range k.Aliases {
			if v.id(at.item("aliases", j), alias) {
				v.unique(at.item("aliases", j), "", alias, seen)
			}
		}
		v.uri(at, "uri", k.URI)
		for _, id := range slices.Sorted(maps.Keys(k.Versions)) {
			if v.id(at.in("versions").in(id), id) {
				v.uri(at.in("versions"), id, k.Versions[id])
			}
		}
		if k.Algorithm != "" && !k.Algorithm.Valid() {
			v.add(at, "algorithm", quote(string(k.Algorithm))+" is not allowed", strings.Join(policy.Algorithms, ", "))
		}
		if k.PublicKeySHA256 != "" && !pinRE.MatchString(k.PublicKeySHA256) {
			v.add(at, "public_key_sha256", quote(k.PublicKeySHA256)+" is not a SHA-256", "64 lower-case hexadecimal digits, or empty")
		}
		v.password(at, k)
		v.certificate(at, k)
		v.store(at, k)
	}
}

// Bounds of certificate_window.
const (
	defaultWindow = 24 * time.Hour
	longestWindow = 366 * 24 * time.Hour
)

func (v *validator) certificate(at place, k *Key) {
	if k.CertificateWindow == "" {
		return
	}
	if k.CertificateChain == "" {
		v.add(at, "certificate_window", "does nothing without certificate_chain", "no certificate_window")
	}
	if _, err := durationIn(k.CertificateWindow, 0, longestWindow); err != nil {
		v.add(at, "certificate_window", quote(k.CertificateWindow)+" is not allowed", "0s to 366d, such as 168h or 7d")
	}
}

// Window is CertificateWindow as a duration.
func (k *Key) Window() time.Duration {
	if d, err := durationIn(k.CertificateWindow, 0, longestWindow); err == nil {
		return d
	}
	return defaultWindow
}

// durationIn reads a duration of at least least and at most most, which may be
// a whole number of days: 7d.
func durationIn(s string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 12)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err == nil && (d < least || d > most) {
		err = errors.New("out of range")
	}
	return d, err
}

// store checks that the key's store is declared and of the URI's kind, and that
// what only files have is not given for another key.
func (v *validator) store(at place, k *Key) {
	scheme, _, _ := strings.Cut(k.URI, ":")
	if k.File() == "" {
		for _, set := range []setting{{"password_file", k.PasswordFile}, {"password_env", k.PasswordEnv}} {
			if set.value != "" && scheme != "" && slices.Contains(storeKinds(), StoreKind(scheme)) {
				v.add(at, set.field, "does nothing for a key of "+scheme, "no "+set.field+": key_stores say how to log in")
			}
		}
	}
	if k.Store == "" {
		if StoreKind(scheme) == Plugin {
			v.add(at, "store", "is required for plugin: keys", "the name of a key store of kind plugin, which names the program")
		}
		return
	}
	v.reference(at, "store", k.Store, v.storeNames)
	s, ok := v.config.KeyStore(k.Store)
	switch {
	case k.File() != "":
		v.add(at, "store", "does nothing for a key in a file", "no store")
	case ok && slices.Contains(storeKinds(), s.Kind) && slices.Contains(storeKinds(), StoreKind(scheme)) && string(s.Kind) != scheme:
		v.add(at, "store", fmt.Sprintf("%s is of kind %s, and the key's uri begins with %s:", quote(k.Store), s.Kind, scheme), "a key store of kind "+scheme)
	}
}

// KeyStore returns the key store of that name.
func (c *Config) KeyStore(name string) (*KeyStore, bool) {
	for i := range c.KeyStores {
		if c.KeyStores[i].Name == name {
			return &c.KeyStores[i], true
		}
	}
	return nil, false
}

func (v *validator) id(at place, id string) bool {
	if !aliasRE.MatchString(id) {
		v.add(at, "", quote(id)+" is not allowed", idAllowed)
		return false
	}
	return true
}

// uri does not repeat the whole URI, part of which may be a secret.
func (v *validator) uri(at place, field, uri string) {
	if !v.required(at, field, uri, join(schemes())) {
		return
	}
	scheme := schemeRE.FindString(uri)
	if path, ok := strings.CutPrefix(uri, "file:"); ok {
		switch {
		case path == "":
			v.add(at, field, "names no file", "file:/PATH")
		case strings.HasPrefix(path, "//"):
			v.add(at, field, "names a host", "file:/PATH")
		}
		return
	}
	known := slices.ContainsFunc(schemes(), func(s string) bool { return strings.HasPrefix(uri, s) })
	switch {
	case known:
	case scheme == "":
		v.add(at, field, "has no scheme", join(schemes()))
	default:
		v.add(at, field, quote(scheme)+" is not a key store", join(schemes()))
	}
}

func (v *validator) password(at place, k *Key) {
	if k.PasswordFile != "" && k.PasswordEnv != "" {
		v.add(at, "password_env", "contradicts password_file", "one of the two")
	}
	if k.PasswordEnv != "" && !envRE.MatchString(k.PasswordEnv) {
		v.add(at, "password_env", quote(k.PasswordEnv)+" is not the name of an environment variable", "letters, digits and '_'")
	}
}

// File returns the path of a key in a file, "" for others.
func (k *Key) File() string { return filePath(k.URI) }

func filePath(uri string) string {
	path, ok := strings.CutPrefix(uri, "file:")
	if !ok {
		return ""
	}
	return path
}
