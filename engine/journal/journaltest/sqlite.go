package journaltest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sealwright/sealwright/engine/journal"
)

// template is the process's one empty embedded journal.
var template struct { //nolint:gochecknoglobals // migrating one takes most of a second
	sync.Mutex
	database []byte
}

// SQLiteJournal returns a state directory with an empty journal in it, which is
// quicker than to migrate one for each test.
func SQLiteJournal(t testing.TB) string {
	t.Helper()
	template.Lock()
	defer template.Unlock()
	dir := t.TempDir()
	path := filepath.Join(dir, "sealwright.db")
	if template.database == nil {
		b, err := migrated(dir, path)
		if err != nil {
			t.Fatalf("migrating the template: %v", err)
		}
		template.database = b
		return dir
	}
	if err := os.WriteFile(path, template.database, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// migrated creates a journal and returns its file, which is complete once the
// journal is closed.
func migrated(dir, path string) ([]byte, error) {
	j, err := journal.Open(context.Background(), journal.Options{State: dir})
	if err != nil {
		return nil, err
	}
	closeErr := j.Close()
	b, err := os.ReadFile(path) //nolint:gosec // our own directory
	return b, errors.Join(err, closeErr)
}
