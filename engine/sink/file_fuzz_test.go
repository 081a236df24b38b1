package sink

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzMend: whatever a file ends with, it is left alone, or it keeps all of its whole
// lines and ends with one of ours; mending it again changes nothing.
func FuzzMend(f *testing.F) {
	const line = `{"seq":1,"previous_hash":"00","hash":"ab","record":{}}` + "\n"
	for _, text := range []string{"", line, line + line[:20], line + "\x00\x00", line[:5], "\n", "\n\n", line + "\n", "theirs", "theirs\n", line + "theirs\n",
		"\x00", line + `{"seq":2,"hash":""}` + "\n", line + `{"hash":5}` + "\n", line + "{", "\xff\n" + line} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "records.jsonl")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		size, last, err := mendAt(t, path)
		left, readErr := os.ReadFile(path)
		if readErr != nil || !bytes.HasPrefix(text, left) {
			t.Fatalf("%q became %q, %v", text, left, readErr)
		}
		if whole := text[:bytes.LastIndexByte(text, '\n')+1]; len(left) < len(whole) {
			t.Errorf("%q lost whole lines: %q", text, left)
		}
		if errors.Is(err, errForeign) {
			return
		}
		if err != nil || size != int64(len(left)) || size > 0 && (left[size-1] != '\n' || last == "") {
			t.Errorf("%q became %q, %d, %q, %v", text, left, size, last, err)
		}
		if n, again, err := mendAt(t, path); n != size || again != last || err != nil {
			t.Errorf("%q: again %d, %q, %v", text, n, again, err)
		}
	})
}

func mendAt(t *testing.T, path string) (int64, string, error) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	size, last, err := mend(file)
	return size, last, errors.Join(err, file.Close())
}
