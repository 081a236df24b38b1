package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"slices"
)

// chainPage is how many entries, or records, are read at a time.
const chainPage = 500

// A ChainFault is the first thing that is wrong with the chain, or between it
// and the records.
type ChainFault struct {
	Seq      int64  `json:"seq,omitempty"`       // of the entry
	RecordID int64  `json:"record_id,omitempty"` // of the record
	Problem  string `json:"problem"`
}

func (f *ChainFault) Error() string {
	switch {
	case f.Seq > 0:
		return fmt.Sprintf("entry %d of the record chain: %s", f.Seq, f.Problem)
	case f.RecordID > 0:
		return fmt.Sprintf("record %d: %s", f.RecordID, f.Problem)
	}
	return "record chain: " + f.Problem
}

// A ChainReport is what VerifyChain found.
type ChainReport struct {
	Entries int64  `json:"entries"` // found to be in order
	Head    string `json:"head"`    // hash of the last of them
	Records int64  `json:"records"` // that are final and agree with their newest entry
	// Outside is how many records became final before there was a chain.
	Outside int64       `json:"outside"`
	Fault   *ChainFault `json:"fault,omitempty"` // nil: all is well
}

// A chainHead is the chain's head, and what is the last entry.
type chainHead struct{ seq, last, lastBefore int64 }

func (j *Journal) chainHead(ctx context.Context) (h chainHead, hash string, err error) {
	err = j.store.reader().queryRow(ctx, `SELECT seq, hash, (SELECT COALESCE(MAX(seq), 0) FROM chain), last_before
		FROM chain_head WHERE id = 1`).Scan(&h.seq, &hash, &h.last, &h.lastBefore)
	if err != nil {
		return chainHead{}, "", fmt.Errorf("reading the chain's head: %w", notFound(err))
	}
	return h, hash, nil
}

// Entries returns a page of the chain, those after the entry with that sequence
// number, as they are: nothing is verified. A limit of 0 means 100.
func (j *Journal) Entries(ctx context.Context, after int64, n int) ([]Entry, error) {
	es, err := collect(ctx, j.store.reader(), scanEntry,
		`SELECT seq, record_id, body, previous_hash, hash FROM chain WHERE seq > $1 ORDER BY seq `+limit(n), after)
	if err != nil {
		return nil, fmt.Errorf("reading the chain: %w", err)
	}
	return es, nil
}

func scanEntry(s scanner) (Entry, error) {
	var e Entry
	var text string
	err := s.Scan(&e.Seq, &e.RecordID, &text, &e.PreviousHash, &e.Hash)
	e.Body = json.RawMessage(text)
	return e, err
}

// Chain returns all entries in order, each after it was found to follow from the
// one before it, up to the head as it is at the beginning. What is wrong is a
// *ChainFault and ends it. It keeps one page in memory.
func (j *Journal) Chain(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		head, hash, err := j.chainHead(ctx)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		last := Entry{Hash: Genesis}
		for last.Seq < head.seq {
			page, err := j.Entries(ctx, last.Seq, int(min(chainPage, head.seq-last.Seq)))
			if err == nil && len(page) == 0 {
				break
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if err := e.follows(last); err != nil {
					yield(Entry{}, err)
					return
				}
				if last = e; !yield(e, nil) {
					return
				}
			}
		}
		if err := head.ends(last, hash); err != nil {
			yield(Entry{}, err)
		}
	}
}

// follows returns what keeps e from being the entry after the last one.
func (e Entry) follows(last Entry) error {
	problem := ""
	switch {
	case e.Seq != last.Seq+1:
		e.Seq, problem = last.Seq+1, "is missing"
	case e.PreviousHash != last.Hash:
		problem = "does not follow from the entry before it"
	case e.Hash != e.Sum():
		problem = "its hash is not that of what it says"
	default:
		r, err := e.Record()
		switch {
		case err != nil:
			problem = "is not a record"
		case r.ID != e.RecordID:
			problem = fmt.Sprintf("is of record %d, but is filed under %d", r.ID, e.RecordID)
		default:
			return nil
		}
	}
	return &ChainFault{Seq: e.Seq, Problem: problem}
}

// ends returns what keeps the last entry from being the head.
func (h chainHead) ends(last Entry, hash string) error {
	switch {
	case last.Seq < h.seq:
		return &ChainFault{Seq: last.Seq + 1, Problem: fmt.Sprintf("is missing: the chain has %d entries", h.seq)}
	case last.Hash != hash:
		return &ChainFault{Seq: last.Seq, Problem: "is not the head that was written down"}
	case h.last > h.seq:
		return &ChainFault{Seq: h.seq + 1, Problem: fmt.Sprintf("is behind the head, entry %d", h.seq)}
	}
	return nil
}

