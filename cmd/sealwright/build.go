package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/event"
	"github.com/sealwright/sealwright/registry/signature"
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

// loadWithStored is load, with the policies that are stored in the journal among
// those of the configuration.
func (a *app) loadWithStored(ctx context.Context) (*configs.Config, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	return a.addStored(ctx, cfg)
}

// addStored returns a configuration with the policies that are stored in the journal
// among its own, for commands that look at all of them. Stored ones that name what
// the configuration does not have are said and left out.
func (a *app) addStored(ctx context.Context, own *configs.Config) (*configs.Config, error) {
	all := *own
	cfg := &all
	cfg.Policies = slices.Clone(own.Policies)
	j, err := journal.OpenReadOnly(ctx, cfg.State)
	if errors.Is(err, os.ErrNotExist) {
		return cfg, nil // nothing ever ran here
	}
	if err != nil {
		return nil, err
	}
	stored, _, err := j.StoredPolicies(ctx)
	if err := errors.Join(err, j.Close()); err != nil {
		return nil, err
	}
	for _, s := range stored {
		_, hasRegistry := cfg.Registry(s.Policy.Registry)
		_, hasKey := cfg.Key(s.Policy.Key)
		_, taken := cfg.Policy(s.Policy.Name)
		if taken {
			fmt.Fprintf(a.err, "stored policy %q left out: %v\n", s.Policy.Name, engine.ErrNameTaken)
			continue
		}
		if !hasRegistry || !hasKey {
			fmt.Fprintf(a.err, "stored policy %q left out: the configuration has no registry %q or no key %q\n", s.Policy.Name, s.Policy.Registry, s.Policy.Key)
			continue
		}
		cfg.Policies = append(cfg.Policies, s.Policy)
	}
	return cfg, nil
}

// An opener turns configurations into setups. It remembers the registries and
// other servers it opened, so that one that a reload did not change keeps its
// budget, and the keys' switches. One goroutine at a time prepares a setup; what
// mu guards may be used meanwhile.
type opener struct {
	mu         sync.Mutex
	stores     map[string]openedStore
	switches   map[string]*kms.Switch
	transports map[string]*budget.Transport // to witnesses, by URL

	registries map[string]openedRegistry
	logs       map[string]*signature.Rekor // by URL and public key
	keys       map[string]engine.Key       // of the setup in force
	inForce    map[string]*event.Receiver  // of the setup in force, by registry; guarded by mu
	publics    map[keyVersion]publicKey    // of the setup in force; guarded by mu
	aliased    map[string][]string         // aliases of its keys, by name; guarded by mu
}

type openedRegistry struct {
	config   configs.Registry
	password [sha256.Size]byte // of the password, so that a changed one is noticed
	place    *engine.Place
}

// A prepared setup is opened and not yet in force.
type prepared struct {
	config     *configs.Config
	setup      *engine.Setup
	registries map[string]openedRegistry
	stores     map[string]openedStore
	keys       map[string]engine.Key
	receivers  map[string]*event.Receiver
	publics    map[keyVersion]publicKey
}

// open opens a configuration and puts it in force.
func (o *opener) open(ctx context.Context, cfg *configs.Config) (*engine.Setup, error) {
	next, err := o.prepare(ctx, cfg, nil)
	if err != nil {
		return nil, err
	}
	o.adopt(next)
	o.turn(cfg)
	return next.setup, nil
}

