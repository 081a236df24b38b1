package tcr_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/tcr"
	"github.com/sealwright/sealwright/engine/journal"
)

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// raw makes a request as Tencent documents it, of the admin's. Each has a second of
// its own.
func (e *estate) raw(action, body string) *http.Request {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, e.url+"/", strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-TC-Action", action)
	r.Header.Set("X-TC-Version", "2019-09-24")
	e.sign(r, body)
	return r
}

// sign signs a request at the next second, whatever the clock says: no test makes so
// many that one is too early.
func (e *estate) sign(r *http.Request, body string) {
	e.signed = e.signed.Add(time.Second)
	at := e.signed.UTC()
	date, stamp := at.Format(time.DateOnly), fmt.Sprint(at.Unix())
	canonical := r.Method + "\n/\n" + r.URL.RawQuery + "\ncontent-type:" + r.Header.Get("Content-Type") + "\nhost:" + r.URL.Host +
		"\n\ncontent-type;host\n" + hexOf([]byte(body))
	scope := date + "/tcr/tc3_request"
	key := mac(mac(mac([]byte("TC3"+controltest.AdminSecret), date), "tcr"), "tc3_request")
	signature := hex.EncodeToString(mac(key, "TC3-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hexOf([]byte(canonical))))
	r.Header.Set("X-TC-Timestamp", stamp)
	r.Header.Set("Authorization", "TC3-HMAC-SHA256 Credential="+controltest.AdminKey+"/"+scope+", SignedHeaders=content-type;host, Signature="+signature)
}

// sends sends a request and returns the code of what it is answered with.
func sends(t *testing.T, r *http.Request) string {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return codeOf(t, answer.StatusCode, answer.Header, body)
}

// TestBodies: what is no object of parameters, each once, is refused before
// anything is done.
func TestBodies(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	good := `"RegistryId":"` + controltest.Instance + `"`
	for body, code := range map[string]string{
		`{` + good + `}`:                        "",
		"\n{" + good + "}\n":                    "",
		``:                                      "MissingParameter",
		`{}`:                                    "MissingParameter",
		`null`:                                  "InvalidParameter",
		`[]`:                                    "InvalidParameter",
		`"x"`:                                   "InvalidParameter",
		`{` + good:                              "InvalidParameter",
		`{` + good + `}}`:                       "InvalidParameter",
		`{` + good + `}{}`:                      "InvalidParameter",
		`{` + good + `,}`:                       "InvalidParameter",
		`{` + good + `,` + good + `}`:           "InvalidParameter",
		`{` + good + `,"All":true,"All":false}`: "InvalidParameter",
		`{` + good + `,"\u0041ll":true,"All":true}`:                "InvalidParameter",
		`{"RegistryId":null}`:                                      "InvalidParameter",
		`{` + good + `,"All":null}`:                                "InvalidParameter",
		`{` + good + `,"Limit":null}`:                              "InvalidParameter",
		`{` + good + `,"Filters":null}`:                            "InvalidParameter",
		`{` + good + `,"Limit":99999999999999999999}`:              "InvalidParameter",
		`{` + good + `,"Limit":1e1}`:                               "InvalidParameter",
		`{` + good + `,"Filters":[{"Name":"Tags","Name":"Tags"}]}`: "InvalidParameter",
		`{` + good + `,"x":` + strings.Repeat("[", 100000) + `}`:   "InvalidParameter",
		`{` + good + `,"x":` + strings.Repeat(`{"a":`, 9000) + `1` + strings.Repeat(`}`, 9000) + `}`: "InvalidParameter",
		"{\"RegistryId\":\"\xff\"}":                     "InvalidParameter",
		`{"registryid":"` + controltest.Instance + `"}`: "MissingParameter",
	} {
		if got := sends(t, e.raw("DescribeNamespaces", body)); got != code {
			t.Errorf("%.100s: %q, want %q", body, got, code)
		}
	}
}

// TestRequests: what is no POST / of JSON with one action is refused by Tencent's
// codes, always with status 200.
func TestRequests(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	host := strings.TrimPrefix(e.url, "http://")
	body := `{"RegistryId":"` + controltest.Instance + `"}`
	unauthorized := "AuthFailure.InvalidAuthorization"
	for what, c := range map[string]struct {
		change func(*http.Request)
		code   string
	}{
		"good": {func(*http.Request) {}, ""},
		"a charset": {func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			e.sign(r, body)
		}, ""},
		"unsigned":        {func(r *http.Request) { r.Header.Del("Authorization") }, unauthorized},
		"a token":         {func(r *http.Request) { r.Header.Set("X-TC-Token", "x") }, "AuthFailure.TokenFailure"},
		"no action":       {func(r *http.Request) { r.Header.Del("X-TC-Action") }, "MissingParameter"},
		"no version":      {func(r *http.Request) { r.Header.Del("X-TC-Version") }, "MissingParameter"},
		"another version": {func(r *http.Request) { r.Header.Set("X-TC-Version", "2019-09-25") }, "NoSuchVersion"},
		"two versions":    {func(r *http.Request) { r.Header.Add("X-TC-Version", "2019-09-24") }, "NoSuchVersion"},
		"another action":  {func(r *http.Request) { r.Header.Set("X-TC-Action", "DeleteInstance") }, "InvalidAction"},
		"odd case":        {func(r *http.Request) { r.Header.Set("X-TC-Action", "describenamespaces") }, "InvalidAction"},
		"a long action":   {func(r *http.Request) { r.Header.Set("X-TC-Action", strings.Repeat("a", 100000)) }, "InvalidAction"},
		"two actions":     {func(r *http.Request) { r.Header.Add("X-TC-Action", "DeleteSignaturePolicy") }, unauthorized},
		"two timestamps":  {func(r *http.Request) { r.Header.Add("X-TC-Timestamp", "1") }, unauthorized},
		"two signatures":  {func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, unauthorized},
		"a form": {func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			e.sign(r, body)
		}, "InvalidParameter"},
		"two bodies": {func(r *http.Request) {
			r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
			e.sign(r, body)
		}, "InvalidParameter"},
		"a query":          {func(r *http.Request) { r.URL.RawQuery = "Action=DeleteSignaturePolicy"; e.sign(r, body) }, unauthorized},
		"a path":           {func(r *http.Request) { r.URL.Path = "/v2" }, unauthorized},
		"a path of dots":   {func(r *http.Request) { r.URL.Path = "/a/.." }, unauthorized},
		"two slashes":      {func(r *http.Request) { r.URL.Path = "//" }, unauthorized},
		"an escaped slash": {func(r *http.Request) { r.URL.Opaque = "//" + host + "/%2F" }, unauthorized},
		"PUT":              {func(r *http.Request) { r.Method = http.MethodPut }, "UnsupportedProtocol"},
		"DELETE":           {func(r *http.Request) { r.Method = http.MethodDelete }, "UnsupportedProtocol"},
		"another body":     {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(strings.Replace(body, "8d", "8e", 1))) }, "AuthFailure.SignatureFailure"},
		"a large body": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 100<<20)), 100<<20
		}, "RequestSizeLimitExceeded"},
		"a large body of unknown size": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 100<<20)), -1
		}, "RequestSizeLimitExceeded"},
	} {
		t.Run(what, func(t *testing.T) {
			r := e.raw("DescribeNamespaces", body)
			c.change(r)
			if got := sends(t, r); got != c.code {
				t.Errorf("%q, want %q", got, c.code)
			}
		})
	}
}

