//go:build bench

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

const (
	readClients  = 1000
	readPolicies = 100
	readTime     = 20 * time.Second
)

// TestBenchReadsAlone measures what clients of the API see, and nothing else.
func TestBenchReadsAlone(t *testing.T) {
	b := &bench{t: t}
	b.reads()
	b.report()
}

// reads measures the answers of our own API to many clients, each with a connection of
// its own, while the daemon signs: it, the registry and the clients are three processes
// on the same processors, and signing takes of them what it can get. A client reads every
// two seconds, as what watches does, then every second; the same of a vendor's API, Huawei
// SWR's, and of a bare server; and at last of our own again as soon as it has its answer,
// which says how many reads there can be.
func (b *bench) reads() {
	reg := b.registry(1000, 20)
	defer reg.stop()
	d := b.daemon(reg.host)
	defer d.stop()
	swrPaths := d.swrPaths()
	alone := d.signing(func() { time.Sleep(readTime) })
	b.add("signing while nobody reads", alone, "artifacts/s", "", true)
	own, bare := d.url, b.bareServer()
	for _, load := range []struct {
		name   string
		url    string
		paths  []string
		every  time.Duration
		target float64
	}{{"1,000 clients, every 2 s: reads", own, ownPaths, 2 * time.Second, 100}, {"Huawei SWR's API: reads", own, swrPaths, 2 * time.Second, 100},
		{"a bare server: reads", bare, barePaths, 2 * time.Second, 0},
		{"1,000 clients, every second: reads", own, ownPaths, time.Second, 100}, {"Huawei SWR's API: reads", own, swrPaths, time.Second, 100},
		{"a bare server: reads", bare, barePaths, time.Second, 0},
		{"1,000 clients, all they can: reads", own, ownPaths, 0, 0}} {
		var took []time.Duration
		rate := d.signing(func() { took = d.read(load.url, load.paths, load.every) })
		slices.Sort(took)
		p99 := float64(took[len(took)*99/100].Microseconds()) / 1000
		target, ok := "", true
		if load.target > 0 {
			target, ok = fmt.Sprintf("≤ %.0f", load.target), p99 <= load.target
		}
		b.add(load.name, float64(len(took))/readTime.Seconds(), "reads/s", "", true)
		b.add("  median", float64(took[len(took)/2].Microseconds())/1000, "ms", "", true)
		b.add("  99 of 100 within", p99, "ms", target, ok)
		b.add("  signing meanwhile", rate, "artifacts/s", "", true)
	}
}

// init adds the least that answers as much as an API does: what clients see of it is what
// the processors have left beside the registry and signing.
func init() {
	commands["bare-server"] = func() {
		answer := bytes.Repeat([]byte{'x'}, bareAnswer)
		panic(http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) })))
	}
}

// bareAnswer is about as large as the answers of our APIs to what is asked here.
const bareAnswer = 8 << 10

var barePaths = []string{"/"}

// bareServer returns the address of a bare server in a process of its own.
func (b *bench) bareServer() string {
	b.t.Helper()
	listen := freeAddress(b.t)
	c := exec.Command("bare-server", listen)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return "http://" + listen
}

// ownPaths are what people and programs look at: lists of executions and policies, and one
// of each.
var ownPaths = []string{"/api/v1/executions?limit=50", "/api/v1/executions/1", "/api/v1/policies?limit=50", "/api/v1/policies/all"}

// swrPaths are the same in SWR's words.
func (d *benchDaemon) swrPaths() []string {
	d.b.t.Helper()
	const list = "/v2/p/instances/bench/signature/policies?limit=50"
	var said struct {
		Policies []struct {
			ID        int64  `json:"id"`
			Namespace string `json:"namespace_name"`
		} `json:"policies"`
	}
	text, err := d.ask(http.DefaultClient, 0, http.MethodGet, d.url+list, "")
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	if err != nil || len(said.Policies) == 0 {
		d.b.t.Fatalf("%d policies, %v", len(said.Policies), err)
	}
	one := fmt.Sprintf("/v2/p/instances/bench/namespaces/%s/signature/policies/%d", said.Policies[0].Namespace, said.Policies[0].ID)
	return []string{list, one, list + "&offset=50", one + "/executions?limit=50"}
}

// A benchDaemon is `sealwright run` with an estate to sign and policies to look at.
type benchDaemon struct {
	b    *bench
	url  string
	stop func()
}

