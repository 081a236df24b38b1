package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/kms"
)

// What exported statements are, in the words of in-toto.
const (
	statementType    = "https://in-toto.io/Statement/v1"
	recordPredicate  = "https://sealwright.dev/signature-record/v1"
	statementPayload = "application/vnd.in-toto+json"
)

func (a *app) recordsExportCommand() *cobra.Command {
	k := &keyFlags{app: a}
	var key, out, since string
	x := &exporter{}
	c := &cobra.Command{
		Use:   "export --key URI|NAME",
		Short: "Write signature records as signed in-toto statements, one a line",
		Long: `Write each entry of the chain of signature records as an in-toto statement in a
DSSE envelope, one a line, signed with the key with this URI or of this name in
the configuration. The chain is verified on the way, and a fault ends the export.

The flags that choose records must all agree. A statement says what became of a
use of a key, and that may be a failure: look at the record's state.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if key == "" {
				return usageError{errors.New("--key is required: a key's URI, or its name in the configuration")}
			}
			var err error
			if x.since, err = parseSince(since); err != nil {
				return usageError{err}
			}
			if x.signer, err = k.open(c, key); err != nil {
				return err
			}
			err = a.readJournal(c.Context(), func(j *journal.Journal) error { return a.exportRecords(c.Context(), j, x, out) })
			return errors.Join(err, x.signer.Close())
		},
	}
	c.Flags().StringVar(&key, "key", "", "sign with the key with this `URI|NAME`")
	c.Flags().StringVar(&out, "out", "", "write to `FILE`, which must not exist, instead of standard output")
	c.Flags().StringVar(&x.policy, "policy", "", "only records of the policy of this `NAME`")
	c.Flags().StringVar(&x.registry, "registry", "", "only records of the registry of this `NAME`")
	c.Flags().StringVar(&x.repository, "repository", "", "only records of this `REPOSITORY`, by its full name")
	c.Flags().StringVar(&since, "since", "", "only what became final at this `TIME` or later: 2026-01-31, or 2026-01-31T12:00:00Z")
	k.add(c)
	return c
}

// parseSince reads a day or a time in UTC; "" is the beginning of time.
func parseSince(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q: allowed: 2026-01-31, or 2026-01-31T12:00:00Z", text)
}

// exported says what an export holds.
type exported struct {
	Entries  int64  `json:"entries"` // of the chain, all of them verified
	Exported int64  `json:"exported"`
	Head     string `json:"head"`
	File     string `json:"file,omitempty"`
}

func (a *app) exportRecords(ctx context.Context, j *journal.Journal, x *exporter, out string) error {
	if out == "" {
		did, err := x.export(ctx, j, a.out)
		if err == nil { // standard output is taken
			fmt.Fprintf(a.err, "exported %d of %d entries, head: %s\n", did.Exported, did.Entries, did.Head)
		}
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	did, err := x.export(ctx, j, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(out))
	}
	did.File = out
	return a.print(did, func(w io.Writer) {
		fmt.Fprintf(w, "exported  %d of %d entries to %s\nhead      %s\n", did.Exported, did.Entries, out, did.Head)
	})
}

// An exporter signs those records that are chosen. Empty fields choose all.
type exporter struct {
	signer                       kms.Signer
	policy, registry, repository string
	since                        time.Time
}

func (x *exporter) export(ctx context.Context, j *journal.Journal, to io.Writer) (exported, error) {
	did := exported{Head: journal.Genesis}
	w := bufio.NewWriter(to)
	for e, err := range j.Chain(ctx) {
		if err != nil {
			return did, errors.Join(err, w.Flush())
		}
		did.Entries, did.Head = e.Seq, e.Hash
		r, err := e.Record()
		if err != nil {
			return did, err
		}
		if !x.chooses(r) {
			continue
		}
		line, err := x.envelope(ctx, e, r)
		if err != nil {
			return did, errors.Join(fmt.Errorf("entry %d: %w", e.Seq, err), w.Flush())
		}
		if _, err := w.Write(line); err != nil {
			return did, err
		}
		did.Exported++
	}
	return did, w.Flush()
}

func (x *exporter) chooses(r journal.Record) bool {
	return (x.policy == "" || x.policy == r.Policy) && (x.registry == "" || x.registry == r.Registry) &&
		(x.repository == "" || x.repository == r.Repository) && !r.FinishedAt.Before(x.since)
}

// envelope returns a signed statement about one entry, as a line.
func (x *exporter) envelope(ctx context.Context, e journal.Entry, r journal.Record) ([]byte, error) {
	statement, err := statementOf(e, r)
	if err != nil {
		return nil, err
	}
	sig, err := x.signer.Sign(ctx, dsse.PAE(statementPayload, statement))
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	line, err := json.Marshal(dsse.Envelope{PayloadType: statementPayload, Payload: base64.StdEncoding.EncodeToString(statement),
		Signatures: []dsse.Signature{{KeyID: x.signer.Public().Fingerprint(), Sig: base64.StdEncoding.EncodeToString(sig)}}})
	return append(line, '\n'), err
}

// A statement is an in-toto statement about what was signed, or was to be.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// statementOf writes the entry byte by byte, so that its hash can be computed
// from the statement.
func statementOf(e journal.Entry, r journal.Record) ([]byte, error) {
	predicate, err := e.JSON()
	if err != nil {
		return nil, err
	}
	algorithm, hex, _ := strings.Cut(r.Digest, ":")
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err = enc.Encode(statement{statementType, []subject{{cmp.Or(r.Identity, r.Repository), map[string]string{algorithm: hex}}},
		recordPredicate, predicate})
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}
