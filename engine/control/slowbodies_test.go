package control

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
)

// TestSlowBodiesOfAPIs: a vendor's API waits for a body no longer than for any other.
func TestSlowBodiesOfAPIs(t *testing.T) {
	for name, head := range map[string]string{
		"swr":  "POST /v2/p/instances/i/namespaces/library/signature/policies HTTP/1.1\r\n" + ForgedSDK,
		"apig": "POST /v2/p/apigw/instances/i/signs HTTP/1.1\r\n" + ForgedSDK,
		"tcr":  "POST / HTTP/1.1\r\nContent-Type: application/json\r\nX-TC-Action: CreateSignature\r\nX-TC-Version: 2019-09-24\r\nX-TC-Timestamp: {unix}\r\nAuthorization: TC3-HMAC-SHA256 Credential=AKFORGED/{day}/tcr/tc3_request, SignedHeaders=content-type;host, Signature={hex}",
		"oci": "POST /20160918/container/imageSignatures HTTP/1.1\r\nContent-Type: application/json\r\nDate: {date}\r\nX-Content-Sha256: 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n" +
			`Authorization: Signature version="1",keyId="t/u/f",algorithm="rsa-sha256",headers="date (request-target) host content-length content-type x-content-sha256",signature="AAAA"`,
		"swr, a token": "POST /v2/p/instances/i/namespaces/library/signature/policies HTTP/1.1\r\nX-Auth-Token: " + RightToken,
	} {
		WantSlowBodyCut(t, name, head, func(*door.Door) http.Handler { return nil })
	}
}

const ForgedSDK = "X-Sdk-Date: {sdk}\r\nAuthorization: SDK-HMAC-SHA256 Access=AKFORGED, SignedHeaders=host;x-sdk-date, Signature={hex}"

// WantSlowBodyCut fails unless the network's listener waits for a body of that head, but
// not for long, and answers. Where our own API is in use is for other packages to say.
func WantSlowBodyCut(t *testing.T, name, head string, own func(*door.Door) http.Handler) {
	t.Helper()
	public := ociKey(t)
	for _, size := range []int{smallest, 64 << 10} {
		t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := receiveWith(t, public, nil, own)
				defer r.close(t)
				v := r.visit(t, "")
				send(t, v, fmt.Sprintf("%s\r\nHost: x\r\nContent-Length: %d\r\n\r\n{", timed(head), size))
				said := <-v.said
				if !bytes.HasPrefix(said, []byte("HTTP/1.1 ")) {
					t.Errorf("answered %q", said)
				}
				if took := time.Since(v.began); took > requestPatience+unreadPatience || took == 0 { // not 0: it was waited for
					t.Errorf("held for %s, %q", took, said)
				}
				_ = v.Close()
			})
		})
	}
}

// timed fills in what a head says of the time, and a signature.
func timed(head string) string {
	now := time.Now().UTC()
	return strings.NewReplacer("{sdk}", now.Format("20060102T150405Z"), "{unix}", fmt.Sprint(now.Unix()), "{day}", now.Format(time.DateOnly),
		"{date}", now.Format(http.TimeFormat), "{hex}", fmt.Sprintf("%064x", 1)).Replace(head)
}

// local serves what the control socket does.
func local(api http.Handler) (pipes, *Server) {
	p := pipes{make(chan net.Conn), make(chan struct{})}
	return p, serveLocal(p, Options{Engine: engine.New(engine.Options{}), Log: zap.NewNop(), API: api,
		Health: NewHealth(HealthOptions{Dependencies: func() []engine.Dependency { return nil }, Log: zap.NewNop()})})
}

// WantSlowBodiesCutLocally fails unless the control socket waits no longer for bodies
// than the network's listener does, with our own API at it, whether they stop or drip.
func WantSlowBodiesCutLocally(t *testing.T, api http.Handler) {
	t.Helper()
	for head, answer := range map[string]string{
		"POST /api/v1/policies HTTP/1.1\r\nContent-Type: application/json": "400 Bad Request",
		"GET /executions/none HTTP/1.1":                                    "404 Not Found",
		"GET /healthz HTTP/1.1":                                            "200 OK",
		"POST /nope HTTP/1.1":                                              "404 Not Found",
	} {
		for kind, body := range map[string]func(*visitor){
			"stops": func(v *visitor) { _, _ = io.WriteString(v, "Content-Length: 1000\r\n\r\n{") }, // who is left is told by the answer
			"drips": func(v *visitor) {
				_, _ = io.WriteString(v, "Transfer-Encoding: chunked\r\n\r\n")
				repeat(func(int) error { _, err := io.WriteString(v, "1\r\n \r\n"); return err })
			},
		} {
			t.Run(fmt.Sprintf("%.24s %s", head, kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, s := local(api)
					r := &reception{pipes: p}
					v := r.visit(t, "")
					send(t, v, head+"\r\nHost: x\r\n")
					v.busy.Go(func() { body(v) })
					if said := <-v.said; !bytes.HasPrefix(said, []byte("HTTP/1.1 "+answer)) {
						t.Errorf("answered %q, want %s", said, answer)
					}
					if took := time.Since(v.began); took > requestPatience+unreadPatience {
						t.Errorf("held for %s", took)
					}
					_ = v.Close()
					v.busy.Wait()
					if err := s.Close(t.Context(), t.TempDir()+"/none"); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// TestStreamsAtTheSocketGoOn: what has deadlines of its own is read for longer than any
// other answer takes.
func TestStreamsAtTheSocketGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 10
		p, s := local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			for range events {
				_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // as our own API's streams do
				if _, err := io.WriteString(w, "event\n"); err != nil || c.Flush() != nil || r.Context().Err() != nil {
					return
				}
				time.Sleep(answerPatience / 2)
			}
		}))
		r := &reception{pipes: p}
		v := r.visit(t, "")
		send(t, v, "GET /api/v1/executions/1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if said := <-v.said; bytes.Count(said, []byte("event\n")) != events {
			t.Errorf("read %q", said)
		}
		_ = v.Close()
		if err := s.Close(t.Context(), t.TempDir()+"/none"); err != nil {
			t.Error(err)
		}
	})
}
