package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// A SignatureKey authenticates HTTP requests that we send or receive. No image is
// signed with it.
type SignatureKey struct {
	ID        string // unique among all
	Registry  string
	Name      string // unique in its registry
	Type      string
	Key       string // which key it is; empty if that is secret too
	Algorithm string
	// Sealed is what is secret, encrypted by the key whose id is SealedBy. The
	// journal cannot read it.
	Sealed, SealedBy     string
	Bindings             int
	CreatedAt, UpdatedAt time.Time
}

// A SignatureBinding says that requests of an API, a place that we send to or
// receive at, are authenticated by a signature key.
type SignatureBinding struct {
	ID, KeyID, API string
	BoundAt        time.Time
}

var (
	// ErrQuota is for one more than there may be.
	ErrQuota = errors.New("the quota is used up")
	// ErrBound is for an API that has another signature key.
	ErrBound = errors.New("bound to another signature key")
)

const (
	signatureKeysKey = "signature keys" // of the writer, and of the row that is locked
	selectSignature  = `SELECT k.id, k.registry, k.name, k.type, k.sign_key, k.algorithm, k.sealed, k.sealed_by, k.created_at, k.updated_at,
		(SELECT COUNT(*) FROM signature_bindings c WHERE c.key_id = k.id) FROM signature_keys k`
	selectBinding = `SELECT b.id, b.key_id, b.api, b.bound_at FROM signature_bindings b`
)

// SignatureKeys returns the signature keys of a registry, the oldest first.
func (j *Journal) SignatureKeys(ctx context.Context, registry string) ([]SignatureKey, error) {
	list, err := collect(ctx, j.store.reader(), scanSignature, selectSignature+` WHERE k.registry = $1 ORDER BY k.number`, registry)
	if err != nil {
		return nil, fmt.Errorf("reading signature keys: %w", err)
	}
	return list, nil
}

// SignatureBindings returns the bindings of a registry's signature keys, the oldest
// first.
func (j *Journal) SignatureBindings(ctx context.Context, registry string) ([]SignatureBinding, error) {
	list, err := collect(ctx, j.store.reader(), scanBinding,
		selectBinding+` JOIN signature_keys k ON k.id = b.key_id WHERE k.registry = $1 ORDER BY b.number`, registry)
	if err != nil {
		return nil, fmt.Errorf("reading the bindings of signature keys: %w", err)
	}
	return list, nil
}

// BoundSignatureKey returns the signature key that an API is bound to, or
// ErrNotFound.
func (j *Journal) BoundSignatureKey(ctx context.Context, api string) (SignatureKey, error) {
	k, err := scanSignature(j.store.reader().queryRow(ctx,
		selectSignature+` JOIN signature_bindings b ON b.key_id = k.id WHERE b.api = $1`, api))
	if err != nil {
		return SignatureKey{}, fmt.Errorf("reading the signature key of %q: %w", api, notFound(err))
	}
	return k, nil
}

// CreateSignatureKey stores a signature key and returns it with its times. It
// returns ErrExists if its registry has one of that name, and ErrQuota if it has as
// many as quota.
func (j *Journal) CreateSignatureKey(ctx context.Context, k SignatureKey, quota int) (SignatureKey, error) {
	err := j.changeSignatures(ctx, func(ctx context.Context, q querier) error {
		if err := signatureNameFree(ctx, q, k); err != nil {
			return err
		}
		n, err := scanID(q.queryRow(ctx, `SELECT COUNT(*) FROM signature_keys WHERE registry = $1`, k.Registry))
		if err != nil {
			return err
		}
		if n >= int64(quota) {
			return ErrQuota
		}
		k.CreatedAt = fromMicros(micros(j.now()))
		k.UpdatedAt, k.Bindings = k.CreatedAt, 0
		_, err = q.exec(ctx, `INSERT INTO signature_keys (id, registry, name, type, sign_key, algorithm, sealed, sealed_by, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)`,
			k.ID, k.Registry, k.Name, k.Type, k.Key, k.Algorithm, k.Sealed, k.SealedBy, micros(k.CreatedAt))
		return err
	})
	if err != nil {
		return SignatureKey{}, fmt.Errorf("storing signature key %q: %w", k.Name, err)
	}
	return k, nil
}

