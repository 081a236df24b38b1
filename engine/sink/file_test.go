package sink_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/sink"
	"github.com/sealwright/sealwright/registry/registrytest"
)

func fileAt(path string) *sink.File {
	return sink.NewFile(sink.FileOptions{Path: path, MaxSize: 1 << 20, Keep: 3})
}

// deliver delivers all entries and closes the sink.
func deliver(t *testing.T, s sink.Sink, entries []journal.Entry) {
	t.Helper()
	n, err := s.Deliver(context.Background(), entries)
	must(t, err, s.Close())
	if n != len(entries) {
		t.Fatalf("%d of %d taken", n, len(entries))
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

// linesOf is what a file should hold.
func linesOf(t *testing.T, entries []journal.Entry) string {
	t.Helper()
	var all bytes.Buffer
	for _, e := range entries {
		line, err := e.JSON()
		must(t, err)
		all.Write(append(line, '\n'))
	}
	return all.String()
}

// TestFileTornAnywhere: wherever a crash cuts a file off, the delivery that
// follows makes it whole, and nothing is in it twice.
func TestFileTornAnywhere(t *testing.T) {
	t.Parallel()
	p := newPress(t)
	p.sign(2)
	es := p.entries()
	want, dir := linesOf(t, es), t.TempDir()
	for cut := range len(want) + 1 {
		path := filepath.Join(dir, fmt.Sprint(cut))
		must(t, os.WriteFile(path, []byte(want[:cut]), 0o644))
		deliver(t, fileAt(path), es)
		if got := contents(t, path); got != want {
			t.Fatalf("cut at %d of %d:\n%s\nwant\n%s", cut, len(want), got, want)
		}
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Fatalf("permissions %o", info.Mode().Perm())
		}
	}
	path := filepath.Join(dir, "zeros") // what a disk may show after a power failure
	must(t, os.WriteFile(path, []byte(linesOf(t, es[:1])+strings.Repeat("\x00", 100)), 0o600))
	deliver(t, fileAt(path), es)
	if got := contents(t, path); got != want {
		t.Errorf("after zeros:\n%s", got)
	}
}

// TestFileGoesOn: deliveries follow one another, also after a new start.
func TestFileGoesOn(t *testing.T) {
	t.Parallel()
	p := newPress(t)
	p.sign(9)
	es, path := p.entries(), filepath.Join(t.TempDir(), "records.jsonl")
	s := fileAt(path)
	for _, part := range [][]journal.Entry{es[:2], es[2:3], es[1:4]} { // the last one again in part
		if n, err := s.Deliver(t.Context(), part); err != nil || n != len(part) {
			t.Fatal(n, err)
		}
	}
	must(t, s.Close(), s.Close())
	deliver(t, fileAt(path), es[3:])
	if got, want := contents(t, path), linesOf(t, es); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestFileRotation: no file is larger than it may be, the newest full ones are
// kept, and nothing is written twice where a restart meets an empty file.
func TestFileRotation(t *testing.T) {
	t.Parallel()
	p := newPress(t)
	p.sign(20)
	es, path := p.entries(), filepath.Join(t.TempDir(), "records.jsonl")
	size := 0 // room for two entries, which are not all of one length
	for _, e := range es {
		size = max(size, 2*len(linesOf(t, []journal.Entry{e})))
	}
	open := func() *sink.File { return sink.NewFile(sink.FileOptions{Path: path, MaxSize: int64(size), Keep: 3}) }
	deliver(t, open(), es[:8])
	want := func(name string, from, to int) {
		t.Helper()
		if got := contents(t, path+name); got != linesOf(t, es[from:to]) || len(got) > size {
			t.Errorf("file %q holds %d bytes, %d lines:\n%s\nwant entries %d to %d", name, len(got), strings.Count(got, "\n"), got, from+1, to)
		}
	}
	want(".3", 0, 2)
	want(".2", 2, 4)
	want(".1", 4, 6)
	want("", 6, 8)
	deliver(t, open(), es[6:12]) // the first two again
	want(".3", 4, 6)
	want(".2", 6, 8)
	want(".1", 8, 10)
	want("", 10, 12)
	if _, err := os.Stat(path + ".4"); err == nil {
		t.Error("a fourth full file is kept")
	}

	must(t, os.Rename(path+".2", path+".gap")) // a crash in the middle of a rotation leaves one
	deliver(t, open(), es[12:14])
	want(".3", 4, 6)
	want(".2", 8, 10)
	want(".1", 10, 12)
	want("", 12, 14)

	must(t, os.Rename(path+".2", path+".3"), os.Rename(path+".1", path+".2"), os.Rename(path, path+".1")) // before the new file was there
	deliver(t, open(), es[12:15])
	want(".2", 10, 12)
	want(".1", 12, 14)
	want("", 14, 15)

	one := sink.NewFile(sink.FileOptions{Path: path, MaxSize: 10, Keep: 1}) // smaller than any entry
	deliver(t, one, es[15:17])
	want(".1", 15, 16)
	want("", 16, 17)
}

// TestFileMovedAway: a file that somebody else has moved away is begun anew.
func TestFileMovedAway(t *testing.T) {
	t.Parallel()
	p := newPress(t)
	p.sign(3)
	es, path := p.entries(), filepath.Join(t.TempDir(), "records.jsonl")
	s := fileAt(path)
	n, err := s.Deliver(t.Context(), es[:2])
	must(t, err, os.Rename(path, path+".old"))
	if n != 2 {
		t.Fatal(n)
	}
	n, err = s.Deliver(t.Context(), es[2:])
	must(t, err)
	if n != 1 || contents(t, path) != linesOf(t, es[2:]) || contents(t, path+".old") != linesOf(t, es[:2]) {
		t.Errorf("%s and %s", contents(t, path), contents(t, path+".old"))
	}
	must(t, os.Rename(path, path+".older"), os.WriteFile(path, []byte(linesOf(t, es[2:])), 0o600)) // replaced by its like
	p.sign(1)
	deliver(t, s, p.entries()[3:])
	if got, want := contents(t, path), linesOf(t, p.entries()[2:]); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestFileForeign: what is not ours is left alone.
func TestFileForeign(t *testing.T) {
	t.Parallel()
	p := newPress(t)
	p.sign(1)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"text": "a letter", "lines": "a letter\nto somebody\n", "json": "{\"hash\": 1}\n", "torn": "{\"seq\":1}\nnot ours",
	} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(content), 0o600))
		s := fileAt(path)
		if n, err := s.Deliver(t.Context(), p.entries()); err == nil || n != 0 || contents(t, path) != content {
			t.Errorf("%s: %d taken, %v, file holds %q", name, n, err, contents(t, path))
		}
		must(t, s.Close())
	}
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	must(t, os.WriteFile(target, nil, 0o644), os.Symlink(target, link))
	for _, path := range []string{link, dir, filepath.Join(dir, "missing", "file")} {
		if n, err := fileAt(path).Deliver(t.Context(), p.entries()); err == nil || n != 0 {
			t.Errorf("%s: %d taken, %v", path, n, err)
		}
	}
}

