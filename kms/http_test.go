package kms

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestAnswersAreCut(t *testing.T) {
	for _, size := range []int{0, 1, maxAnswer - 1, maxAnswer, maxAnswer + 1, 3 * maxAnswer} {
		for name, slowly := range map[string]func(io.Reader) io.Reader{
			"at once":             func(r io.Reader) io.Reader { return r },
			"in halves":           iotest.HalfReader,
			"with the end":        iotest.DataErrReader,
			"with empty reads":    func(r io.Reader) io.Reader { return &emptyReads{r: r} },
			"in unequal portions": func(r io.Reader) io.Reader { return io.MultiReader(io.LimitReader(r, 1), r) },
		} {
			body := &cutBody{io.NopCloser(slowly(bytes.NewReader(make([]byte, size)))), maxAnswer}
			got, err := io.ReadAll(body)
			if size <= maxAnswer && (err != nil || len(got) != size) {
				t.Errorf("%d bytes %s: got %d and %v", size, name, len(got), err)
			}
			if size > maxAnswer && (!errors.Is(err, errTooLong) || len(got) != maxAnswer) {
				t.Errorf("%d bytes %s: got %d and %v, want %d and errTooLong", size, name, len(got), err, maxAnswer)
			}
		}
	}
}

// emptyReads returns nothing and no error at each second call, as a Reader may.
type emptyReads struct {
	r     io.Reader
	empty bool
}

func (e *emptyReads) Read(p []byte) (int, error) {
	if e.empty = !e.empty; e.empty {
		return 0, nil
	}
	return e.r.Read(p)
}

// askWith asks url with the store's client.
func askWith(t *testing.T, s *Store, url string) (int, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client().Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func TestClientCutsAndStaysWhereItIs(t *testing.T) {
	elsewhere := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write(make([]byte, 2*maxAnswer)) // the client leaves
		case "/redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		default:
			elsewhere++
		}
	}))
	t.Cleanup(server.Close)
	s := quickStore(t, StoreConfig{})
	if _, body, err := askWith(t, s, server.URL+"/large"); !errors.Is(err, errTooLong) || len(body) != maxAnswer {
		t.Errorf("got %d bytes and %v, want %d and errTooLong", len(body), err, maxAnswer)
	}
	if status, _, err := askWith(t, s, server.URL+"/redirect"); err != nil || status != http.StatusFound || elsewhere != 0 {
		t.Errorf("got %d and %v, and %d requests elsewhere; want the redirect itself", status, err, elsewhere)
	}
}

func TestCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the clients that do not trust it
	server.StartTLS()
	t.Cleanup(server.Close)
	_, _, err := askWith(t, quickStore(t, StoreConfig{}), server.URL+"/?token=hunter2")
	if err := networkError(err); !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("an unknown certificate: got %v, want ErrDenied without the URL", err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	trusting := quickStore(t, StoreConfig{CAFile: file})
	if status, _, err := askWith(t, trusting, server.URL); err != nil || status != http.StatusOK {
		t.Errorf("a certificate in ca_file: got %d and %v", status, err)
	}
	_, _, err = askWith(t, trusting, strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
	if err := networkError(err); !errors.Is(err, ErrDenied) {
		t.Errorf("another name: got %v, want ErrDenied", err)
	}
}

func TestNetworkErrors(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(server.Close)
	for _, url := range []string{server.URL + "/?token=hunter2", "http://127.0.0.1:1/?token=hunter2", "https" + server.URL[4:] + "/?token=hunter2"} {
		_, _, err := askWith(t, quickStore(t, StoreConfig{}), url)
		if err := networkError(err); !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want ErrUnavailable without the URL", url, err)
		}
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		" words \n":                         "words",
		"a\r\nb\x1b[31m\u202ec\x00":         "a  b [31m c",
		"caf\xe9 \u00e9":                    "caf  \u00e9",
		strings.Repeat("é", maxWords):       strings.Repeat("é", maxWords/2) + "…",
		"x" + strings.Repeat("é", maxWords): "x" + strings.Repeat("é", maxWords/2-1) + "…",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestAskedToWait(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "1.5": 0, "99999999999999999999": 0, "soon": 0, "Wed, 21 Oct 2015 07:28:00 GMT": 0,
		"3600": time.Hour, "3601": maxPause, "2147483647": maxPause, "Fri, 31 Dec 9999 23:59:59 GMT": maxPause,
	} {
		if got := askedToWait(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	resp := &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"7"}}}
	if got := retryAfter(vaultFailure(resp, nil)); got != 7*time.Second {
		t.Errorf("Vault's answer with Retry-After: %s, want 7s", got)
	}
}

// What clouds tell their machines of themselves is credentials, in plain HTTP.
func TestNoProxyLearnsWhoWeAre(t *testing.T) {
	for host, want := range map[string]bool{
		"169.254.169.254": true, "169.254.170.2": true, "169.254.170.23": true, "fe80::a9fe:a9fe": true, "::ffff:169.254.169.254": true,
		"fd00:ec2::254": true, "fd00:ec2::23": true, "metadata.google.internal": true, "127.0.0.1": true,
		"kms.eu-west-1.amazonaws.com": false, "10.0.0.1": false, "fd00::1": false, "metadata.google.internal.example.com": false, "": false,
	} {
		if got := aboutThisMachine(host); got != want {
			t.Errorf("%s: %t, want %t", host, got, want)
		}
	}
	for _, target := range []string{"http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/latest", "http://metadata.google.internal/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if proxy, err := proxyFor(req); proxy != nil || err != nil {
			t.Errorf("%s is asked by %v, %v", target, proxy, err)
		}
	}
}