// UpdateSignatureKey changes a signature key of a registry, but for its id, registry
// and CreatedAt, as change has it, which may refuse with an error and may be called
// more than once. It returns ErrNotFound if there is none, and ErrExists if another
// one has the name.
func (j *Journal) UpdateSignatureKey(ctx context.Context, registry, id string, change func(*SignatureKey) error) (SignatureKey, error) {
	var k SignatureKey
	err := j.changeSignatures(ctx, func(ctx context.Context, q querier) error {
		old, err := signatureByID(ctx, q, registry, id)
		if err != nil {
			return err
		}
		k = old
		if err := change(&k); err != nil {
			return err
		}
		k.ID, k.Registry, k.CreatedAt, k.Bindings = old.ID, old.Registry, old.CreatedAt, old.Bindings
		if err := signatureNameFree(ctx, q, k); err != nil {
			return err
		}
		k.UpdatedAt = fromMicros(micros(j.now()))
		return saveSignature(ctx, q, k)
	})
	if err != nil {
		return SignatureKey{}, fmt.Errorf("changing signature key %q: %w", id, err)
	}
	return k, nil
}

// DeleteSignatureKey deletes a signature key of a registry and its bindings. It
// returns ErrNotFound if there is none.
func (j *Journal) DeleteSignatureKey(ctx context.Context, registry, id string) error {
	err := j.changeSignatures(ctx, func(ctx context.Context, q querier) error {
		if _, err := signatureByID(ctx, q, registry, id); err != nil {
			return err
		}
		if _, err := q.exec(ctx, `DELETE FROM signature_bindings WHERE key_id = $1`, id); err != nil {
			return err
		}
		_, err := q.exec(ctx, `DELETE FROM signature_keys WHERE id = $1`, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting signature key %q: %w", id, err)
	}
	return nil
}

// ResealSignatureKeys gives every signature key to reseal, which says if it changed
// Sealed and SealedBy, and stores all that did, or none. It returns how many.
func (j *Journal) ResealSignatureKeys(ctx context.Context, reseal func(*SignatureKey) (bool, error)) (int, error) {
	var n int
	err := j.changeSignatures(ctx, func(ctx context.Context, q querier) error {
		n = 0
		all, err := collect(ctx, q, scanSignature, selectSignature+` ORDER BY k.number`)
		if err != nil {
			return err
		}
		for _, k := range all {
			changed, err := reseal(&k)
			if err != nil {
				return err
			}
			if !changed {
				continue
			}
			n++
			if err := saveSignature(ctx, q, k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("encrypting signature keys again: %w", err)
	}
	return n, nil
}

// BindSignatureKey binds a signature key of a registry to the APIs of the bindings,
// all or none, and returns the bindings as they are then: one that there was already
// stays as it was. It returns ErrNotFound if there is no such key, and ErrBound if an
// API has another one.
func (j *Journal) BindSignatureKey(ctx context.Context, registry, id string, bindings []SignatureBinding) (SignatureKey, []SignatureBinding, error) {
	var k SignatureKey
	var bound []SignatureBinding
	err := j.changeSignatures(ctx, func(ctx context.Context, q querier) (err error) {
		if k, err = signatureByID(ctx, q, registry, id); err != nil {
			return err
		}
		bound = nil
		for _, b := range bindings {
			b.KeyID = id
			if b, err = j.bindSignature(ctx, q, b); err != nil {
				return err
			}
			bound = append(bound, b)
		}
		return nil
	})
	if err != nil {
		return SignatureKey{}, nil, fmt.Errorf("binding signature key %q: %w", id, err)
	}
	return k, bound, nil
}

func (j *Journal) bindSignature(ctx context.Context, q querier, b SignatureBinding) (SignatureBinding, error) {
	old, err := scanBinding(q.queryRow(ctx, selectBinding+` WHERE b.api = $1`, b.API))
	switch {
	case err == nil && old.KeyID == b.KeyID:
		return old, nil
	case err == nil:
		return b, fmt.Errorf("%q: %w", b.API, ErrBound)
	case !errors.Is(err, sql.ErrNoRows):
		return b, err
	}
	b.BoundAt = fromMicros(micros(j.now()))
	_, err = q.exec(ctx, `INSERT INTO signature_bindings (id, key_id, api, bound_at) VALUES ($1, $2, $3, $4)`,
		b.ID, b.KeyID, b.API, micros(b.BoundAt))
	return b, err
}

// UnbindSignatureKey deletes a binding of a registry's signature keys. It returns
// ErrNotFound if there is none.
func (j *Journal) UnbindSignatureKey(ctx context.Context, registry, binding string) error {
	err := j.changeSignatures(ctx, func(ctx context.Context, q querier) error {
		n, err := q.exec(ctx, `DELETE FROM signature_bindings
			WHERE id = $1 AND key_id IN (SELECT id FROM signature_keys WHERE registry = $2)`, binding, registry)
		if err == nil && n == 0 {
			return ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting binding %q of a signature key: %w", binding, err)
	}
	return nil
}

// changeSignatures runs f in a transaction, the only one that changes signature keys:
// it locks a row.
func (j *Journal) changeSignatures(ctx context.Context, f func(ctx context.Context, q querier) error) error {
	return j.write(ctx, signatureKeysKey, func(ctx context.Context, q querier) error {
		_, err := advance(ctx, q, signatureKeysKey)
		if err == nil {
			err = f(ctx, q)
		}
		if err != nil {
			return undo{err}
		}
		return nil
	})
}

func signatureByID(ctx context.Context, q querier, registry, id string) (SignatureKey, error) {
	k, err := scanSignature(q.queryRow(ctx, selectSignature+` WHERE k.registry = $1 AND k.id = $2`, registry, id))
	return k, notFound(err)
}

// signatureNameFree returns ErrExists if another signature key has the name.
func signatureNameFree(ctx context.Context, q querier, k SignatureKey) error {
	n, err := scanID(q.queryRow(ctx, `SELECT COUNT(*) FROM signature_keys WHERE registry = $1 AND name = $2 AND id <> $3`, k.Registry, k.Name, k.ID))
	if err == nil && n > 0 {
		return ErrExists
	}
	return err
}

func saveSignature(ctx context.Context, q querier, k SignatureKey) error {
	_, err := q.exec(ctx, `UPDATE signature_keys SET name = $2, type = $3, sign_key = $4, algorithm = $5, sealed = $6, sealed_by = $7,
		updated_at = $8 WHERE id = $1`, k.ID, k.Name, k.Type, k.Key, k.Algorithm, k.Sealed, k.SealedBy, micros(k.UpdatedAt))
	return err
}

func scanSignature(s scanner) (SignatureKey, error) {
	var k SignatureKey
	var created, updated int64
	err := s.Scan(&k.ID, &k.Registry, &k.Name, &k.Type, &k.Key, &k.Algorithm, &k.Sealed, &k.SealedBy, &created, &updated, &k.Bindings)
	k.CreatedAt, k.UpdatedAt = fromMicros(created), fromMicros(updated)
	return k, err
}

func scanBinding(s scanner) (SignatureBinding, error) {
	var b SignatureBinding
	var bound int64
	err := s.Scan(&b.ID, &b.KeyID, &b.API, &bound)
	b.BoundAt = fromMicros(bound)
	return b, err
}