// prepare is all the wiring there is between configuration and engine:
// registries, then keys, then policies. It does everything that can fail and
// replaces nothing. The keys of keep are not opened again.
func (o *opener) prepare(ctx context.Context, cfg *configs.Config, keep map[string]engine.Key) (*prepared, error) {
	next := &prepared{config: cfg, registries: make(map[string]openedRegistry, len(cfg.Registries)),
		stores: make(map[string]openedStore, len(cfg.KeyStores))}
	places := make(map[string]*engine.Place, len(cfg.Registries))
	witnesses := make(map[string]signature.Witnesses, len(cfg.Policies))
	var errs []error
	for _, rc := range cfg.Registries {
		r, err := o.registry(rc)
		if err != nil {
			errs = append(errs, fmt.Errorf("registry %q: %w", rc.Name, err))
			continue
		}
		next.registries[rc.Name], places[rc.Name] = r, r.place
	}
	for _, sc := range cfg.KeyStores {
		next.stores[sc.Name] = openedStore{config: sc}
	}
	var err error
	if next.keys, err = o.openKeys(ctx, cfg.Keys, next.stores, keep); err != nil {
		errs = append(errs, err)
	}
	for _, p := range cfg.Policies {
		w, err := o.witnesses(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("policy %q: %w", p.Name, err))
		}
		witnesses[p.Name] = w
	}
	if next.receivers, err = o.receivers(cfg); err != nil {
		errs = append(errs, err)
	}
	if next.publics, err = o.publicKeys(ctx, cfg, next.stores); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, closeAll(next.keys))...)
	}
	if next.setup, err = engine.NewSetup(cfg.Policies, places, next.keys, witnesses); err != nil {
		return nil, errors.Join(err, closeAll(next.keys))
	}
	next.setup.Silent = silent(cfg)
	next.setup.Upkeep = engine.Upkeep{Remember: cfg.RememberDuration(), DriftScan: cfg.DriftSchedule(),
		MinInterval: cfg.MinScheduleDuration(), AuditRetention: cfg.AuditDuration()}
	return next, nil
}

// silent says of the registries that tell of no pushes why they do not.
func silent(cfg *configs.Config) map[string]string {
	why := map[string]string{}
	for _, r := range cfg.Registries {
		if problem := cfg.EventProblem(r.Name); problem != "" {
			why[r.Name] = problem
		}
	}
	return why
}

// adopt remembers what is in force from now on.
func (o *opener) adopt(next *prepared) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.registries, o.stores, o.keys, o.inForce, o.publics = next.registries, next.stores, next.keys, next.receivers, next.publics
	o.aliased = make(map[string][]string, len(next.config.Keys))
	for _, k := range next.config.Keys {
		o.aliased[k.Name] = k.Aliases
	}
}

// registry opens a registry, or returns the one that is open if neither its
// configuration nor its password has changed.
func (o *opener) registry(c configs.Registry) (openedRegistry, error) {
	var password []byte
	if c.Auth.PasswordFile != "" {
		var err error
		if password, err = kms.PasswordFile(c.Auth.PasswordFile)(); err != nil {
			return openedRegistry{}, err
		}
	}
	next := openedRegistry{config: c, password: sha256.Sum256(password)}
	next.config.Events = configs.Events{} // what comes from a registry does not change how it is asked
	if was, ok := o.registries[c.Name]; ok && reflect.DeepEqual(was.config, next.config) && was.password == next.password {
		return was, nil
	}
	r, err := openRegistry(c, string(password))
	if err != nil {
		return openedRegistry{}, err
	}
	next.place = engine.NewPlace(r, c.Limits.Concurrency)
	return next, nil
}

func closeAll(keys map[string]engine.Key) error {
	var errs []error
	for _, k := range keys {
		if k.Signer != nil {
			errs = append(errs, k.Signer.Close())
		}
	}
	return errors.Join(errs...)
}

func openRegistry(c configs.Registry, password string) (registry.Registry, error) {
	var keychain authn.Keychain
	switch {
	case c.Auth.DockerConfig != "":
		k, err := registry.DockerConfig(c.Auth.DockerConfig)
		if err != nil {
			return nil, err
		}
		keychain = k
	case c.Auth.Username != "":
		keychain = registry.Static(c.Auth.Username, password)
	}
	cfg := registryConfig(c)
	cfg.Keychain = keychain
	return registry.Open(cfg)
}

// registryConfig is a registry without its login.
func registryConfig(c configs.Registry) registry.Config {
	return registry.Config{Name: c.Name, Host: c.Host, Kind: string(c.Kind), Insecure: c.Insecure,
		Storage: c.Storage, API: c.API, Cloud: cloud(c.Cloud), UserAgent: "sealwright/" + version(),
		Limits: registry.Limits{RequestsPerSecond: c.Limits.RequestsPerSecond, Concurrency: c.Limits.Concurrency}}
}

func cloud(c configs.Cloud) registry.Cloud {
	return registry.Cloud{Region: c.Region, Project: c.Project, Instance: c.Instance, Compartment: c.Compartment,
		AccessKey: c.AccessKey, Secret: password(c.SecretFile, ""), ConfigFile: c.ConfigFile, Profile: c.Profile}
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
