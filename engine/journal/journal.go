// Package journal is what happened and what is still to do: executions, their
// tasks and subtasks, signature records, and the jobs that carry them out. It
// lives in SQLite by default and in PostgreSQL to scale out; both run the same
// code.
//
// The registry is the truth; the journal is history, inbox and cache. Losing
// it costs work, never correctness.
package journal

import (
	"errors"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

// Status is the state of an execution, task or subtask, in the words of Harbor
// and SWR.
type Status string

// The states. Succeed, Failed and Stopped are final.
const (
	Initialized Status = "Initialized" // recorded; waits for the previous execution of its policy
	Pending     Status = "Pending"     // queued
	InProgress  Status = "InProgress"
	Succeed     Status = "Succeed"
	Failed      Status = "Failed"
	Stopped     Status = "Stopped" // ended on purpose: policy gone or disabled, or by hand
)

// Final reports whether the state is an end.
func (s Status) Final() bool { return s == Succeed || s == Failed || s == Stopped }

// Lane says beside whom work waits for its turn: each lane has workers of its own.
type Lane string

// The lanes.
const (
	Pushes  Lane = "pushes"  // events
	Live    Lane = "live"    // firings by hand
	Backlog Lane = "backlog" // schedules
)

// An Execution is one firing of a policy.
type Execution struct {
	ID            int64              `json:"id"`
	Policy        string             `json:"policy"`
	PolicyVersion string             `json:"policy_version"` // hash of the policy as fired
	Registry      string             `json:"registry"`
	Trigger       policy.TriggerType `json:"trigger"`
	Tick          time.Time          `json:"tick,omitzero"` // zero unless scheduled
	Lane          Lane               `json:"lane"`
	Status        Status             `json:"status"`
	Reason        string             `json:"reason,omitempty"` // why it Failed or Stopped
	Detail        string             `json:"detail,omitempty"`
	RequestID     string             `json:"request_id,omitempty"` // of the request that fired it first
	Tasks         int64              `json:"tasks"`                // repositories found so far
	Counts        Counts             `json:"counts"`               // of subtasks
	CreatedAt     time.Time          `json:"created_at"`
	StartedAt     time.Time          `json:"started_at,omitzero"`
	FinishedAt    time.Time          `json:"finished_at,omitzero"`
}

// Counts says how many subtasks are in which state.
type Counts struct {
	Total      int64 `json:"total"`
	Succeed    int64 `json:"succeed"`
	Failed     int64 `json:"failed"`
	Stopped    int64 `json:"stopped"`
	InProgress int64 `json:"in_progress"`
	// Reasons counts subtasks by their reason: signed, already_signed, …
	Reasons map[string]int64 `json:"reasons,omitempty"`
}

// A Task is one repository of an execution.
type Task struct {
	ID          int64     `json:"id"`
	ExecutionID int64     `json:"execution_id"`
	Repository  string    `json:"repository"`
	Status      Status    `json:"status"`
	Reason      string    `json:"reason,omitempty"`
	Detail      string    `json:"detail,omitempty"`
	Cursor      string    `json:"-"` // continues an interrupted listing
	Round       int64     `json:"-"` // of the job that carries it out; those of earlier rounds do nothing
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// A Subtask is one artifact of a task. There is one per digest, however many
// tags or scope rules chose it.
type Subtask struct {
	ID          int64     `json:"id"`
	ExecutionID int64     `json:"execution_id"`
	TaskID      int64     `json:"task_id"`
	Repository  string    `json:"repository"`
	Digest      string    `json:"digest"` // empty if it could not be resolved
	MediaType   string    `json:"media_type,omitempty"`
	Tags        []string  `json:"tags,omitempty"` // those that chose it
	Status      Status    `json:"status"`
	Reason      string    `json:"reason"`           // signed, already_signed, or why not
	Detail      string    `json:"detail,omitempty"` // the error, for people
	TagMoved    bool      `json:"tag_moved,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// A Record is the proof of one use of a key: written with state Signing before
// the key is used, and completed after the signature was read back and verified.
type Record struct {
	ID             int64              `json:"id"`
	ExecutionID    int64              `json:"execution_id"`
	RequestID      string             `json:"request_id,omitempty"` // of the request that asked for it: the delivery, or what fired the execution
	Policy         string             `json:"policy"`
	PolicyVersion  string             `json:"policy_version"`
	Trigger        policy.TriggerType `json:"trigger"`
	Registry       string             `json:"registry"`
	Repository     string             `json:"repository"`
	Digest         string             `json:"digest"`
	Tags           []string           `json:"tags,omitempty"` // tag → digest as observed at CreatedAt
	Identity       string             `json:"identity"`
	Format         policy.Format      `json:"format"`
	Key            string             `json:"key"`
	KeyFingerprint string             `json:"key_fingerprint"`       // SHA-256 of the public key's DER, hex
	KeyVersion     string             `json:"key_version,omitempty"` // the key store's name of the version
	Algorithm      policy.Algorithm   `json:"algorithm"`
	State          RecordState        `json:"state"`
	Reason         string             `json:"reason,omitempty"`
	Signature      string             `json:"signature,omitempty"` // base64
	StoredAs       string             `json:"stored_as,omitempty"` // digest of the signature's manifest as read back
	TagMoved       bool               `json:"tag_moved,omitempty"` // a tag pointed elsewhere afterwards
	CreatedAt      time.Time          `json:"created_at"`
	FinishedAt     time.Time          `json:"finished_at,omitzero"`
}

// RecordState says how far a record got.
type RecordState string

// The record states.
const (
	Signing RecordState = "signing" // the key may have been used; nothing is claimed
	Signed  RecordState = "signed"  // read back and verified
	Broken  RecordState = "failed"  // the signature did not reach the registry; Reason says why
)

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("not in the journal")
	// ErrClaimed: another worker is signing this digest right now.
	ErrClaimed = errors.New("claimed by another worker")
	// ErrInUse: another process owns the embedded database.
	ErrInUse = errors.New("state directory is in use by another process")
	// ErrEnded: the execution or task was ended meanwhile, by hand or because
	// its policy is gone. Whoever works on it should stop.
	ErrEnded = errors.New("already ended")
	// ErrReadOnly: the journal was opened by OpenReadOnly.
	ErrReadOnly = errors.New("journal is open for reading only")
	// ErrClosed: the journal is being closed.
	ErrClosed = errors.New("journal is closed")
)

// The reasons that the journal itself gives.
const (
	// ReasonArtifactsFailed: a task or execution Failed because artifacts did.
	ReasonArtifactsFailed = "artifacts_failed"
	// ReasonRepositoriesFailed: an execution Failed because whole repositories
	// did, for example because they could not be listed.
	ReasonRepositoriesFailed = "repositories_failed"
	// ReasonJobDiscarded: a task or execution Failed because its job failed
	// every attempt, or was lost.
	ReasonJobDiscarded = "job_discarded"
	// ReasonInterrupted: a record Failed, or a subtask Stopped, because whoever
	// worked on it died or was stopped.
	ReasonInterrupted = "interrupted"
	// ReasonFound: a record whose worker died before it could say what became of
	// the signature is Signed after all, because a later execution found and
	// verified the signature.
	ReasonFound = "found"
)