// VerifyChain reads the whole chain and all records, and reports the first thing
// that is wrong: with the chain, with its end, as one of the heads that were
// known is not in it, or with a record, as it is not what its newest entry says.
// The error is of reading.
func (j *Journal) VerifyChain(ctx context.Context, known ...string) (ChainReport, error) {
	report := ChainReport{Head: Genesis}
	known = slices.DeleteFunc(slices.Clone(known), func(hash string) bool { return hash == Genesis })
	for e, err := range j.Chain(ctx) {
		if err != nil {
			return report.fault(err)
		}
		report.Entries, report.Head = e.Seq, e.Hash
		known = slices.DeleteFunc(known, func(hash string) bool { return hash == e.Hash })
	}
	if len(known) > 0 {
		report.Fault = &ChainFault{Problem: "the head " + known[0] + " is not in it: entries were removed or replaced"}
		return report, nil
	}
	return report.fault(j.verifyRecords(ctx, &report))
}

// fault turns an error that is a fault into one that is reported.
func (r ChainReport) fault(err error) (ChainReport, error) {
	fault, ok := err.(*ChainFault) //nolint:errorlint // it is never wrapped here
	if !ok {
		return r, err
	}
	r.Fault = fault
	return r, nil
}

// A chained record is a row of the table with its newest entry, as of one moment.
type chained struct {
	Record
	seq  int64 // 0: it has none
	body string
}

// verifyRecords compares all records with their newest entries, and then looks
// for entries whose record is gone.
func (j *Journal) verifyRecords(ctx context.Context, report *ChainReport) error {
	head, _, err := j.chainHead(ctx)
	if err != nil {
		return err
	}
	for after := int64(0); ; {
		page, err := j.chainedRecords(ctx, after)
		if err != nil {
			return err
		}
		for _, c := range page {
			if err := c.verify(head.lastBefore, report); err != nil {
				return err
			}
			after = c.ID
		}
		if len(page) < chainPage {
			break
		}
	}
	gone, err := collect(ctx, j.store.reader(), scanID, `SELECT seq FROM chain
		WHERE NOT EXISTS (SELECT 1 FROM records r WHERE r.id = chain.record_id) ORDER BY seq LIMIT 1`)
	if err == nil && len(gone) > 0 {
		err = &ChainFault{Seq: gone[0], Problem: "its record is gone"}
	}
	return err
}

func (j *Journal) chainedRecords(ctx context.Context, after int64) ([]chained, error) {
	scan := func(s scanner) (c chained, err error) {
		c.Record, err = scanRecord(wider{s, []any{&c.seq, &c.body}})
		return c, err
	}
	return collect(ctx, j.store.reader(), scan, `SELECT `+recordColumns+`,
		COALESCE((SELECT MAX(seq) FROM chain WHERE record_id = r.id), 0),
		COALESCE((SELECT body FROM chain WHERE record_id = r.id ORDER BY seq DESC LIMIT 1), '')
		FROM records r WHERE id > $1 ORDER BY id `+limit(chainPage), after)
}

// A wider row has more columns than its scanner wants.
type wider struct {
	scanner
	more []any
}

func (w wider) Scan(dest ...any) error { return w.scanner.Scan(append(dest, w.more...)...) }

// verify compares a record with its newest entry.
func (c chained) verify(lastBefore int64, report *ChainReport) error {
	fault := func(problem string) error { return &ChainFault{RecordID: c.ID, Problem: problem} }
	switch {
	case c.seq == 0 && c.State == Signing:
		return nil
	case c.State == Signing:
		return fault(fmt.Sprintf("is %s, but entry %d of the chain says how it ended", Signing, c.seq))
	case c.seq == 0 && c.ID <= lastBefore:
		report.Outside++
		return nil
	case c.seq == 0:
		return fault("is final, but not in the chain")
	}
	said, err := Entry{Seq: c.seq, Body: json.RawMessage(c.body)}.Record()
	if err != nil {
		return &ChainFault{Seq: c.seq, Problem: "is not a record"}
	}
	if !reflect.DeepEqual(bodyOf(said), bodyOf(c.Record)) {
		return fault(fmt.Sprintf("is not what entry %d of the chain says", c.seq))
	}
	report.Records++
	return nil
}
