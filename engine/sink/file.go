package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sealwright/sealwright/engine/journal"
)

// A File takes entries as JSON lines, each flushed to the disk before it counts.
// A full file becomes PATH.1, the one before that PATH.2, and so on.
type File struct {
	path    string
	maxSize int64
	keep    int

	file *os.File // nil: to be opened
	size int64
	last string // hash of the last entry written, also of one in a full file
}

// FileOptions say where to write. All are required.
type FileOptions struct {
	Path    string
	MaxSize int64 // bytes that a file has at most, unless one entry has more
	Keep    int   // how many full files are kept
}

// NewFile returns a sink that opens its file when there is something to write.
func NewFile(o FileOptions) *File {
	return &File{path: o.Path, maxSize: o.MaxSize, keep: o.Keep}
}

// Deliver implements Sink.
func (f *File) Deliver(_ context.Context, entries []journal.Entry) (int, error) {
	if err := f.open(); err != nil {
		return 0, err
	}
	taken := f.known(entries)
	for taken < len(entries) {
		n, err := f.append(entries[taken:])
		if err != nil {
			return taken, errors.Join(fmt.Errorf("writing %s: %w", f.path, err), f.Close())
		}
		taken += n
	}
	return taken, nil
}

// Close implements Sink. The next delivery opens the file anew, whatever a
// failure has left in it.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}

// known returns how many of the entries, counted from the first, are written
// already: those up to the last one written. A crash between the write and the
// cursor's move has them delivered again.
func (f *File) known(entries []journal.Entry) int {
	for i, e := range entries {
		if e.Hash == f.last {
			return i + 1
		}
	}
	return 0
}

// append writes as many entries as the file has room for, one at least, and
// flushes them. It begins another file first if there is no room.
func (f *File) append(entries []journal.Entry) (int, error) {
	var text []byte
	n := 0
	for _, e := range entries {
		line, err := e.JSON()
		if err != nil {
			return 0, err
		}
		if size := f.size + int64(len(text)+len(line)+1); size > f.maxSize && f.size+int64(len(text)) > 0 {
			break
		}
		text = append(append(text, line...), '\n')
		n++
	}
	if n == 0 {
		return 0, f.rotate()
	}
	if _, err := f.file.Write(text); err != nil {
		return 0, err
	}
	if err := f.file.Sync(); err != nil {
		return 0, err
	}
	f.size += int64(len(text))
	f.last = entries[n-1].Hash
	return n, nil
}

// open opens the file, unless it is open and still what is under its name. What a
// crash has left of a line at its end is cut off: that entry was not delivered.
func (f *File) open() error {
	if f.isCurrent() {
		return nil
	}
	if err := f.Close(); err != nil {
		return err
	}
	file, err := openRegular(f.path)
	if err != nil {
		return err
	}
	if f.size, f.last, err = mend(file); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", f.path, err), file.Close())
	}
	if f.size == 0 {
		if f.last, err = lastOf(f.full(1)); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	f.file = file
	return syncDirectory(f.path)
}

// isCurrent reports whether the open file is as it was left: another program, or
// a replica, may have moved it away or written to it.
func (f *File) isCurrent() bool {
	if f.file == nil {
		return false
	}
	named, err := os.Stat(f.path)
	if err != nil {
		return false
	}
	opened, err := f.file.Stat()
	return err == nil && os.SameFile(named, opened) && opened.Size() == f.size
}

// openRegular opens a file for its owner only, and creates it if it is missing.
func openRegular(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600) //nolint:gosec // the configuration names it
	if err != nil {
		return nil, err
	}
	if err := file.Chmod(0o600); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// full is the name of the n-th full file, the newest first.
func (f *File) full(n int) string { return f.path + "." + strconv.Itoa(n) }

// rotate begins another file. The full ones move up as far as there is a gap,
// which a crash in between leaves, and only the last one that is kept is lost.
func (f *File) rotate() error {
	gap := 1
	for gap < f.keep {
		if _, err := os.Lstat(f.full(gap)); errors.Is(err, fs.ErrNotExist) {
			break
		}
		gap++
	}
	for n := gap; n > 1; n-- {
		if err := os.Rename(f.full(n-1), f.full(n)); err != nil {
			return err
		}
	}
	if err := os.Rename(f.path, f.full(1)); err != nil {
		return err
	}
	return f.open()
}

// syncDirectory makes the names of files durable.
func syncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lineStart is how every line begins.
var lineStart = []byte(`{"seq":`)

// maxLine bounds how far a last line is looked for.
const maxLine = 4 << 20

// errForeign keeps us from changing what is not ours.
var errForeign = errors.New("does not end with a record: it is left alone")

// mend cuts off what is left of a line at the end of a file, and returns the
// file's size and the hash of its last entry.
func mend(file *os.File) (size int64, last string, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, "", err
	}
	size = info.Size()
	tail := make([]byte, min(size, maxLine))
	if _, err := file.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0, "", err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if torn := tail[end:]; len(torn) > 0 {
		if !isTorn(torn) || end == 0 && size > maxLine {
			return 0, "", errForeign
		}
		size -= int64(len(torn))
		if err := errors.Join(file.Truncate(size), file.Sync()); err != nil {
			return 0, "", err
		}
	}
	if end == 0 {
		return size, "", nil
	}
	line := tail[bytes.LastIndexByte(tail[:end-1], '\n')+1 : end-1]
	hash, err := hashOf(line)
	return size, hash, err
}

// isTorn reports whether text may be the beginning of a line of ours, or what a
// disk shows that had no time to write it.
func isTorn(text []byte) bool {
	return bytes.HasPrefix(text, lineStart) || bytes.HasPrefix(lineStart, text) || len(bytes.Trim(text, "\x00")) == 0
}

// lastOf returns the hash of the last entry in a full file, "" if there is none.
// Nothing is written to it, so what is not ours there does no harm.
func lastOf(path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // beside what the configuration names
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	_, last, err := mend(file)
	if errors.Is(err, errForeign) {
		err = nil
	}
	return last, errors.Join(err, file.Close())
}

func hashOf(line []byte) (string, error) {
	var e journal.Entry
	if err := json.Unmarshal(line, &e); err != nil || e.Hash == "" {
		return "", errForeign
	}
	return e.Hash, nil
}
