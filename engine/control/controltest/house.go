// Package controltest gives the tests of the control plane's APIs what stands behind
// one: an engine that runs on a real registry, a journal, a door with callers.
package controltest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/tracing"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// What the house has. Registry Other is the same server under another name: another
// tenant's.
const (
	Registry      = "prod"
	Other         = "other"
	Instance      = "8d9b3f5e-0c3f-4d54-9b06-6a26f3e7a111" // of Registry
	OtherInstance = "5e1c7a52-77aa-4f0f-8a11-0f5f5d1f2b10"
	Key           = "release" // ECDSA_SHA_256
	KeyAlias      = "4c5cc6ea-8aa9-49f3-8a0f-1b1f0d0a9c11"
	RSAKey        = "rsa" // RSA_PSS_SHA_256
	RSAKeyAlias   = "ocid1.key.oc1.phx.bbqehaq3aadfa.abyhqljr7e4hrmqzvzbywq3lq6dvh6ppxkqtltdhuavqlvnx2wrmz22sixa"
)

// The callers, with their secrets. All but stranger see every registry.
const (
	AdminKey       = "AKEXAMPLE0000000001"
	AdminSecret    = "SKEXAMPLE00000000000000000000000000000001"
	AdminToken     = "admin-token-0123456789-0123456789-0123456789"
	OperatorKey    = "AKEXAMPLE0000000002"
	OperatorSecret = "SKEXAMPLE00000000000000000000000000000002"
	OperatorToken  = "operator-token-0123456789-0123456789-0123456"
	ViewerKey      = "AKEXAMPLE0000000003"
	ViewerSecret   = "SKEXAMPLE00000000000000000000000000000003"
	ViewerToken    = "viewer-token-0123456789-0123456789-012345678"
	StrangerKey    = "AKEXAMPLE0000000004" // admin of Other
	StrangerSecret = "SKEXAMPLE00000000000000000000000000000004"
	StrangerToken  = "stranger-token-0123456789-0123456789-0123456"
)

// A House is all of it. It ends with its test.
type House struct {
	Engine  *engine.Engine
	Journal *journal.Journal
	Door    *door.Door
	Rights  *rights.Rights
	// Server is the registry behind both names.
	Server *registrytest.Server
	// State is the journal's directory.
	State string
	// Public are the public halves of the keys, by name.
	Public map[string]*kms.PublicKey
	// Signers are the keys, by name. They are closed with the engine's setup.
	Signers map[string]kms.Signer
}

// Options change a House. Zero values are defaults.
type Options struct {
	// Policies are those of the configuration.
	Policies []policy.Policy
	// Silent says by registry why it tells of no pushes.
	Silent map[string]string
	// Credentials are further callers.
	Credentials []door.Credential
	// Rights change how often callers may ask.
	Rights rights.Options
	// Clock is the door's.
	Clock func() time.Time
	// Aliases are further names of Key.
	Aliases []string
	// Admit is asked by the door besides Rights.
	Admit func(door.Caller, *http.Request) error
	// StoredQuota is how many policies may be stored for a registry. Default: the
	// engine's.
	StoredQuota int
	// CatalogAge is how long a listing of repositories is used again. Default: not at
	// all, as tests push something and look for it.
	CatalogAge time.Duration
	// Metrics, if there are any, count what the engine does.
	Metrics Metrics
	// Tracer traces what the engine does.
	Tracer *tracing.Tracer
}

// Metrics are what an engine and its journal tell of what they do.
type Metrics interface {
	Outcome(engine.Outcome)
	Fired(journal.Firing, journal.FireResult)
	Ended(journal.Execution)
	KeyUsed(key string, took time.Duration, err error)
}

// New builds a house and starts its engine.
func New(t testing.TB, o Options) *House {
	t.Helper()
	h := &House{Server: registrytest.Distribution(t), State: journaltest.SQLiteJournal(t), Public: map[string]*kms.PublicKey{}, Signers: map[string]kms.Signer{}}
	keys := map[string]engine.Key{
		Key:    {Signer: h.key(t, Key, policy.ECDSASHA256), Aliases: append([]string{KeyAlias}, o.Aliases...)},
		RSAKey: {Signer: h.key(t, RSAKey, policy.RSAPSSSHA256), Aliases: []string{RSAKeyAlias}},
	}
	places := map[string]*engine.Place{}
	for _, name := range []string{Registry, Other} {
		r, err := registry.Open(registry.Config{Name: name, Host: h.Server.Host, Kind: "generic", Insecure: true,
			Limits: registry.Limits{RequestsPerSecond: 5000, Concurrency: 8}})
		if err != nil {
			t.Fatal(err)
		}
		places[name] = engine.NewPlace(r, 8)
	}
	setup, err := engine.NewSetup(o.Policies, places, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	setup.Silent = o.Silent
	keep, options := journal.Options{State: h.State}, engine.Options{Setup: setup, Deadline: 20 * time.Second}
	options.Tracer, keep.Ended = o.Tracer, o.Tracer.Executed
	options.CatalogAge, options.StoredQuota = cmp.Or(o.CatalogAge, -1), o.StoredQuota
	if m := o.Metrics; m != nil {
		keep.Ended, options.Observe, options.Fired, options.KeyUsed = m.Ended, m.Outcome, m.Fired, m.KeyUsed
	}
	if h.Journal, err = journal.Open(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	options.Journal = h.Journal
	h.Engine = engine.New(options)
	if err := h.Engine.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Engine.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.close(t) })
	h.openDoor(t, o)
	return h
}

