//go:build cgo

package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/miekg/pkcs11"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms/pkcs11api"
)

const (
	// maxFound bounds the keys that one selector may find; to name one, it has
	// to find a single one.
	maxFound = 32
	// maxKnown bounds the keys that a connection remembers.
	maxKnown = 1024
)

// A key is a private key of the token with its public half.
type key struct {
	handle      pkcs11.ObjectHandle
	label       string
	id          []byte
	public      crypto.PublicKey
	der         []byte
	fingerprint string
	// algorithms are those that fit the key and that the token has.
	algorithms []policy.Algorithm
	// always: the PIN is to be shown for every signature.
	always bool
}

// describe finds a key and tells what the daemon must know of it.
func (t *token) describe(ctx context.Context, selector pkcs11api.Selector) (pkcs11api.Key, error) {
	var out pkcs11api.Key
	err := t.use(ctx, func(conn *connection, s pkcs11.SessionHandle) error {
		conn.forget(selector)
		k, err := t.key(conn, s, selector)
		if err != nil {
			return err
		}
		out = pkcs11api.Key{Token: conn.info.Label, Object: k.label, ID: hex.EncodeToString(k.id),
			Kind: kindOf(k.public), PublicKey: k.der, Algorithms: k.algorithms}
		return nil
	})
	return out, err
}

// key returns the one key that selector names, from memory if it was found
// before.
func (t *token) key(conn *connection, s pkcs11.SessionHandle, selector pkcs11api.Selector) (*key, error) {
	if k := conn.known(selector); k != nil {
		return k, nil
	}
	if err := conn.meant(selector); err != nil {
		return nil, err
	}
	id, _ := hex.DecodeString(selector.ID) // validated with the request
	objects := objects{t.module, s}
	handles, err := objects.find(pkcs11.CKO_PRIVATE_KEY, id, selector.Object)
	if err != nil {
		return nil, err
	}
	k, err := t.choose(conn, objects, handles, selector.PublicKeySHA256)
	if err != nil {
		return nil, err
	}
	conn.remember(selector, k)
	return k, nil
}

// choose loads the keys found and returns the one that is meant.
func (t *token) choose(conn *connection, o objects, handles []pkcs11.ObjectHandle, fingerprint string) (*key, error) {
	var fit []*key
	for _, handle := range handles {
		k, err := t.load(conn, o, handle)
		if err != nil {
			return nil, err
		}
		if fingerprint == "" || k.fingerprint == fingerprint {
			fit = append(fit, k)
		}
	}
	switch {
	case len(handles) == 0:
		return nil, &fault{http.StatusNotFound, pkcs11api.CodeNoKey, fmt.Sprintf("token %q has no such private key", conn.info.Label)}
	case len(fit) == 0:
		return nil, &fault{http.StatusPreconditionFailed, pkcs11api.CodeChanged, "the key of this name is another one now"}
	case len(fit) > 1:
		return nil, &fault{http.StatusPreconditionFailed, pkcs11api.CodeAmbiguous,
			fmt.Sprintf("%d private keys of token %q have these attributes: name one by its id", len(fit), conn.info.Label)}
	}
	return fit[0], nil
}

// load reads what matters of one private key.
func (t *token) load(conn *connection, o objects, handle pkcs11.ObjectHandle) (*key, error) {
	k := &key{handle: handle}
	label, err := o.attribute(handle, pkcs11.CKA_LABEL)
	if err != nil {
		return nil, fmt.Errorf("reading a key's label: %w", err)
	}
	k.label = string(label)
	if k.id, err = o.attribute(handle, pkcs11.CKA_ID); err != nil {
		return nil, fmt.Errorf("reading a key's id: %w", err)
	}
	if o.is(handle, pkcs11.CKA_SIGN, false) {
		return nil, &fault{http.StatusConflict, pkcs11api.CodeNotToSign, fmt.Sprintf("key %q is not for signing (CKA_SIGN)", k.label)}
	}
	k.always = o.is(handle, pkcs11.CKA_ALWAYS_AUTHENTICATE, true)
	if k.public, k.der, err = o.publicHalf(handle, k.id, k.label); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(k.der)
	k.fingerprint = hex.EncodeToString(sum[:])
	k.algorithms = t.algorithms(conn.slot, k.public)
	return k, nil
}

