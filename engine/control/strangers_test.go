package control

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/oci"
	"github.com/sealwright/sealwright/engine/control/swr"
	"github.com/sealwright/sealwright/engine/control/tcr"
)

const RightToken = "right-token-0123456789-0123456789-0123456789"

// A reception serves all vendors' APIs at a listener, whose door knows callers of each
// scheme. Nothing is behind them: strangers get no further.
type reception struct {
	pipes
	*Listener
	now, most atomic.Int64 // requests at once
}

// serverIdentity is a certificate, made before time is that of a test.
func serverIdentity(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func ociKey(t *testing.T) *rsa.PublicKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

// receive opens a reception, over TLS if there is a certificate.
func receive(t *testing.T, public *rsa.PublicKey, identity *tls.Certificate) *reception {
	t.Helper()
	return receiveWith(t, public, identity, func(*door.Door) http.Handler { return nil })
}

// receiveWith also serves an API of our own.
func receiveWith(t *testing.T, public *rsa.PublicKey, identity *tls.Certificate, own func(*door.Door) http.Handler) *reception {
	t.Helper()
	credentials := []door.Credential{{Name: "token", Role: door.Viewer, TokenSHA256: sha256.Sum256([]byte(RightToken))},
		{Name: "vendor", Role: door.Admin, AccessKey: "AKRIGHT", Secret: []byte("secret")}}
	if public != nil {
		credentials = append(credentials, door.Credential{Name: "oracle", Role: door.Admin, OCIKeyID: "t/u/f", OCIPublicKey: public})
	}
	d, err := door.New(door.Config{Credentials: credentials, Admit: Known})
	if err != nil {
		t.Fatal(err)
	}
	nop := zap.NewNop()
	inner := Network(NetworkOptions{Events: http.NotFoundHandler(), Engine: engine.New(engine.Options{}), Door: d, Log: nop,
		Health: NewHealth(HealthOptions{Dependencies: func() []engine.Dependency { return nil }, Log: nop}),
		APIs: APIs{SWR: swr.New(swr.Options{Door: d, Log: nop}), TCR: tcr.New(tcr.Options{Door: d, Log: nop}),
			OCI: oci.New(oci.Options{Door: d, Log: nop}), APIG: apig.New(apig.Options{Door: d, Log: nop}), Own: own(d)}})
	r := &reception{pipes: pipes{make(chan net.Conn), make(chan struct{})}}
	var config *tls.Config
	if identity != nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*identity}, NextProtos: []string{"h2", "http/1.1"}}
	}
	r.Listener = serve(r.pipes, config, ListenOptions{Log: nop, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !door.TurnedAway(q) {
			r.most.Store(max(r.most.Load(), r.now.Add(1)))
			defer r.now.Add(-1)
		}
		inner.ServeHTTP(w, q)
	})})
	return r
}

func (r *reception) close(t *testing.T) {
	t.Helper()
	if err := r.Listener.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// A visitor is the other end of a connection, at which all is read that comes.
type visitor struct {
	net.Conn
	began time.Time
	said  chan []byte // once the connection has ended
	busy  sync.WaitGroup
}

// visit opens a connection, over TLS with that protocol unless it is empty.
func (r *reception) visit(t *testing.T, protocol string) *visitor {
	t.Helper()
	ours, theirs := net.Pipe()
	v := &visitor{Conn: ours, began: time.Now(), said: make(chan []byte, 1)}
	r.came <- theirs
	if protocol != "" {
		secured := tls.Client(ours, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
		if err := secured.Handshake(); err != nil {
			t.Fatal(err)
		}
		v.Conn = secured
	}
	go func() {
		said, _ := io.ReadAll(v.Conn) // until we are left, however
		v.said <- said
	}()
	return v
}

// drip writes slowly, until nobody takes it.
func (v *visitor) drip(text string) {
	for _, b := range []byte(text) {
		if _, err := v.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// h2 begins HTTP/2.
func (v *visitor) h2(t *testing.T) *http2.Framer {
	t.Helper()
	if _, err := io.WriteString(v, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(v, nil)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f
}

// begin begins a request of HTTP/2.
func begin(f *http2.Framer, stream uint32, end bool, fields ...string) error {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // to a buffer
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndStream: end, EndHeaders: true})
}

// forged are the fields of a request that is signed by nobody and has a body.
func forged(size int) []string {
	return []string{":method", "POST", ":scheme", "https", ":authority", "x", ":path", "/v2/p/instances/i/namespaces/library/signature/policies",
		"x-sdk-date", time.Now().UTC().Format("20060102T150405Z"), "content-length", fmt.Sprint(size),
		"authorization", fmt.Sprintf("SDK-HMAC-SHA256 Access=AKFORGED, SignedHeaders=host;x-sdk-date, Signature=%064x", 1)}
}

func healthz(end ...string) []string {
	return append([]string{":method", "GET", ":scheme", "https", ":authority", "x", ":path", "/healthz"}, end...)
}

// TestStrangersLeave: a connection on which nobody shows who it is ends soon, whatever
// is or is not sent on it.
func TestStrangersLeave(t *testing.T) {
	identity := serverIdentity(t)
	const get = "GET /healthz HTTP/1.1\r\nHost: x\r\n"
	for name, test := range map[string]struct {
		protocol string
		do       func(*testing.T, *visitor)
		within   time.Duration
	}{
		"no handshake": {"", func(*testing.T, *visitor) {}, 5 * time.Second},
		"half a handshake": {"", func(_ *testing.T, v *visitor) {
			v.busy.Go(func() { v.drip("\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03") })
		}, 5 * time.Second},
		"no header":                  {"http/1.1", func(*testing.T, *visitor) {}, 5 * time.Second},
		"a header that drips":        {"http/1.1", func(_ *testing.T, v *visitor) { v.busy.Go(func() { v.drip(get) }) }, 5 * time.Second},
		"an answer and nothing more": {"http/1.1", func(t *testing.T, v *visitor) { send(t, v, get+"\r\n") }, time.Second},
		"no preface":                 {"h2", func(*testing.T, *visitor) {}, strangerIdle},
		"no stream":                  {"h2", func(t *testing.T, v *visitor) { v.h2(t) }, strangerIdle},
		"a stream that drips": {"h2", func(t *testing.T, v *visitor) {
			v.h2(t)
			v.busy.Go(func() {
				v.drip("\x00\x03\xe8\x01\x04\x00\x00\x00\x01\x82\x82\x82\x82\x82\x82\x82\x82\x82\x82\x82\x82\x82\x82\x82\x82\x82")
			})
		}, strangerIdle},
		"pings": {"h2", func(t *testing.T, v *visitor) {
			f := v.h2(t)
			v.busy.Go(func() { repeat(func(int) error { return f.WritePing(false, [8]byte{}) }) })
		}, strangerIdle},
		"an answer to a stream and nothing more": {"h2", func(t *testing.T, v *visitor) {
			if err := begin(v.h2(t), 1, true, healthz()...); err != nil {
				t.Fatal(err)
			}
		}, 2 * time.Second},
		"a body that does not come": {"h2", func(t *testing.T, v *visitor) {
			if err := begin(v.h2(t), 1, false, forged(100)...); err != nil {
				t.Fatal(err)
			}
		}, requestPatience + 2*time.Second},
		"streams that are taken back": {"h2", func(t *testing.T, v *visitor) {
			f := v.h2(t)
			v.busy.Go(func() {
				repeat(func(n int) error {
					if n > 0 {
						if err := f.WriteRSTStream(uint32(2*n-1), http2.ErrCodeCancel); err != nil {
							return err
						}
					}
					return begin(f, uint32(2*n+1), false, forged(100)...)
				})
			})
		}, strangerIdle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := receive(t, nil, &identity)
				defer r.close(t)
				v := r.visit(t, test.protocol)
				test.do(t, v)
				<-v.said
				if took := time.Since(v.began); took > test.within {
					t.Errorf("stayed for %s, want at most %s", took, test.within)
				}
				_ = v.Close()
				v.busy.Wait()
			})
		})
	}
}

