package controltest

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// A WireRequest is one that a vendor's SDK sent once.
type WireRequest struct {
	Method, URI, Body string
	Header            map[string]string
	// Refused is for what was signed wrongly on purpose.
	Refused bool
}

// ReadWire returns the requests in testdata/wire.jsonl of the package that is tested.
func ReadWire(t testing.TB) []WireRequest {
	t.Helper()
	file, err := os.Open("testdata/wire.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var all []WireRequest
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var w WireRequest
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