// zeros is endless.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestHandles: what is for this API, at an address where other things are.
func TestHandles(t *testing.T) {
	t.Parallel()
	request := func(method, target string, header ...string) *http.Request {
		r := httptest.NewRequest(method, target, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	for want, list := range map[bool][]*http.Request{
		true: {request("POST", "/", "X-TC-Action", "DescribeInstances"), request("POST", "/", "Authorization", "TC3-HMAC-SHA256 x"),
			request("GET", "/?Action=DescribeInstances&Version=2019-09-24"), request("POST", "/", "Content-Type", "application/x-www-form-urlencoded")},
		false: {request("GET", "/"), request("POST", "/"), request("POST", "/events/prod", "X-TC-Action", "x"), request("GET", "/healthz"),
			request("GET", "/", "Authorization", "Bearer x")},
	} {
		for _, r := range list {
			if got := tcr.Handles(r); got != want {
				t.Errorf("%s %s %v: %v", r.Method, r.URL, r.Header, got)
			}
		}
	}
}

// TestInternalErrors: what nobody foresaw is answered without details, which the log
// has with the request's id; the process goes on after a panic.
func TestInternalErrors(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(*estate, *tcr.Options){
		"registry": func(e *estate, _ *tcr.Options) {
			e.Server.Intercept(func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusForbidden) })
			})
		},
		"panic": func(_ *estate, o *tcr.Options) { o.Rights = nil },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t, controltest.Options{})
			core, logs := observer.New(zap.ErrorLevel)
			o := tcr.Options{Engine: e.Engine, Door: e.Door, Rights: e.Rights, Log: zap.New(core)}
			spoil(e, &o)
			e.url = e.Serve(t, tcr.New(o))
			_, err := e.admin().try("DescribeNamespaces", params{"RegistryId": controltest.Instance})
			if err == nil || err.Code != "InternalError.ErrorTcrInternal" || strings.Contains(err.Message, "secret") {
				t.Errorf("answered %v", err)
			}
			list := logs.All()
			if len(list) != 1 || list[0].ContextMap()["request"] != err.RequestId {
				t.Errorf("logged %+v, told %v", list, err)
			}
		})
	}
}

