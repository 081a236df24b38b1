package control

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
)

const (
	// requestPatience is how long a request may take to come. A delivery that waits
	// for its turn has not used it up when its body is read.
	requestPatience = 30 * time.Second
	// maxConnections keeps what idle and slow senders cost in memory in bounds.
	maxConnections = 4096
	// maxStreams is how many requests one connection of HTTP/2 has at once, and
	// streamBuffer how many bytes of their bodies wait to be read: the least that there
	// can be.
	maxStreams   = 16
	streamBuffer = 64<<10 - 1
	// answerPatience is how long a request and its answer may take: longer than any API
	// lets a registry take. Streams have deadlines of their own.
	answerPatience = 3 * time.Minute
	// closePatience is how long Close waits for everybody. Senders deliver again what was
	// cut, and whoever stops has more to wait for than a slow one of them.
	closePatience = 5 * time.Second
	// changePatience is how long it waits for changes of who is known: nobody can tell
	// of one that was cut whether it was made. It leaves half of the time that a stop has
	// to what is being signed.
	changePatience = 35 * time.Second
	// partingPatience is how long an answer may be on its way when all are made.
	partingPatience = time.Second
)

// A Listener serves a handler at a network address.
type Listener struct {
	http        *http.Server
	visits      *visits
	certificate *certificate // nil: no TLS
	address     net.Addr
	done        chan struct{}
}

// ListenOptions say where and how is listened. Address, Handler and Log are
// required.
type ListenOptions struct {
	Address string // HOST:PORT
	// CertFile and KeyFile are paths of the certificate and its key. They are read
	// anew when the certificate's file changes. Both empty: plain HTTP.
	CertFile, KeyFile string
	// MaxConnections is how many connections are open at once; who comes then waits.
	// Default 4096.
	MaxConnections int
	// ClientCertificates asks clients for a certificate, which they need not have.
	ClientCertificates bool
	Handler            http.Handler
	Log                *zap.Logger
}

// ListenAt opens the address and serves until Close.
func ListenAt(ctx context.Context, o ListenOptions) (*Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listening at %s: %w", o.Address, err)
	}
	l = netutil.LimitListener(l, cmp.Or(o.MaxConnections, maxConnections))
	var config *tls.Config
	var c *certificate
	if o.CertFile != "" {
		c = &certificate{certFile: o.CertFile, keyFile: o.KeyFile, log: o.Log}
		if _, err := c.get(nil); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		config = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, NextProtos: []string{"h2", "http/1.1"}}
		if o.ClientCertificates {
			config.ClientAuth = tls.RequestClientCert // it proves its key; the door knows whose it is
		}
	}
	s := serve(l, config, o)
	s.certificate = c
	return s, nil
}

// CertificateExpires returns when the first certificate expires of those that it shows;
// the zero time without TLS.
func (l *Listener) CertificateExpires() time.Time {
	if l == nil || l.certificate == nil {
		return time.Time{}
	}
	shown, err := l.certificate.get(nil) // as the next client gets it
	if err != nil {
		return time.Time{}
	}
	var first time.Time
	for _, der := range shown.Certificate {
		if c, err := x509.ParseCertificate(der); err == nil && (first.IsZero() || c.NotAfter.Before(first)) {
			first = c.NotAfter
		}
	}
	return first
}

// newServer returns a server that has a time for each thing that a sender may be slow
// with. What nobody wants of a request is read as well before the next one, but not for
// longer than requestPatience.
func newServer(h http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{Handler: h, ErrorLog: zap.NewStdLog(log), MaxHeaderBytes: 32 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: requestPatience, WriteTimeout: answerPatience, IdleTimeout: 2 * time.Minute}
}

// serve serves where strangers come. Without config there is no TLS.
func serve(l net.Listener, config *tls.Config, o ListenOptions) *Listener {
	v := newVisits()
	s := &Listener{address: l.Addr(), visits: v, done: make(chan struct{}), http: newServer(v.serve(o.Handler), o.Log)}
	s.http.ConnContext = visited
	s.http.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: streamBuffer, MaxReceiveBufferPerStream: streamBuffer}
	l = visitListener{l}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("listener closed", zap.Error(err))
		}
	}()
	return s
}

// Address returns where it listens; the port is that which was given, or for 0 the
// one that was found.
func (l *Listener) Address() string { return l.address.String() }

// Close takes no more requests and waits for those under way, for some seconds; for
// changes of who is known it waits longer. Those that are left when that is over, or ctx
// is, are cut, and then have seconds to end: what they work with is closed next. A nil
// Listener is closed.
func (l *Listener) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	err := l.shutdown(ctx, closePatience)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) { // somebody is slow, which is no fault of ours
		if l.visits.changes.some() && l.visits.changes.wait(ctx, changePatience-closePatience) == nil {
			_ = l.shutdown(ctx, partingPatience) // who is slow still is
		}
		err = l.http.Close()
	}
	<-l.done
	return errors.Join(err, l.visits.all.wait(context.WithoutCancel(ctx), closePatience))
}

func (l *Listener) shutdown(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.http.Shutdown(ctx)
}

// A certificate is read from its files again when they have changed, so that a
// renewed one is used without a restart.
type certificate struct {
	certFile, keyFile string
	log               *zap.Logger

	mu      sync.Mutex
	changed time.Time // of the file that was read
	read    *tls.Certificate
}

// get implements tls.Config.GetCertificate. A pair that cannot be read, as it may
// be halfway through a renewal, leaves the last one in use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.certFile)
	if err == nil && c.read != nil && info.ModTime().Equal(c.changed) {
		return c.read, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile)
	}
	switch {
	case err == nil:
		c.read, c.changed = &pair, info.ModTime()
	case c.read == nil:
		return nil, fmt.Errorf("tls: reading the certificate: %w", err)
	default:
		c.log.Warn("certificate not read, the last one stays in use", zap.Error(err))
	}
	return c.read, nil
}
