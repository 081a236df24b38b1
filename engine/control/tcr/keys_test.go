package tcr_test

import (
	"testing"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
)

// reload gives the engine a configuration with these keys.
func (e *estate) reload(keys map[string]engine.Key) {
	e.t.Helper()
	places := map[string]*engine.Place{}
	for _, name := range []string{controltest.Registry, controltest.Other} {
		r, err := registry.Open(registry.Config{Name: name, Host: e.Server.Host, Kind: "generic", Insecure: true})
		if err != nil {
			e.t.Fatal(err)
		}
		places[name] = engine.NewPlace(r, 0)
	}
	setup, err := engine.NewSetup(nil, places, keys, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	e.Engine.Replace(setup)
}

// TestKeys: no policy gets a key that cannot sign now; one whose key is gone, or does
// not open, shows no signature, and is still there.
func TestKeys(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	e.admin().call("CreateSignaturePolicy", library(), nil)
	e.operator().call("CreateSignature", app("v1"), nil)
	e.viewer().signed("v1")

	e.reload(map[string]engine.Key{controltest.Key: {Err: kms.ErrUnavailable, Aliases: []string{controltest.KeyAlias}}})
	e.admin().refused("CreateSignaturePolicy", library().with(params{"Name": "other"}), "FailedOperation.DependenceError", "KmsId", "now")
	if i := e.viewer().image("v1"); i.KmsSignature != "" {
		t.Errorf("without a key to verify it: %+v", i)
	}
	e.reload(nil)
	controltest.NextSecond()
	e.operator().refused("CreateSignature", app("v1"), "OperationDenied", "cannot be carried out")
	if i := e.viewer().image("v1"); i.KmsSignature != "" {
		t.Errorf("without a key: %+v", i)
	}
	if got := e.viewer().policies(); len(got) != 1 {
		t.Errorf("policies %v", got)
	}
	e.admin().call("DeleteSignaturePolicy", inLibrary(), nil)
}
