package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
)

// Where the configuration is looked for when --config names none.
const (
	systemConfig = "/etc/sealwright/sealwright.yaml"
	localConfig  = "sealwright.yaml"
)

// load reads the configuration and checks the files it names. Every fault is a
// usage error and all are reported at once.
func (a *app) load() (*configs.Config, error) {
	cfg, err := a.read()
	if err != nil {
		return nil, err
	}
	if err := cfg.CheckFiles(); err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}

// read reads the configuration alone. It is for commands that open no key: the
// files it names may be readable by the daemon only, and only while it runs.
func (a *app) read() (*configs.Config, error) {
	path := a.config
	if path == "" {
		path = systemConfig
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			path = localConfig
		}
	}
	cfg, err := configs.Load(path)
	if a.config == "" && errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("no configuration in %s or ./%s: name one with --config", systemConfig, localConfig)
	}
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}

// An opener turns configurations into setups. It remembers the registries it
// opened, so that one that a reload did not change keeps its budget.
type opener struct {
	registries map[string]openedRegistry
}

type openedRegistry struct {
	config configs.Registry
	place  *engine.Place
}

// open is all the wiring there is between configuration and engine: registries,
// then keys, then policies. It does everything that can fail before anything is
// replaced.
func (o *opener) open(ctx context.Context, cfg *configs.Config) (*engine.Setup, error) {
	opened := make(map[string]openedRegistry, len(cfg.Registries))
	places := make(map[string]*engine.Place, len(cfg.Registries))
	keys := make(map[string]kms.Signer, len(cfg.Keys))
	var errs []error
	for _, rc := range cfg.Registries {
		was, ok := o.registries[rc.Name]
		if !ok || was.config != rc {
			r, err := openRegistry(rc)
			if err != nil {
				errs = append(errs, fmt.Errorf("registry %q: %w", rc.Name, err))
				continue
			}
			was = openedRegistry{rc, engine.NewPlace(r, rc.Limits.Concurrency)}
		}
		opened[rc.Name], places[rc.Name] = was, was.place
	}
	for _, kc := range cfg.Keys {
		key, err := openKey(ctx, kc)
		if err != nil {
			errs = append(errs, fmt.Errorf("key %q: %w", kc.Name, err))
			continue
		}
		keys[kc.Name] = key
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, closeAll(keys))...)
	}
	setup, err := engine.NewSetup(cfg.Policies, places, keys)
	if err != nil {
		return nil, errors.Join(err, closeAll(keys))
	}
	o.registries = opened
	return setup, nil
}

func closeAll(keys map[string]kms.Signer) error {
	var errs []error
	for _, k := range keys {
		errs = append(errs, k.Close())
	}
	return errors.Join(errs...)
}

func openRegistry(c configs.Registry) (registry.Registry, error) {
	var keychain authn.Keychain
	switch {
	case c.Auth.DockerConfig != "":
		k, err := registry.DockerConfig(c.Auth.DockerConfig)
		if err != nil {
			return nil, err
		}
		keychain = k
	case c.Auth.Username != "":
		password, err := kms.PasswordFile(c.Auth.PasswordFile)()
		if err != nil {
			return nil, err
		}
		keychain = registry.Static(c.Auth.Username, string(password))
	}
	return registry.Open(registry.Config{Name: c.Name, Host: c.Host, Kind: string(c.Kind), Insecure: c.Insecure,
		Keychain: keychain, Storage: c.Storage, UserAgent: "sealwright/" + version(),
		Limits: registry.Limits{RequestsPerSecond: c.Limits.RequestsPerSecond, Concurrency: c.Limits.Concurrency}})
}

func openKey(ctx context.Context, c configs.Key) (kms.Signer, error) {
	s, err := kms.Open(ctx, kms.Config{URI: c.URI, Algorithm: c.Algorithm, PublicKeySHA256: c.PublicKeySHA256,
		Password: password(c.PasswordFile, c.PasswordEnv)})
	if err == nil && c.Disabled {
		s = kms.Disabled(s)
	}
	return s, err
}

// password returns how to get a private key's password, nil if there is none.
func password(file, env string) func() ([]byte, error) {
	switch {
	case file != "":
		return kms.PasswordFile(file)
	case env != "":
		return kms.PasswordEnv(env)
	}
	return nil
}