const replayed = "AuthFailure.SignatureExpire"

// again is a request with the same signature.
func again(r *http.Request, body string) *http.Request {
	out := r.Clone(context.Background())
	out.Body = io.NopCloser(strings.NewReader(body))
	return out
}

// expect sends a request that must be answered with a code.
func expect(t *testing.T, what string, r *http.Request, code string) {
	t.Helper()
	if got := sends(t, r); got != code {
		t.Errorf("%s: %q, want %q", what, got, code)
	}
}

// TestReplays: a change that is sent again, as SDKs do when the answer was lost, is
// not made again; what it asked for and is so is said.
func TestReplays(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	create, remove := text(t, library()), text(t, inLibrary())
	sign := text(t, app("v1"))
	makes := e.raw("CreateSignaturePolicy", create)
	expect(t, "create", makes, "")
	expect(t, "create again", again(makes, create), "")
	removes := e.raw("DeleteSignaturePolicy", remove)
	expect(t, "delete", removes, "")
	expect(t, "delete again", again(removes, remove), "")
	expect(t, "create again, after it was deleted", again(makes, create), replayed)
	if got := e.viewer().policies(); len(got) != 0 {
		t.Errorf("a replay made %v", got)
	}
	other := text(t, library().with(params{"Name": "another"}))
	expect(t, "another", e.raw("CreateSignaturePolicy", other), "")
	expect(t, "create again, after another", again(makes, create), replayed)
	expect(t, "delete again, after another", again(removes, remove), replayed)
	if got := e.viewer().policies(); !strings.Contains(got["library"], "another") {
		t.Errorf("a replay left %v", got)
	}

	signs := e.raw("CreateSignature", sign)
	expect(t, "sign", signs, "")
	e.viewer().signed("v1")
	expect(t, "sign again", again(signs, sign), "")
	e.push("library/app:v1")
	expect(t, "sign again, when it is another image", again(signs, sign), replayed)
	if i := e.viewer().image("v1"); i.KmsSignature != "" {
		t.Errorf("a replay signed %+v", i)
	}
	entries, err := e.Journal.AuditEntries(t.Context(), journal.AuditFilter{API: "tcr"})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	for _, entry := range entries {
		outcomes[entry.Outcome]++
	}
	if d := cmp.Diff(map[string]int{"done": 4, "nothing to change": 3, "refused: replayed": 4}, outcomes); d != "" {
		t.Error(d)
	}
}

// TestReadIsNoChange: the action is not signed, but a read passes for no change. One
// that has the signature of a change is answered: clients look at what they changed.
func TestReadIsNoChange(t *testing.T) {
	t.Parallel()
	e := newEstate(t, controltest.Options{})
	e.push("library/app:v1")
	remove, sign := text(t, inLibrary()), text(t, app("v1"))
	expect(t, "create", e.raw("CreateSignaturePolicy", text(t, library())), "")
	reads := e.raw("DescribeNamespaces", remove)
	expect(t, "read", reads, "")
	expect(t, "read again", again(reads, remove), "")
	deletes := again(reads, remove)
	deletes.Header.Set("X-TC-Action", "DeleteSignaturePolicy")
	expect(t, "a read sent as a change", deletes, replayed)
	if got := e.viewer().policies(); len(got) != 1 {
		t.Errorf("a read deleted, left is %v", got)
	}
	signs := e.raw("CreateSignature", sign)
	expect(t, "sign", signs, "")
	looks := again(signs, sign)
	looks.Header.Set("X-TC-Action", "DescribeImages")
	expect(t, "a look at what was signed", looks, "")
}