// algorithms returns how a key can sign: what fits it, as far as the token has
// the mechanism.
func (t *token) algorithms(slot uint, public crypto.PublicKey) []policy.Algorithm {
	var all []policy.Algorithm
	for _, name := range policy.Algorithms {
		alg := policy.Algorithm(name)
		if !fits(alg, public) {
			continue
		}
		info, err := t.module.GetMechanismInfo(slot, []*pkcs11.Mechanism{mechanismOf(alg)})
		if err == nil && info.Flags&pkcs11.CKF_SIGN != 0 {
			all = append(all, alg)
		}
	}
	return all
}

func fits(alg policy.Algorithm, public crypto.PublicKey) bool {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return alg.Family() == policy.RSAPSS || alg.Family() == policy.RSAPKCS1
	case *ecdsa.PublicKey:
		return alg == policy.ECDSASHA256 && key.Curve == elliptic.P256() || alg == policy.ECDSASHA384 && key.Curve == elliptic.P384()
	}
	return false
}

func kindOf(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return key.Curve.Params().Name
	}
	return fmt.Sprintf("%T", public)
}

// meant checks that a selector means this token.
func (c *connection) meant(s pkcs11api.Selector) error {
	for _, a := range []struct{ name, want, have string }{
		{"token", s.Token, c.info.Label}, {"manufacturer", s.Manufacturer, c.info.ManufacturerID},
		{"model", s.Model, c.info.Model}, {"serial", s.Serial, c.info.SerialNumber},
	} {
		if a.want != "" && a.want != a.have {
			return &fault{http.StatusNotFound, pkcs11api.CodeNoKey,
				fmt.Sprintf("this helper serves a token with %s %q, not %q", a.name, a.have, a.want)}
		}
	}
	return nil
}

func (c *connection) known(s pkcs11api.Selector) *key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys[s]
}

func (c *connection) remember(s pkcs11api.Selector, k *key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.keys) >= maxKnown {
		clear(c.keys) // rather than to let a caller fill the memory
	}
	c.keys[s] = k
}

func (c *connection) forget(s pkcs11api.Selector) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, s)
}

// objects are what one session sees of the token.
type objects struct {
	module  cryptoki
	session pkcs11.SessionHandle
}

// find returns the objects of a class with this id and label, as far as they
// are given.
func (o objects) find(class uint, id []byte, label string) (found []pkcs11.ObjectHandle, err error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if len(id) > 0 {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, id))
	}
	if label != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
	}
	if err := o.module.FindObjectsInit(o.session, template); err != nil {
		return nil, fmt.Errorf("searching the token: %w", err)
	}
	defer func() {
		if end := o.module.FindObjectsFinal(o.session); end != nil && err == nil {
			err = fmt.Errorf("ending a search of the token: %w", end)
		}
	}()
	for len(found) <= maxFound {
		some, _, err := o.module.FindObjects(o.session, maxFound)
		if err != nil {
			return nil, fmt.Errorf("searching the token: %w", err)
		}
		if len(some) == 0 {
			return found, nil
		}
		found = append(found, some...)
	}
	return nil, &fault{http.StatusPreconditionFailed, pkcs11api.CodeAmbiguous,
		fmt.Sprintf("more than %d objects have these attributes: name one by its id", maxFound)}
}

func (o objects) attribute(handle pkcs11.ObjectHandle, kind uint) ([]byte, error) {
	values, err := o.module.GetAttributeValue(o.session, handle, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if err != nil {
		return nil, err
	}
	if len(values) != 1 {
		return nil, errors.New("the module returned no value")
	}
	return values[0].Value, nil
}

// is reports whether a boolean attribute is there and has the value.
func (o objects) is(handle pkcs11.ObjectHandle, kind uint, value bool) bool {
	got, err := o.attribute(handle, kind)
	return err == nil && len(got) == 1 && (got[0] != 0) == value
}
