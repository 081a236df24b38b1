package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/registrytest"
)

const sinkToken = "token-0123456789abcdef0123456789"

// A recipient takes entries that come with the token, once it is open.
type recipient struct {
	*httptest.Server
	mu     sync.Mutex
	open   bool
	asked  int
	hashes []string
}

func newRecipient(t *testing.T) *recipient {
	r := &recipient{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *recipient) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var e journal.Entry
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	switch {
	case err != nil || req.Header.Get("Idempotency-Key") != e.Hash:
		w.WriteHeader(http.StatusBadRequest)
	case req.Header.Get("Authorization") != "Bearer "+sinkToken:
		http.Error(w, req.Header.Get("Authorization"), http.StatusUnauthorized)
	case !r.open:
		w.WriteHeader(http.StatusInternalServerError)
	default:
		r.hashes = append(r.hashes, e.Hash)
	}
}

func (r *recipient) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.hashes...)
}

// sinks adds two sinks to the house's configuration.
func (h *house) sinks(url string) {
	h.t.Helper()
	if err := os.WriteFile(h.path("sink.token"), []byte(sinkToken+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.write(h.read(localConfig) + fmt.Sprintf(`sinks:
  - {name: archive, kind: file, path: records.jsonl}
  - {name: siem, kind: webhook, url: %q, token_file: sink.token}
`, url))
}

// chain is the hashes of all entries, by an export.
func (h *house) chain() []string {
	h.t.Helper()
	out, _ := h.run(exitOK, "records", "verify", "--output", "json")
	var report journal.ChainReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		h.t.Fatal(err)
	}
	j, err := journal.OpenReadOnly(h.t.Context(), h.path("state"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // only read
	es, err := j.Entries(h.t.Context(), 0, int(report.Entries)+1)
	if err != nil {
		h.t.Fatal(err)
	}
	var hashes []string
	for _, e := range es {
		hashes = append(hashes, e.Hash)
	}
	return hashes
}

// TestSinksOfADaemon: records are delivered while it runs. A server that takes
// none holds up nothing; a reload that names another one delivers all to it.
func TestSinksOfADaemon(t *testing.T) {
	t.Parallel()
	h, closed, open := newHouse(t), newRecipient(t), newRecipient(t)
	open.open = true
	h.configure(fmt.Sprintf(manual, "all"))
	h.sinks(closed.URL + "/secret-path")
	digests := h.push("library/api", 4)
	d := h.start()
	h.run(exitOK, "trigger", "all")
	if n := h.signed("library/api", digests); n != len(digests) {
		t.Fatalf("%d of %d signed", n, len(digests))
	}
	value := func(name, sink string) float64 {
		return metric(t, h.scrape(), fmt.Sprintf("sealwright_sink_%s{sink=%q}", name, sink))
	}
	registrytest.Eventually(t, patience, "the file has all", func() bool { return value("delivered_total", "archive") == 4 })
	registrytest.Eventually(t, patience, "the server has refused", func() bool { return value("failures_total", "siem") > 0 })
	if value("lag_entries", "siem") != 4 || value("lag_entries", "archive") != 0 || value("oldest_timestamp_seconds", "siem") == 0 ||
		value("oldest_timestamp_seconds", "archive") != 0 {
		t.Errorf("metrics:\n%s", h.scrape())
	}
	h.replace(closed.URL, "https://nobody.invalid/?secret")
	d.signal(syscall.SIGHUP)
	d.log.await(t, "configuration refused, the old one stays", 1)
	h.replace("https://nobody.invalid/?secret", open.URL)
	d.signal(syscall.SIGHUP)
	d.log.await(t, "configuration reloaded", 1)
	registrytest.Eventually(t, patience, "all is delivered", func() bool { return len(open.taken()) >= 4 })
	if n := value("delivered_total", "archive"); n != 4 {
		t.Errorf("the archive has taken %v, which a reload does not change", n)
	}
	d.stop()
	if got, want := open.taken(), h.chain(); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("delivered %v, want %v", got, want)
	}
	if n := strings.Count(h.read("records.jsonl"), "\n"); n != 4 {
		t.Errorf("%d lines in the file", n)
	}
	for _, secret := range []string{sinkToken, "secret-path", "?secret"} {
		if strings.Contains(d.log.String(), secret) {
			t.Errorf("the log shows %q:\n%s", secret, d.log)
		}
	}
}

// TestSinksOnce: run --once delivers before it ends, and what is not taken is
// said, is no failure, and is delivered by the next run.
func TestSinksOnce(t *testing.T) {
	t.Parallel()
	h, r := newHouse(t), newRecipient(t)
	h.configure(fmt.Sprintf(manual, "all"))
	h.sinks(r.URL)
	h.push("library/api", 3)
	_, logged := h.run(exitOK, "run", "--once")
	if !strings.Contains(logged, "records are not delivered yet") || !strings.Contains(logged, "answered 500") || strings.Contains(logged, sinkToken) {
		t.Errorf("logged:\n%s", logged)
	}
	if n := strings.Count(h.read("records.jsonl"), "\n"); n != 3 {
		t.Errorf("%d lines in the file", n)
	}
	r.mu.Lock()
	r.open = true
	r.mu.Unlock()
	h.run(exitOK, "run", "--once")
	if got, want := r.taken(), h.chain(); strings.Join(got, " ") != strings.Join(want, " ") || len(got) != 3 {
		t.Errorf("delivered %v, want %v", got, want)
	}
	if n := strings.Count(h.read("records.jsonl"), "\n"); n != 3 {
		t.Errorf("%d lines in the file after the second run", n)
	}
}

// TestSinksBad: a sink that cannot be opened keeps the daemon from starting.
func TestSinksBad(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure(fmt.Sprintf(manual, "all"))
	h.sinks("https://siem.example.com")
	if err := os.WriteFile(h.path("ca.pem"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.replace("token_file: sink.token", "token_file: sink.token, ca_file: ca.pem")
	if _, shown := h.run(exitUsage, "run", "--once"); !strings.Contains(shown, `sink "siem": ca_file: `) {
		t.Errorf("shown: %s", shown)
	}
	h.replace("ca.pem", "missing.pem")
	if _, shown := h.run(exitUsage, "check"); !strings.Contains(shown, "sinks[1].ca_file") {
		t.Errorf("shown: %s", shown)
	}
}
