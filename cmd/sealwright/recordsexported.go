package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/kms"
)

// maxEnvelope bounds a line of an export.
const maxEnvelope = 16 << 20

// An exportReport is what was found of an export.
type exportReport struct {
	Verified bool   `json:"verified"`
	Entries  int64  `json:"entries"` // found to be in order
	Left     int64  `json:"left"`    // that were left out between them, and before the first
	Head     string `json:"head"`    // hash of the last entry
	Fault    string `json:"fault,omitempty"`
}

// verifyExport verifies the envelopes of a file by a public key alone.
func (a *app) verifyExport(file, keyFile string, heads []string) error {
	pem, err := os.ReadFile(keyFile)
	if err != nil {
		return usageError{err}
	}
	keys, err := kms.Candidates(pem)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", keyFile, err)}
	}
	f, err := os.Open(file)
	if err != nil {
		return usageError{err}
	}
	defer f.Close() //nolint:errcheck // it was only read
	report, err := checkExport(f, keys, heads)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if err := a.print(report, func(w io.Writer) { writeExport(w, report) }); err != nil {
		return err
	}
	if !report.Verified {
		return errIncomplete
	}
	return nil
}

// checkExport reads an export to its end, or to the first line that is not in
// order. The error is of reading.
func checkExport(r io.Reader, keys []*kms.PublicKey, heads []string) (exportReport, error) {
	report := exportReport{Head: journal.Genesis}
	heads = slices.DeleteFunc(slices.Clone(heads), func(head string) bool { return head == journal.Genesis })
	last := journal.Entry{Hash: journal.Genesis}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEnvelope)
	for n := 1; lines.Scan(); n++ {
		e, err := entryOf(lines.Bytes(), keys)
		if err == nil {
			err = after(e, last)
		}
		if err != nil {
			report.Fault = fmt.Sprintf("line %d: %v", n, err)
			return report, nil
		}
		report.Left += e.Seq - last.Seq - 1
		last = e
		report.Entries, report.Head = report.Entries+1, e.Hash
		heads = slices.DeleteFunc(heads, func(head string) bool { return head == e.Hash })
	}
	if err := lines.Err(); err != nil {
		return report, err
	}
	if len(heads) > 0 {
		report.Fault = "the head " + heads[0] + " is not in it"
		return report, nil
	}
	report.Verified = true
	return report, nil
}

// entryOf verifies one envelope and returns the entry that it is about.
func entryOf(line []byte, keys []*kms.PublicKey) (journal.Entry, error) {
	var envelope dsse.Envelope
	if err := json.Unmarshal(line, &envelope); err != nil {
		return journal.Entry{}, errors.New("is not an envelope")
	}
	payload, err := envelope.DecodeB64Payload()
	if err != nil || envelope.PayloadType != statementPayload {
		return journal.Entry{}, errors.New("is not an envelope of a statement")
	}
	if !signedBy(envelope, dsse.PAE(envelope.PayloadType, payload), keys) {
		return journal.Entry{}, errors.New("has no signature that the key verifies")
	}
	var s statement
	if err := json.Unmarshal(payload, &s); err != nil || s.Type != statementType || s.PredicateType != recordPredicate {
		return journal.Entry{}, errors.New("is not a statement about a signature record")
	}
	var e journal.Entry
	if err := json.Unmarshal(s.Predicate, &e); err != nil {
		return journal.Entry{}, errors.New("does not hold an entry of the chain")
	}
	return e, nil
}

func signedBy(envelope dsse.Envelope, message []byte, keys []*kms.PublicKey) bool {
	for _, s := range envelope.Signatures {
		sig, err := base64.StdEncoding.DecodeString(s.Sig)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(keys, func(k *kms.PublicKey) bool { return k.Verify(message, sig) == nil }) {
			return true
		}
	}
	return false
}

// after returns what is wrong with an entry that comes some time after another.
func after(e, last journal.Entry) error {
	switch {
	case e.Seq <= last.Seq:
		return fmt.Errorf("entry %d comes after entry %d", e.Seq, last.Seq)
	case e.Hash != e.Sum():
		return fmt.Errorf("entry %d: its hash is not that of what it says", e.Seq)
	case e.Seq == last.Seq+1 && e.PreviousHash != last.Hash:
		return fmt.Errorf("entry %d does not follow from the entry before it", e.Seq)
	}
	return nil
}

func writeExport(w io.Writer, r exportReport) {
	if !r.Verified {
		fmt.Fprintf(w, "FAULT     %s\n", r.Fault)
		fmt.Fprintf(w, "in order  %d entries, up to %s\n", r.Entries, r.Head)
		return
	}
	fmt.Fprintf(w, "verified  %d entries\n", r.Entries)
	if r.Left > 0 {
		fmt.Fprintf(w, "left out  %d entries before the last one\n", r.Left)
	}
	fmt.Fprintf(w, "head      %s\n", r.Head)
}
