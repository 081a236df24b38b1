// Package wire reads requests that vendors' SDKs sent once. It knows nothing of what
// takes them, so that the door's own tests can use it.
package wire

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// A Request is one that a vendor's SDK sent once.
type Request struct {
	Method, URI, Body string
	Header            map[string]string
	// Refused is for what was signed wrongly on purpose.
	Refused bool
}

// Read returns the requests in testdata/wire.jsonl of the package that is tested.
func Read(t testing.TB) []Request {
	t.Helper()
	file, err := os.Open("testdata/wire.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var all []Request
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var w Request
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