// TakeTurns takes all turns at the journal, until leave is called, which waits until they
// are left.
func (h *House) TakeTurns(t testing.TB) (leave func()) {
	t.Helper()
	done := make(chan struct{})
	var left, taken sync.WaitGroup
	taken.Add(rights.JournalTurns)
	for range rights.JournalTurns {
		left.Go(func() {
			_, err := rights.InTurn(t.Context(), h.Rights.Turns(), door.Caller{}, true, func(context.Context) (int, error) { taken.Done(); <-done; return 0, nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	taken.Wait()
	return func() { close(done); left.Wait() }
}

func (h *House) close(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.Engine.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := h.Journal.Close(); err != nil {
		t.Error(err)
	}
}

func (h *House) key(t testing.TB, name string, a policy.Algorithm) kms.Signer {
	t.Helper()
	private, public, err := kms.Generate(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(t.TempDir(), "key")
	if err := kms.WriteKeyPair(prefix, private, public); err != nil {
		t.Fatal(err)
	}
	s, err := kms.Open(t.Context(), kms.Config{URI: "file:" + prefix + ".key", Algorithm: a})
	if err != nil {
		t.Fatal(err)
	}
	h.Public[name], h.Signers[name] = s.Public(), s
	return s
}

func (h *House) openDoor(t testing.TB, o Options) {
	t.Helper()
	o.Rights.Journal = h.Journal
	if o.Rights.Log == nil {
		o.Rights.Log = zap.NewNop()
	}
	h.Rights = rights.New(o.Rights)
	h.Rights.Replace([]rights.Instance{{ID: Instance, Registry: Registry}, {ID: OtherInstance, Registry: Other}}, []string{Registry, Other})
	credentials := []door.Credential{
		{Name: "admin", Role: door.Admin, AccessKey: AdminKey, Secret: []byte(AdminSecret), TokenSHA256: sha256.Sum256([]byte(AdminToken))},
		{Name: "operator", Role: door.Operator, AccessKey: OperatorKey, Secret: []byte(OperatorSecret), TokenSHA256: sha256.Sum256([]byte(OperatorToken))},
		{Name: "viewer", Role: door.Viewer, AccessKey: ViewerKey, Secret: []byte(ViewerSecret), TokenSHA256: sha256.Sum256([]byte(ViewerToken))},
		{Name: "stranger", Role: door.Admin, AccessKey: StrangerKey, Secret: []byte(StrangerSecret), TokenSHA256: sha256.Sum256([]byte(StrangerToken)),
			Registries: []string{Other}, Keys: []string{Key, RSAKey}},
	}
	admit := func(c door.Caller, r *http.Request) error {
		if err := h.Rights.Admit(c, r); err != nil || o.Admit == nil {
			return err
		}
		return o.Admit(c, r)
	}
	var err error
	h.Door, err = door.New(door.Config{Credentials: append(credentials, o.Credentials...), Admit: admit, Clock: o.Clock})
	if err != nil {
		t.Fatal(err)
	}
}

// Serve serves a handler on loopback until the test ends, and returns its URL.
func (h *House) Serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// Catalogs returns how many pages of its repositories the registry was asked for since
// its log was reset.
func (h *House) Catalogs() (n int) {
	for _, line := range h.Server.Log() {
		if strings.Contains(line, "/v2/_catalog") {
			n++
		}
	}
	return n
}

// patience is how long something may take that is sure to come.
const patience = time.Minute

// Await waits until an execution has ended, and returns it.
func (h *House) Await(t testing.TB, id int64) journal.Execution {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		x, err := h.Journal.Execution(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if x.Status.Final() {
			return x
		}
		if time.Now().After(end) {
			t.Fatalf("execution %d goes on: %+v", id, x)
		}
	}
}