func (b *bench) daemon(host string) *benchDaemon {
	b.t.Helper()
	config, listen := b.config(host, policy.ECDSASHA256), freeAddress(b.t)
	text, err := os.ReadFile(config)
	if err != nil {
		b.t.Fatal(err)
	}
	text = fmt.Appendf(text, "listen: %q\naccess:\n", listen)
	for i := range readClients {
		text = fmt.Appendf(text, "  - {name: reader-%d, role: admin, token_sha256: %x}\n", i, sha256.Sum256([]byte(readToken(i))))
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		b.t.Fatal(err)
	}
	c := exec.Command(need(b.t, "SEALWRIGHT"), "run", "--config", config, "--log-level", "error")
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	d := &benchDaemon{b: b, url: "http://" + listen, stop: func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err = d.ask(http.DefaultClient, 0, http.MethodGet, d.url+"/api/v1/policies", ""); err == nil {
			break
		}
		if time.Now().After(deadline) {
			d.stop()
			b.t.Fatal("the daemon does not answer: ", err)
		}
	}
	for i := range readPolicies {
		p := fmt.Sprintf(`{"name": "stored-%d", "registry": "bench", "key": "bench", "namespace": "n%d", "trigger": {"type": "manual"}, "scope": [{"repositories": "**", "tags": "**"}]}`, i, i)
		d.must(i, http.MethodPost, "/api/v1/policies", p)
		d.must(i, http.MethodPost, fmt.Sprintf("/api/v1/policies/stored-%d/fire", i), "")
	}
	return d
}

func readToken(client int) string {
	return fmt.Sprintf("bench-token-0123456789-0123456789-%04d", client)
}

// ask sends a request and reads the answer.
func (d *benchDaemon) ask(client *http.Client, caller int, method, url, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(d.b.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(req.URL.Path, "/v2/") {
		req.Header.Set("X-Auth-Token", readToken(caller))
	} else {
		req.Header.Set("Authorization", "Bearer "+readToken(caller))
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, answer)
	}
	return answer, err
}

func (d *benchDaemon) must(caller int, method, path, body string) {
	d.b.t.Helper()
	if _, err := d.ask(http.DefaultClient, caller, method, d.url+path, body); err != nil {
		d.b.t.Fatal(err)
	}
}

// signing returns how many artifacts are signed a second while during goes on. The
// estate is large enough for all of it.
func (d *benchDaemon) signing(during func()) float64 {
	d.b.t.Helper()
	d.must(0, http.MethodPost, "/api/v1/policies/all/fire", "")
	before, began := d.signed(), time.Now()
	during()
	n, took := d.signed()-before, time.Since(began)
	if n == 0 {
		d.b.t.Fatal("nothing was signed meanwhile: the estate is too small")
	}
	return n / took.Seconds()
}

var signedSoFar = regexp.MustCompile(`(?m)^sealwright_signatures_total\{.*result="signed".*\} (\S+)$`)

// signed returns how many signatures the daemon has made, by its metrics.
func (d *benchDaemon) signed() float64 {
	d.b.t.Helper()
	req, err := http.NewRequestWithContext(d.b.t.Context(), http.MethodGet, d.url+"/metrics", nil)
	if err != nil {
		d.b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+readToken(0))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		d.b.t.Fatal(err)
	}
	total := 0.0
	for _, m := range signedSoFar.FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			d.b.t.Fatal(err)
		}
		total += n
	}
	return total
}

// read has all clients, once all are connected, read for readTime, each of them all paths
// of a server in turn.
func (d *benchDaemon) read(url string, paths []string, every time.Duration) []time.Duration {
	transport := &http.Transport{MaxIdleConnsPerHost: readClients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	took := make([][]time.Duration, readClients)
	var connected, all sync.WaitGroup
	connected.Add(readClients)
	for c := range readClients {
		all.Go(func() {
			_, err := d.ask(client, c, http.MethodGet, url+paths[c%len(paths)], "")
			connected.Done()
			connected.Wait()
			if err != nil {
				d.b.t.Error(err)
				return
			}
			time.Sleep(every * time.Duration(c) / readClients) // they did not begin together
			for end, i := time.Now().Add(readTime), c; time.Now().Before(end); i++ {
				began := time.Now()
				if _, err := d.ask(client, c, http.MethodGet, url+paths[i%len(paths)], ""); err != nil {
					d.b.t.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(began))
				time.Sleep(every - min(every, time.Since(began)))
			}
		})
	}
	all.Wait()
	return slices.Concat(took...)
}