// TestFileDelivered: a runner writes the whole chain, and each line is an entry.
func TestFileDelivered(t *testing.T) {
	t.Parallel()
	p := newPress(t)
	p.sign(70)
	path := filepath.Join(t.TempDir(), "records.jsonl")
	r := p.start(fileAt(path))
	r.Stop(t.Context())
	got := contents(t, path)
	if got != linesOf(t, p.entries()) {
		t.Errorf("%s", got)
	}
	var e journal.Entry
	must(t, json.Unmarshal([]byte(got[:strings.IndexByte(got, '\n')]), &e))
	if rec, err := e.Record(); err != nil || e.Seq != 1 || rec.State != journal.Signed {
		t.Errorf("%+v, %v", rec, err)
	}
}

// TestFileFullDisk: a full disk holds up nobody who signs, and loses no entry. As soon as
// there is room the file goes on where it ended, in the middle of a line or not.
func TestFileFullDisk(t *testing.T) {
	t.Parallel()
	journaltest.OnDisk(t, 1<<20, func(t *testing.T, disk *journaltest.Disk) {
		p, path := newPress(t), filepath.Join(disk.Path, "records.jsonl")
		r := p.start(fileAt(path))
		for range 3 {
			p.sign(1)
			registrytest.Eventually(t, patience, "there is room", func() bool { u, err := r.Undelivered(t.Context()); return err == nil && u.Entries == 0 })
			stopNow(r)
			disk.Fill()
			p.sign(50)
			r = p.start(fileAt(path)) // a batch, of which some lines have room and one in part
			registrytest.Eventually(t, patience, "there is none", func() bool { return strings.Contains(r.Counts().LastError, "no space left on device") })
			p.sign(5)
			if u, err := r.Undelivered(t.Context()); err != nil || u.Entries == 0 || u.Oldest.IsZero() {
				t.Errorf("%+v, %v", u, err)
			}
			disk.Free()
		}
		r.Stop(t.Context())
		if got, want := contents(t, path), linesOf(t, p.entries()); got != want {
			t.Errorf("%d lines in the file, %d entries\n%s\nwant\n%s", strings.Count(got, "\n"), p.made, got, want)
		}
		if u, err := r.Undelivered(t.Context()); err != nil || u.Entries != 0 {
			t.Errorf("%+v, %v", u, err)
		}
	})
}
