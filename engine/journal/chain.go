package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

// An Entry is one link of the chain of records: what a record was when it became
// final, bound to everything that became final before. A record has more than
// one entry if what was known of it changed, as when a signature was found after
// its worker had died.
type Entry struct {
	Seq          int64           `json:"seq"` // 1, 2, 3, …
	PreviousHash string          `json:"previous_hash"`
	Hash         string          `json:"hash"`
	RecordID     int64           `json:"-"`
	Body         json.RawMessage `json:"record"` // the very bytes that the hash is of
}

// Genesis is the previous hash of the first entry, and the head of a chain
// without entries.
const Genesis = "0000000000000000000000000000000000000000000000000000000000000000"

// chainDomain keeps the hashes of entries apart from all other hashes.
const chainDomain = "sealwright.dev/record-chain/v1"

// Sum is what the entry's hash must be: lower-case hexadecimal SHA-256 of four lines, which
// are the domain, the sequence number, the previous hash and the body. Only the
// last of them could hold a line's end, so no two entries are written alike.
func (e Entry) Sum() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%d\n%s\n", chainDomain, e.Seq, e.PreviousHash)
	h.Write(e.Body)
	return hex.EncodeToString(h.Sum(nil))
}

// JSON returns the entry as one line without its end. It holds the body byte by
// byte, which json.Marshal would not promise.
func (e Entry) JSON() ([]byte, error) { return compact(e) }

// Record returns what the record was.
func (e Entry) Record() (Record, error) {
	var b body
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return Record{}, fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	return b.record(), nil
}

// A body is what an entry says of a record. Its members are in the order of
// their names, and none is ever left out.
type body struct {
	Algorithm      policy.Algorithm   `json:"algorithm"`
	CreatedAt      time.Time          `json:"created_at"`
	Digest         string             `json:"digest"`
	ExecutionID    int64              `json:"execution_id"`
	FinishedAt     time.Time          `json:"finished_at"`
	Format         policy.Format      `json:"format"`
	Gates          []string           `json:"gates"` // results: there are no gates yet
	ID             int64              `json:"id"`
	Identity       string             `json:"identity"`
	Key            string             `json:"key"`
	KeyFingerprint string             `json:"key_fingerprint"`
	KeyVersion     string             `json:"key_version"`
	Policy         string             `json:"policy"`
	PolicyVersion  string             `json:"policy_version"`
	Reason         string             `json:"reason"`
	Registry       string             `json:"registry"`
	Repository     string             `json:"repository"`
	RequestID      string             `json:"request_id"`
	Signature      string             `json:"signature"`
	State          RecordState        `json:"state"`
	StoredAs       string             `json:"stored_as"`
	TagMoved       bool               `json:"tag_moved"`
	Tags           []string           `json:"tags"`
	Trigger        policy.TriggerType `json:"trigger"`
}

// bodyOf is what an entry says of r, as r is in the table.
func bodyOf(r Record) body {
	b := body{Algorithm: r.Algorithm, CreatedAt: r.CreatedAt, Digest: r.Digest, ExecutionID: r.ExecutionID, FinishedAt: r.FinishedAt,
		Format: r.Format, Gates: []string{}, ID: r.ID, Identity: r.Identity, Key: r.Key, KeyFingerprint: r.KeyFingerprint,
		KeyVersion: r.KeyVersion, Policy: r.Policy, PolicyVersion: r.PolicyVersion, Reason: r.Reason, Registry: r.Registry,
		Repository: r.Repository, RequestID: r.RequestID, Signature: r.Signature, State: r.State, StoredAs: r.StoredAs,
		TagMoved: r.TagMoved, Tags: r.Tags, Trigger: r.Trigger}
	if b.Tags == nil {
		b.Tags = []string{}
	}
	return b
}

func (b body) record() Record {
	r := Record{ID: b.ID, ExecutionID: b.ExecutionID, RequestID: b.RequestID, Policy: b.Policy, PolicyVersion: b.PolicyVersion,
		Trigger: b.Trigger, Registry: b.Registry, Repository: b.Repository, Digest: b.Digest, Tags: b.Tags, Identity: b.Identity,
		Format: b.Format, Key: b.Key, KeyFingerprint: b.KeyFingerprint, KeyVersion: b.KeyVersion, Algorithm: b.Algorithm,
		State: b.State, Reason: b.Reason, Signature: b.Signature, StoredAs: b.StoredAs, TagMoved: b.TagMoved,
		CreatedAt: b.CreatedAt, FinishedAt: b.FinishedAt}
	if len(r.Tags) == 0 {
		r.Tags = nil
	}
	return r
}

// compact writes JSON on one line, with raw messages as they are.
func compact(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// links are the records that became final in one run of one transaction, in
// their order.
type links struct{ records []Record }

// chain has the chain go on with records when the transaction ends.
func (l *links) chain(records []Record) { l.records = append(l.records, records...) }

// entriesPerInsert keeps a statement's parameters below every database's limit.
const entriesPerInsert = 200

// append is the last thing that a transaction does. Whoever has the head locked
// waits for nobody's rows any more, so that the lock is short and nobody
// deadlocks over it; and as nobody else has it until the transaction is over,
// the chain has neither forks nor gaps.
func (l *links) append(ctx context.Context, q querier) error {
	if len(l.records) == 0 {
		return nil
	}
	var head Entry
	err := q.queryRow(ctx, `UPDATE chain_head SET seq = seq WHERE id = 1 RETURNING seq, hash`).Scan(&head.Seq, &head.Hash)
	if err != nil {
		return fmt.Errorf("locking the chain's head: %w", notFound(err))
	}
	for rest := l.records; len(rest) > 0; {
		n := min(len(rest), entriesPerInsert)
		if head, err = appendEntries(ctx, q, head, rest[:n]); err != nil {
			return fmt.Errorf("appending to the chain: %w", err)
		}
		rest = rest[n:]
	}
	_, err = q.exec(ctx, `UPDATE chain_head SET seq = $1, hash = $2 WHERE id = 1`, head.Seq, head.Hash)
	return err
}

func appendEntries(ctx context.Context, q querier, head Entry, records []Record) (Entry, error) {
	var values strings.Builder
	var args []any
	for i := range records {
		text, err := compact(bodyOf(records[i]))
		if err != nil {
			return Entry{}, err
		}
		head = Entry{Seq: head.Seq + 1, PreviousHash: head.Hash, RecordID: records[i].ID, Body: text}
		head.Hash = head.Sum()
		if i > 0 {
			values.WriteString(", ")
		}
		placeholders(&values, len(args), 5)
		args = append(args, head.Seq, head.RecordID, string(head.Body), head.PreviousHash, head.Hash)
	}
	_, err := q.exec(ctx, `INSERT INTO chain (seq, record_id, body, previous_hash, hash) VALUES `+values.String(), args...)
	return head, err
}
