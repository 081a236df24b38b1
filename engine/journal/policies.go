package journal

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

// Origin is who says what a policy is.
type Origin string

// The origins.
const (
	FromFile Origin = "file" // the configuration: the journal only gives it an id
	FromAPI  Origin = "api"  // the own API
	FromSWR  Origin = "swr"  // Huawei SWR's API
	FromTCR  Origin = "tcr"  // Tencent TCR's API
)

// A StoredPolicy is a policy that came through an API and lives in the journal.
type StoredPolicy struct {
	ID int64 `json:"id"`
	// Policy is what is carried out. Its name is unique among all policies and
	// stays as long as the policy is there.
	Policy policy.Policy `json:"policy"`
	Origin Origin        `json:"origin"`
	// Label is what a vendor's clients call it: unique in its origin, registry and
	// namespace. For FromAPI it is the name.
	Label string `json:"label,omitempty"`
	// Document is what the vendor's API was given, as JSON.
	Document json.RawMessage `json:"document,omitempty"`
	// Creator is the caller who created it.
	Creator string `json:"creator,omitempty"`
	// Revision grows with each change of any policy; it is that of the last change
	// of this one.
	Revision  int64     `json:"revision"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// PolicyBounds are what stored policies must keep to.
type PolicyBounds struct {
	// Reserved are names that none must get: those of policies of files.
	Reserved []string
	// Quota is how many there may be for one registry.
	Quota int
}

var (
	// ErrExists is for a name or label that a policy has already.
	ErrExists = errors.New("exists already")
	// ErrRevision is for a policy that was changed since it was read.
	ErrRevision = errors.New("was changed meanwhile")
)

const (
	policiesKey      = "stored policies" // of the writer: policies are changed one after the other
	policiesRevision = "policies"
	selectStored     = `SELECT id, name, origin, label, body, document, creator, revision, created_at, updated_at FROM stored_policies`
)

// StoredPolicies returns the policies that are stored, by id, and the revision
// that they have together: it is read first, so that they are as new as it or
// newer.
func (j *Journal) StoredPolicies(ctx context.Context) ([]StoredPolicy, int64, error) {
	revision, err := j.PoliciesRevision(ctx)
	if err != nil {
		return nil, 0, err
	}
	list, err := collect(ctx, j.store.reader(), scanStored, selectStored+` WHERE origin <> 'file' ORDER BY id`)
	if err != nil {
		return nil, 0, fmt.Errorf("reading stored policies: %w", err)
	}
	return list, revision, nil
}

// PoliciesRevision returns what grows with each change of a stored policy; 0 if
// there never was one.
func (j *Journal) PoliciesRevision(ctx context.Context) (int64, error) {
	n, err := scanID(j.store.reader().queryRow(ctx, `SELECT revision FROM revisions WHERE name = $1`, policiesRevision))
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the revision of policies: %w", err)
	}
	return n, nil
}

// FilePolicyIDs returns the ids of policies of files. A name keeps its id for
// good, or until a stored policy gets the name.
func (j *Journal) FilePolicyIDs(ctx context.Context, names []string) (map[string]int64, error) {
	names = slices.Sorted(slices.Values(names)) // replicas take row locks in the same order
	var ids map[string]int64
	err := j.write(ctx, policiesKey, func(ctx context.Context, q querier) error {
		ids = make(map[string]int64, len(names))
		for _, name := range names {
			id, err := scanID(q.queryRow(ctx, `INSERT INTO stored_policies
				(name, origin, label, registry, namespace, body, document, creator, revision, created_at, updated_at)
				VALUES ($1, 'file', $1, '', '', '', '', '', 0, $2, $2)
				ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id`, name, micros(j.now())))
			if err != nil {
				return err
			}
			ids[name] = id
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the ids of policies: %w", err)
	}
	return ids, nil
}

// CreatePolicy stores a policy and returns it as it is then. Its ID, Revision and
// times are given here; also its name if that is empty: the label, as far as it
// can be one, with the id behind it if another policy is called so. It returns
// ErrExists if the name or the label is taken, and ErrQuota if its registry has as
// many as there may be.
func (j *Journal) CreatePolicy(ctx context.Context, p StoredPolicy, b PolicyBounds) (StoredPolicy, error) {
	var created StoredPolicy
	err := j.changePolicies(ctx, func(ctx context.Context, q querier, revision int64) (err error) {
		created, err = j.createPolicy(ctx, q, p, b, revision)
		return err
	})
	if err != nil {
		return StoredPolicy{}, fmt.Errorf("storing policy %q: %w", cmp.Or(p.Policy.Name, p.Label), err)
	}
	return created, nil
}

// PutPolicy stores a policy in place of the one of its origin, registry and
// namespace, which keeps its id and name, or creates it as CreatePolicy does.
func (j *Journal) PutPolicy(ctx context.Context, p StoredPolicy, b PolicyBounds) (StoredPolicy, error) {
	var put StoredPolicy
	err := j.changePolicies(ctx, func(ctx context.Context, q querier, revision int64) error {
		old, err := scanStored(q.queryRow(ctx, selectStored+` WHERE origin = $1 AND registry = $2 AND namespace = $3 ORDER BY id LIMIT 1`,
			p.Origin, p.Policy.Registry, p.Policy.Namespace))
		if errors.Is(err, sql.ErrNoRows) {
			put, err = j.createPolicy(ctx, q, p, b, revision)
			return err
		}
		if err != nil {
			return err
		}
		put = p
		put.ID, put.CreatedAt, put.Policy.Name = old.ID, old.CreatedAt, old.Policy.Name
		return j.savePolicy(ctx, q, &put, revision)
	})
	if err != nil {
		return StoredPolicy{}, fmt.Errorf("storing policy %q: %w", p.Label, err)
	}
	return put, nil
}

// UpdatePolicy changes a stored policy, but for its id, name, origin and creator,
// as change has it, which gets the policy as it is and may refuse with an error.
// change may be called more than once. It returns ErrNotFound if there is none of
// this id, ErrExists if another one has the label, and ErrQuota if it moves to a
// registry that has as many as there may be.
func (j *Journal) UpdatePolicy(ctx context.Context, id int64, b PolicyBounds, change func(*StoredPolicy) error) (StoredPolicy, error) {
	var changed StoredPolicy
	err := j.changePolicies(ctx, func(ctx context.Context, q querier, revision int64) error {
		old, err := storedByID(ctx, q, id)
		if err != nil {
			return err
		}
		changed = old
		if err := change(&changed); err != nil {
			return err
		}
		changed.ID, changed.Policy.Name, changed.Origin, changed.Creator = old.ID, old.Policy.Name, old.Origin, old.Creator
		changed.CreatedAt = old.CreatedAt
		if err := labelFree(ctx, q, &changed); err != nil {
			return err
		}
		if changed.Policy.Registry != old.Policy.Registry {
			if err := b.room(ctx, q, changed.Policy.Registry); err != nil {
				return err
			}
		}
		return j.savePolicy(ctx, q, &changed, revision)
	})
	if err != nil {
		return StoredPolicy{}, fmt.Errorf("changing policy %d: %w", id, err)
	}
	return changed, nil
}

// DeletePolicy deletes a stored policy unless refuse, which gets it, returns an
// error. It returns ErrNotFound if there is none of this id.
func (j *Journal) DeletePolicy(ctx context.Context, id int64, refuse func(StoredPolicy) error) error {
	err := j.changePolicies(ctx, func(ctx context.Context, q querier, _ int64) error {
		p, err := storedByID(ctx, q, id)
		if err != nil {
			return err
		}
		if err := refuse(p); err != nil {
			return undo{err}
		}
		_, err = q.exec(ctx, `DELETE FROM stored_policies WHERE id = $1`, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting policy %d: %w", id, err)
	}
	return nil
}

// changePolicies runs f in a transaction that gives a new revision. The row of
// the revision makes it the only one that changes policies.
func (j *Journal) changePolicies(ctx context.Context, f func(ctx context.Context, q querier, revision int64) error) error {
	return j.write(ctx, policiesKey, func(ctx context.Context, q querier) error {
		revision, err := advance(ctx, q, policiesRevision)
		if err == nil {
			err = f(ctx, q, revision)
		}
		if err != nil {
			return undo{err} // the revision too
		}
		return nil
	})
}

func storedByID(ctx context.Context, q querier, id int64) (StoredPolicy, error) {
	p, err := scanStored(q.queryRow(ctx, selectStored+` WHERE id = $1 AND origin <> 'file'`, id))
	return p, notFound(err)
}

func (j *Journal) createPolicy(ctx context.Context, q querier, p StoredPolicy, b PolicyBounds, revision int64) (StoredPolicy, error) {
	if err := labelFree(ctx, q, &p); err != nil {
		return p, err
	}
	if err := b.room(ctx, q, p.Policy.Registry); err != nil {
		return p, err
	}
	name := cmp.Or(p.Policy.Name, nameOf(p.Label, string(p.Origin)))
	taken := slices.Contains(b.Reserved, name)
	if !taken {
		// A file may have given up the name since.
		if _, err := q.exec(ctx, `DELETE FROM stored_policies WHERE name = $1 AND origin = 'file'`, name); err != nil {
			return p, err
		}
		n, err := scanID(q.queryRow(ctx, `SELECT COUNT(*) FROM stored_policies WHERE name = $1`, name))
		if err != nil {
			return p, err
		}
		taken = n > 0
	}
	if taken && p.Policy.Name != "" {
		return p, ErrExists
	}
	now := j.now()
	first := name
	if taken {
		first = fmt.Sprintf("%s %d new", name, revision) // nobody sees it
	}
	var err error
	p.ID, err = scanID(q.queryRow(ctx, `INSERT INTO stored_policies
		(name, origin, label, registry, namespace, body, document, creator, revision, created_at, updated_at)
		VALUES ($1, $2, $3, '', '', '', '', $4, 0, $5, $5) RETURNING id`, first, p.Origin, p.Label, p.Creator, micros(now)))
	if err != nil {
		return p, err
	}
	if p.Policy.Name = name; taken {
		p.Policy.Name = fmt.Sprintf("%.100s-%d", name, p.ID)
	}
	p.CreatedAt = fromMicros(micros(now))
	return p, j.savePolicy(ctx, q, &p, revision)
}

// savePolicy writes all that can change, and the name.
func (j *Journal) savePolicy(ctx context.Context, q querier, p *StoredPolicy, revision int64) error {
	body, err := json.Marshal(p.Policy)
	if err != nil {
		return err
	}
	p.Revision, p.UpdatedAt = revision, fromMicros(micros(j.now()))
	_, err = q.exec(ctx, `UPDATE stored_policies SET name = $2, label = $3, registry = $4, namespace = $5, body = $6, document = $7,
		creator = $8, revision = $9, updated_at = $10 WHERE id = $1`,
		p.ID, p.Policy.Name, p.Label, p.Policy.Registry, p.Policy.Namespace, string(body), string(p.Document), p.Creator, p.Revision, micros(p.UpdatedAt))
	return err
}

// labelFree returns ErrExists if another policy has the label.
func labelFree(ctx context.Context, q querier, p *StoredPolicy) error {
	n, err := scanID(q.queryRow(ctx, `SELECT COUNT(*) FROM stored_policies
		WHERE origin = $1 AND registry = $2 AND namespace = $3 AND label = $4 AND id <> $5`,
		p.Origin, p.Policy.Registry, p.Policy.Namespace, p.Label, p.ID))
	if err == nil && n > 0 {
		return ErrExists
	}
	return err
}

// room returns ErrQuota if a registry has as many stored policies as it may. Policies
// are changed one after the other, so that nobody stores another one meanwhile.
func (b PolicyBounds) room(ctx context.Context, q querier, registry string) error {
	n, err := scanID(q.queryRow(ctx, `SELECT COUNT(*) FROM stored_policies WHERE registry = $1 AND origin <> 'file'`, registry))
	if err == nil && n >= int64(b.Quota) {
		return ErrQuota
	}
	return err
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9._ -]+`)

// nameOf makes a policy's name of a label, which may be written in any script.
func nameOf(label, otherwise string) string {
	name := strings.Trim(notInName.ReplaceAllString(label, "-"), "._ -")
	if len(name) > 100 {
		name = strings.TrimRight(name[:100], "._ -")
	}
	return cmp.Or(name, otherwise)
}

func scanStored(s scanner) (StoredPolicy, error) {
	var p StoredPolicy
	var name, body, document string
	var created, updated int64
	err := s.Scan(&p.ID, &name, &p.Origin, &p.Label, &body, &document, &p.Creator, &p.Revision, &created, &updated)
	if err != nil {
		return p, err
	}
	p.CreatedAt, p.UpdatedAt = fromMicros(created), fromMicros(updated)
	if document != "" {
		p.Document = json.RawMessage(document)
	}
	if body != "" {
		if err := json.Unmarshal([]byte(body), &p.Policy); err != nil {
			return p, fmt.Errorf("stored policy %q: %w", name, err)
		}
	}
	p.Policy.Name = name
	return p, nil
}
