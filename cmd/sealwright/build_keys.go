package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/kms"
)

// keyPatience is how long opening one key may take: the daemon is not ready before,
// and what its store does not give by then is asked for again later.
const keyPatience = 8 * time.Second

type openedStore struct {
	config configs.KeyStore
	store  *kms.Store
}

// openKeys opens all keys but those that are kept, at the same time, as a store
// that does not answer takes long. What it returns is to be closed even if there
// is an error.
func (o *opener) openKeys(ctx context.Context, list []configs.Key, stores map[string]openedStore, keep map[string]engine.Key) (map[string]engine.Key, error) {
	opened, errs := make([]engine.Key, len(list)), make([]error, len(list))
	var opening sync.WaitGroup
	for i, c := range list {
		store, err := o.storeOf(c, stores)
		if err != nil {
			errs[i] = fmt.Errorf("key %q: %w", c.Name, err)
			continue
		}
		if kept, ok := keep[c.Name]; ok && kept.Err == nil {
			kept.Signer, kept.Aliases = lend(kept.Signer), c.Aliases
			opened[i] = kept
			continue
		}
		by := o.switchOf(c)
		opening.Go(func() {
			if opened[i], err = openKey(ctx, c, store, by); err != nil {
				errs[i] = fmt.Errorf("key %q: %w", c.Name, err)
			}
		})
	}
	opening.Wait()
	keys := make(map[string]engine.Key, len(list))
	for i, c := range list {
		keys[c.Name] = opened[i]
	}
	return keys, errors.Join(errs...)
}

// oneKey opens a key of a configuration, or one that is only described like it.
func (o *opener) oneKey(ctx context.Context, cfg *configs.Config, c configs.Key) (engine.Key, error) {
	stores := make(map[string]openedStore, len(cfg.KeyStores))
	for _, sc := range cfg.KeyStores {
		stores[sc.Name] = openedStore{config: sc}
	}
	store, err := o.storeOf(c, stores)
	if err != nil {
		return engine.Key{}, err
	}
	by := o.switchOf(c)
	by.Set(c.Disabled, c.DisableFile)
	return openKey(ctx, c, store, by)
}

// failing names the keys that their stores did not give.
func failing(keys map[string]engine.Key) []string {
	var names []string
	for name, k := range keys {
		if k.Err != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// openKey opens a key with its certificate. A key store that does not give the
// key now is no error: it may later, and until then only the key's policies fail.
func openKey(ctx context.Context, c configs.Key, store *kms.Store, by *kms.Switch) (engine.Key, error) {
	key := engine.Key{Window: c.Window(), Aliases: c.Aliases}
	if c.CertificateChain != "" {
		var err error
		if key.Certificates, err = kms.ReadCertificates(c.CertificateChain); err != nil {
			return key, fmt.Errorf("certificate_chain: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, keyPatience)
	defer cancel()
	signer, err := kms.Open(ctx, kms.Config{URI: c.URI, Store: store, Algorithm: c.Algorithm, PublicKeySHA256: c.PublicKeySHA256,
		Password: password(c.PasswordFile, c.PasswordEnv)})
	switch {
	case err == nil:
		key.Signer = lend(by.Guard(signer))
	case store != nil && notNow(err):
		key.Err = err
	default:
		return key, err
	}
	return key, nil
}

// A lent signer is used by several setups. The last of them closes it.
type lent struct {
	kms.Signer
	users *atomic.Int64
}

// lend returns a signer that is to be closed by one more user.
func lend(s kms.Signer) kms.Signer {
	l, ok := s.(lent)
	if !ok {
		l = lent{s, new(atomic.Int64)}
	}
	l.users.Add(1)
	return l
}

// Close implements kms.Signer.
func (l lent) Close() error {
	if l.users.Add(-1) > 0 {
		return nil
	}
	return l.Signer.Close()
}

// notNow reports whether an error of opening a key is the key store's, and not
// the configuration's.
func notNow(err error) bool {
	for _, e := range []error{kms.ErrUnavailable, kms.ErrThrottled, kms.ErrDenied, kms.ErrNotFound, kms.ErrKeyState, kms.ErrKeyMismatch, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// switchOf returns the switch of a key, which all setups share, so that a
// reload that disables a key stops work that began before it.
func (o *opener) switchOf(c configs.Key) *kms.Switch {
	o.mu.Lock()
	defer o.mu.Unlock()
	s, ok := o.switches[c.Name]
	if !ok {
		s = &kms.Switch{}
		if o.switches == nil {
			o.switches = map[string]*kms.Switch{}
		}
		o.switches[c.Name] = s
	}
	return s
}

// turnOff turns off the keys that a new configuration disables, and returns
// their names. It comes before anything that may take long, or fail: then they
// are off too early, and that is the better mistake.
func (o *opener) turnOff(cfg *configs.Config) []string {
	var names []string
	for i := range cfg.Keys {
		if c := cfg.Keys[i]; c.Disabled {
			o.switchOf(c).Set(true, c.DisableFile)
			names = append(names, c.Name)
		}
	}
	return names
}

// turn puts every key's switch as the configuration says. A key that it names
// no more is off.
func (o *opener) turn(cfg *configs.Config) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, s := range o.switches {
		if c, ok := cfg.Key(name); ok {
			s.Set(c.Disabled, c.DisableFile)
		} else {
			s.Set(true, "")
		}
	}
}

// storeOf returns the key store of a key, nil for one in a file.
func (o *opener) storeOf(c configs.Key, stores map[string]openedStore) (*kms.Store, error) {
	scheme, _, _ := strings.Cut(c.URI, ":")
	if scheme == "file" {
		return nil, nil //nolint:nilnil // a file needs none
	}
	return o.store(c.Store, scheme, stores)
}

// store returns the key store of that name, or the one that the environment
// describes for a scheme, opening it unless it is open with that configuration.
func (o *opener) store(name, scheme string, stores map[string]openedStore) (*kms.Store, error) {
	id := name
	if name == "" {
		id = scheme + ":" // no name has a colon
	}
	s := stores[id]
	if s.config.Name == "" {
		s.config.Name, s.config.Kind = scheme, configs.StoreKind(scheme)
	}
	if was, ok := o.stores[id]; ok && was.config == s.config {
		s.store = was.store
	}
	if s.store == nil {
		var err error
		if s.store, err = openStore(s.config); err != nil {
			return nil, fmt.Errorf("key store %q: %w", s.config.Name, err)
		}
	}
	stores[id] = s
	return s.store, nil
}

func openStore(c configs.KeyStore) (*kms.Store, error) {
	a := c.Auth
	return kms.NewStore(kms.StoreConfig{Name: c.Name, Endpoint: c.Endpoint, Region: c.Region, Namespace: c.Namespace,
		Project: c.Project, CAFile: c.CAFile, Timeout: c.TimeoutDuration(), Helper: c.Helper, Plugin: c.Plugin,
		Limits: budget.Limits{RequestsPerSecond: c.Limits.RequestsPerSecond, Concurrency: c.Limits.Concurrency},
		Auth: kms.Auth{TokenFile: a.TokenFile, RoleID: a.RoleID, SecretIDFile: a.SecretIDFile, KubernetesRole: a.KubernetesRole,
			JWTFile: a.JWTFile, Mount: a.Mount, AccessKey: a.AccessKey, SecretKeyFile: a.SecretKeyFile,
			ConfigFile: a.ConfigFile, Profile: a.Profile}})
}
