package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// Upkeep says how long what was verified is believed, and when it is verified
// again nevertheless; how often stored policies may be due; what is kept.
type Upkeep struct {
	// Remember is how long a verified signature is believed without asking the
	// registry for it. Zero: never.
	Remember time.Duration
	// DriftScan is when everything that is remembered is verified again, and
	// signed again where its signature was lost: six cron fields, in UTC. Empty:
	// never.
	DriftScan string
	// MinInterval is how far apart the ticks of a policy that is stored must be.
	// Default a minute.
	MinInterval time.Duration
	// AuditRetention is how long entries of the audit log are kept. Zero: for ever.
	AuditRetention time.Duration
}

// driftPrefix stands before the name of a policy in that of its drift scan. No
// policy's name has a slash.
const driftPrefix = "drift/"

// DriftName returns what executions of a policy's drift scan are called.
func DriftName(policy string) string { return driftPrefix + policy }

// memoryBatch is how many artifacts are remembered, or journaled as remembered,
// at once.
const memoryBatch = 200

// terms names everything that is verified of an artifact for the policy but the
// artifact itself: 32 hexadecimal digits. Policies with the same terms share what
// is remembered.
func (b *bound) terms() string {
	certificates := make([][]byte, len(b.key.Certificates))
	for i, c := range b.key.Certificates {
		certificates[i] = c.Raw
	}
	raw, err := json.Marshal(struct {
		Host, Domain        string // a registry's name may come to mean another host
		Key, Algorithm      string
		Certificates        [][]byte // leaf first; notation verifies by them
		Formats             []policy.Format
		Index               policy.IndexMode
		Witnesses           string
		SignatureRepository string
	}{b.place.registry.Host(), b.Domain, b.key.Signer.Public().Fingerprint(), string(b.key.Signer.Public().Algorithm()), certificates,
		b.SignatureFormats(), b.IndexMode(), b.witnesses.ID, b.SignatureRepository})
	if err != nil {
		panic(fmt.Sprintf("encoding the terms of policy %q: %v", b.Name, err)) // strings always encode
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// A memory is what an execution may believe, and what it learns, in one
// repository.
type memory struct {
	terms string    // "": nothing is believed or learned
	after time.Time // what was verified before is not believed

	mu      sync.Mutex
	known   []journal.Subtask // artifacts that need no look, not journaled yet
	learned []journal.Memory  // not remembered yet
}

// recollect prepares what the run may believe. Campaigns change signatures, and
// believe and learn nothing; a drift scan believes nothing.
func (r *run) recollect(ctx context.Context) error {
	if err := r.engine.overdueDoubt(ctx, &r.policy); err != nil {
		return err
	}
	remember := r.setup.Upkeep.Remember
	if remember <= 0 || r.policy.step != "" {
		return nil
	}
	r.memory.terms = r.policy.terms()
	if r.policy.drift {
		r.memory.after = r.engine.opts.Now()
		return nil
	}
	doubted, err := r.engine.journal.Doubted(ctx, r.policy.Registry, r.memory.terms)
	if err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	r.memory.after = r.engine.opts.Now().Add(-remember)
	if doubted.After(r.memory.after) {
		r.memory.after = doubted
	}
	return nil
}

// recall returns what is remembered of an artifact: known is whether everything
// that the policy wants of it was verified once, and fresh whether that is
// believed.
func (r *run) recall(ctx context.Context, a registry.Artifact) (m journal.Memory, known, fresh bool) {
	if r.memory.terms == "" || a.Digest == (v1.Hash{}) {
		return m, false, false
	}
	ctx, cancel := saving(ctx)
	defer cancel()
	m, known, err := r.engine.journal.Recall(ctx, r.policy.Registry, a.Repository, a.Digest.String(), r.memory.terms)
	if err != nil {
		r.fail(fmt.Errorf("%w: %w", errJournal, err))
		return m, false, false
	}
	return m, known, known && m.At.After(r.memory.after) && !m.At.After(r.engine.opts.Now())
}

// believe takes an artifact for signed because it was verified not long ago. Its
// outcome is journaled with that of others.
func (r *run) believe(ctx context.Context, a registry.Artifact, m journal.Memory) {
	s := r.subtask(a.Descriptor, a.Tags)
	s.Status, s.Reason = journal.Succeed, ReasonAlreadySigned
	known := []journal.Subtask{s}
	if m.Parts != nil {
		known = known[:0]
	}
	for _, part := range m.Parts {
		p := s
		if part.Digest != s.Digest {
			p.Digest, p.MediaType, p.Tags = part.Digest, part.MediaType, nil
		}
		known = append(known, p)
	}
	r.memory.mu.Lock()
	r.memory.known = append(r.memory.known, known...)
	full := len(r.memory.known) >= memoryBatch
	r.memory.mu.Unlock()
	if full {
		r.saveKnown(ctx)
	}
}

// saveKnown journals the artifacts that needed no look.
func (r *run) saveKnown(ctx context.Context) {
	r.memory.mu.Lock()
	known := r.memory.known
	r.memory.known = nil
	r.memory.mu.Unlock()
	if len(known) == 0 {
		return
	}
	ctx, cancel := saving(ctx)
	defer cancel()
	if err := r.engine.journal.PutSubtasks(ctx, known); err != nil {
		r.fail(fmt.Errorf("%w: %w", errJournal, err))
		return
	}
	for _, s := range known {
		r.tell(s, nil)
	}
}

// learn remembers an artifact of which everything that the policy wants has been
// verified since that time.
func (r *run) learn(ctx context.Context, a registry.Artifact, ended []ending, since time.Time) {
	if r.memory.terms == "" || len(ended) == 0 {
		return
	}
	m := journal.Memory{Registry: r.policy.Registry, Repository: a.Repository, Digest: a.Digest.String(),
		Terms: r.memory.terms, At: since}
	for _, e := range ended {
		if !e.whole {
			return
		}
		m.Parts = append(m.Parts, journal.Part{Digest: e.Digest, MediaType: e.MediaType})
	}
	if len(m.Parts) == 1 && m.Parts[0].Digest == m.Digest {
		m.Parts = nil
	}
	r.memory.mu.Lock()
	r.memory.learned = append(r.memory.learned, m)
	full := len(r.memory.learned) >= memoryBatch
	r.memory.mu.Unlock()
	if full {
		r.saveLearned(ctx)
	}
}

// saveLearned makes durable what was learned. That it cannot be is no reason to
// fail what was done: it costs requests in the next run.
func (r *run) saveLearned(ctx context.Context) {
	r.memory.mu.Lock()
	learned := r.memory.learned
	r.memory.learned = nil
	r.memory.mu.Unlock()
	ctx, cancel := saving(ctx)
	defer cancel()
	if err := r.engine.journal.Remember(ctx, learned); err != nil {
		r.log.Warn("what was verified is not remembered", zap.Error(err))
	}
}

// forget drops what is remembered of a digest whose signatures are changed on
// purpose.
func (r *run) forget(ctx context.Context, digest string) error {
	ctx, cancel := saving(ctx)
	defer cancel()
	if err := r.engine.journal.Forget(ctx, r.policy.Registry, r.task.Repository, digest); err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	return nil
}

// lost reports that signatures which were verified before are not in the
// registry any more.
func (r *run) lost(digest string) {
	r.log.Warn("signature lost: it was verified before and is not in the registry any more", zap.String("digest", digest))
	if r.engine.opts.Lost != nil {
		r.engine.opts.Lost(r.policy.Name)
	}
}

// Doubt makes the next execution of a policy verify everything it covers, also
// what was verified not long ago.
func (e *Engine) Doubt(ctx context.Context, name string) error {
	b, err := e.setup.Load().find(name)
	switch {
	case err != nil:
		return err
	case b.key.Err != nil:
		e.doubts.Store(name, true)
		return nil // until its key is there, nothing is believed
	}
	return e.journal.Doubt(ctx, b.Registry, b.terms())
}

// overdueDoubt does what Doubt could not when the key was not there.
func (e *Engine) overdueDoubt(ctx context.Context, b *bound) error {
	if _, due := e.doubts.LoadAndDelete(b.Name); !due {
		return nil
	}
	if err := e.journal.Doubt(ctx, b.Registry, b.terms()); err != nil {
		e.doubts.Store(b.Name, true)
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	return nil
}

// driftPage is how many repositories a drift scan takes up at once.
const driftPage = 500

// walkRemembered begins a task for each repository of which something is
// remembered.
func (e *Engine) walkRemembered(ctx context.Context, x journal.Execution, b bound) error {
	terms := b.terms()
	for after := ""; ; {
		page, err := e.journal.RememberedRepositories(ctx, b.Registry, terms, after, driftPage)
		if err != nil {
			return fmt.Errorf("%w: %w", errJournal, err)
		}
		if len(page) == 0 {
			return nil
		}
		after = page[len(page)-1]
		covered := page[:0]
		for _, repository := range page {
			if b.match.Repository(repository) {
				covered = append(covered, repository)
			}
		}
		if e.isStopping() {
			return errStopping
		}
		if err := e.journal.AddTasks(ctx, x.ID, covered); err != nil {
			return fmt.Errorf("%w: %w", errJournal, err)
		}
	}
}