// repeat does something every second, as long as it works, for minutes.
func repeat(do func(n int) error) {
	for n := 0; n < 200 && do(n) == nil; n++ {
		time.Sleep(time.Second)
	}
}

func send(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// TestCallersStay: who has shown who it is keeps its connection, over either protocol,
// and may ask again on it.
func TestCallersStay(t *testing.T) {
	identity := serverIdentity(t)
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := receive(t, nil, &identity)
				defer r.close(t)
				v := r.visit(t, protocol)
				if protocol == "h2" {
					f := v.h2(t)
					for i, fields := range [][]string{{":path", "/v2/p/instances/i/namespaces"}, {":path", "/healthz"}} {
						all := append(fields, ":method", "GET", ":scheme", "https", ":authority", "x", "x-auth-token", RightToken)
						if err := begin(f, uint32(2*i+1), true, all...); err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Minute)
					}
				} else {
					for _, path := range []string{"/v2/p/instances/i/namespaces", "/healthz"} {
						send(t, v, "GET "+path+" HTTP/1.1\r\nHost: x\r\nX-Auth-Token: "+RightToken+"\r\n\r\n")
						time.Sleep(time.Minute)
					}
				}
				select {
				case said := <-v.said:
					t.Errorf("left after %q", said)
				default:
				}
				_ = v.Close()
			})
		})
	}
}

// TestStreamsOfStrangers: many requests on one connection cost no more than as many
// connections may, and keep nobody out who has a connection of its own.
func TestStreamsOfStrangers(t *testing.T) {
	identity := serverIdentity(t)
	synctest.Test(t, func(t *testing.T) {
		r := receive(t, nil, &identity)
		defer r.close(t)
		flood := func() *visitor {
			v := r.visit(t, "h2")
			f := v.h2(t)
			for i := range 2 * maxStreams {
				if err := begin(f, uint32(2*i+1), false, forged(smallest)...); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			return v
		}
		visitors := []*visitor{flood()}
		if most := r.most.Load(); most != maxStreams {
			t.Errorf("%d requests at once on one connection, want %d", most, maxStreams)
		}
		for len(visitors) <= maxBeside/(maxStreams-1)+1 {
			visitors = append(visitors, flood())
		}
		if most, want := r.most.Load(), int64(len(visitors)+maxBeside); most != want {
			t.Errorf("%d requests at once on %d connections, want %d", most, len(visitors), want)
		}
		v := r.visit(t, "http/1.1")
		began := time.Now()
		send(t, v, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		if said := <-v.said; !bytes.HasPrefix(said, []byte("HTTP/1.1 200 OK\r\n")) || time.Since(began) > time.Second {
			t.Errorf("beside a flood, after %s: %q", time.Since(began), said)
		}
		turnedAway := 0
		for _, v := range visitors { // they are let go
			turnedAway += bytes.Count(<-v.said, []byte(`"error_code":"APIGW.0308"`)) // in the words of the API that they asked
			_ = v.Close()
		}
		if turnedAway == 0 {
			t.Error("nobody was turned away")
		}
		if now := r.now.Load(); now != 0 {
			t.Errorf("%d requests do not end", now)
		}
	})
}

// smallest is a body that the door holds without asking for room.
const smallest = 8 << 10
