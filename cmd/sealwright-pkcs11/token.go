//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/miekg/pkcs11"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/kms/pkcs11api"
)

const (
	// sessionWait is how long a request waits for a session.
	sessionWait = 5 * time.Second
	// connectPause is how long after a connect, failed or not, there is no other
	// one: many requests wait for one token, and a key that always fails must not
	// make us log in for each.
	connectPause = time.Second
)

// A cryptoki is what we call of a PKCS#11 module: *pkcs11.Ctx, or one that
// breaks on purpose.
type cryptoki interface {
	Initialize(...pkcs11.InitializeOption) error
	Finalize() error
	GetSlotList(tokenPresent bool) ([]uint, error)
	GetTokenInfo(slot uint) (pkcs11.TokenInfo, error)
	GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error)
	OpenSession(slot, flags uint) (pkcs11.SessionHandle, error)
	CloseSession(pkcs11.SessionHandle) error
	Login(s pkcs11.SessionHandle, user uint, pin string) error
	FindObjectsInit(pkcs11.SessionHandle, []*pkcs11.Attribute) error
	FindObjects(s pkcs11.SessionHandle, most int) ([]pkcs11.ObjectHandle, bool, error)
	FindObjectsFinal(pkcs11.SessionHandle) error
	GetAttributeValue(pkcs11.SessionHandle, pkcs11.ObjectHandle, []*pkcs11.Attribute) ([]*pkcs11.Attribute, error)
	SignInit(pkcs11.SessionHandle, []*pkcs11.Mechanism, pkcs11.ObjectHandle) error
	Sign(pkcs11.SessionHandle, []byte) ([]byte, error)
}

// A tokenConfig says which token it is and how it is used.
type tokenConfig struct {
	label, serial string // empty: any
	sessions      int    // used at once
	pin           *pin
}

// A token is connected to when it is first asked, and again when its sessions
// or its login are lost. It is safe for concurrent use: every call into the
// module is made with a permit, and one goroutine that holds them all has the
// module for itself.
type token struct {
	module  cryptoki
	cfg     tokenConfig
	log     *zap.Logger
	pause   time.Duration // connectPause
	permits chan struct{} // holds one element for each session in use
	repair  chan struct{} // holds one while somebody connects

	initialized bool // guarded by holding all permits

	mu        sync.Mutex
	conn      *connection // nil: not connected
	failure   error       // of the last connect
	failureAt time.Time
}

// A connection is one login to the token. Its handles die with it.
type connection struct {
	slot   uint
	info   pkcs11.TokenInfo
	keeper pkcs11.SessionHandle // keeps the login while no other session is open
	since  time.Time

	mu   sync.Mutex
	idle []pkcs11.SessionHandle
	keys map[pkcs11api.Selector]*key
}

func newToken(module cryptoki, cfg tokenConfig, log *zap.Logger) *token {
	return &token{module: module, cfg: cfg, log: log, pause: connectPause,
		permits: make(chan struct{}, cfg.sessions), repair: make(chan struct{}, 1)}
}

// warmUp connects, so that what is wrong shows before the first request.
func (t *token) warmUp(ctx context.Context) error { return t.connect(ctx, nil) }

// use calls f with a session that nobody else uses meanwhile. If it turns out
// that the connection was lost, it connects again and calls f once more. A
// session in which something failed is not used again: an operation may have
// stayed open in it.
func (t *token) use(ctx context.Context, f func(*connection, pkcs11.SessionHandle) error) error {
	ctx, cancel := context.WithTimeout(ctx, sessionWait) // calls into a module cannot be bounded
	defer cancel()
	var lost *connection
	for {
		conn, err := t.enter(ctx, lost)
		if err != nil {
			return err
		}
		err = t.within(conn, f)
		<-t.permits
		if err == nil || lost != nil || !isLoss(err) || time.Since(conn.since) < t.pause {
			return err
		}
		t.log.Warn("connection to the token lost", zap.String("code", faultOf(err).code))
		lost = conn
	}
}

// enter returns with a permit, and with a connection that is not lost.
func (t *token) enter(ctx context.Context, lost *connection) (*connection, error) {
	for {
		if err := t.permit(ctx); err != nil {
			return nil, err
		}
		if conn := t.current(); conn != nil && conn != lost {
			return conn, nil
		}
		<-t.permits
		if err := t.connect(ctx, lost); err != nil {
			return nil, err
		}
	}
}

func (t *token) permit(ctx context.Context) error {
	select {
	case t.permits <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for a session: %w", ctx.Err())
	}
}

func (t *token) current() *connection {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conn
}

// within calls f with a session of conn. The caller holds a permit.
func (t *token) within(conn *connection, f func(*connection, pkcs11.SessionHandle) error) error {
	s, ok := conn.take()
	if !ok {
		var err error
		// Read-only: nothing here changes the token.
		if s, err = t.module.OpenSession(conn.slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
			return fmt.Errorf("opening a session: %w", err)
		}
	}
	if err := f(conn, s); err != nil {
		_ = t.module.CloseSession(s) // often gone already
		return err
	}
	conn.give(s)
	return nil
}

func (c *connection) take() (pkcs11.SessionHandle, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.idle) - 1
	if last < 0 {
		return 0, false
	}
	s := c.idle[last]
	c.idle = c.idle[:last]
	return s, true
}

func (c *connection) give(s pkcs11.SessionHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, s)
}

// connect replaces lost, or no connection, by a new one, unless somebody else
// just did.
func (t *token) connect(ctx context.Context, lost *connection) error {
	select {
	case t.repair <- struct{}{}:
		defer func() { <-t.repair }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for the token: %w", ctx.Err())
	}
	t.mu.Lock()
	conn, failure, at := t.conn, t.failure, t.failureAt
	t.mu.Unlock()
	switch {
	case conn != nil && conn != lost:
		return nil
	case failure != nil && time.Since(at) < t.pause:
		return failure
	}
	release, err := t.exclusive(ctx)
	defer release()
	if err != nil {
		return err
	}
	conn, err = t.open()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn, t.failure, t.failureAt = conn, err, time.Now()
	return err
}

// exclusive takes all permits. What it returns gives those back that it took.
func (t *token) exclusive(ctx context.Context) (release func(), err error) {
	taken := 0
	release = func() {
		for range taken {
			<-t.permits
		}
	}
	for range cap(t.permits) {
		if err := t.permit(ctx); err != nil {
			return release, err
		}
		taken++
	}
	return release, nil
}

// open finds the token and logs in. The caller holds all permits. The module is
// started anew each time: many look for tokens only then.
func (t *token) open() (*connection, error) {
	if t.initialized {
		_ = t.module.Finalize() // what it held is lost either way
		t.initialized = false
	}
	if err := t.module.Initialize(); err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return nil, fmt.Errorf("starting the module: %w", err)
	}
	t.initialized = true
	slot, info, err := t.find()
	if err != nil {
		return nil, err
	}
	conn := &connection{slot: slot, info: info, since: time.Now(), keys: map[pkcs11api.Selector]*key{}}
	if conn.keeper, err = t.module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	if err := t.login(conn); err != nil {
		return nil, err
	}
	t.log.Info("connected to the token", zap.String("token", info.Label), zap.String("serial", info.SerialNumber),
		zap.String("manufacturer", info.ManufacturerID), zap.String("model", info.Model))
	return conn, nil
}

// find returns the one token that is meant.
func (t *token) find() (uint, pkcs11.TokenInfo, error) {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return 0, pkcs11.TokenInfo{}, fmt.Errorf("listing the tokens: %w", err)
	}
	var found []uint
	var info pkcs11.TokenInfo
	var others []string
	for _, slot := range slots {
		i, err := t.module.GetTokenInfo(slot)
		if err != nil || i.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue // a slot may be empty by now, a token blank
		}
		if t.cfg.label != "" && i.Label != t.cfg.label || t.cfg.serial != "" && i.SerialNumber != t.cfg.serial {
			others = append(others, fmt.Sprintf("%q (serial %s)", i.Label, i.SerialNumber))
			continue
		}
		found, info = append(found, slot), i
	}
	switch len(found) {
	case 0:
		return 0, info, &fault{http.StatusServiceUnavailable, "CKR_TOKEN_NOT_PRESENT",
			fmt.Sprintf("no token %s is there; there are: %s", t.wanted(), orNone(others))}
	case 1:
		return found[0], info, nil
	}
	return 0, info, &fault{http.StatusPreconditionFailed, pkcs11api.CodeTokens,
		fmt.Sprintf("%d tokens are %s: start the helper with --token or --serial", len(found), t.wanted())}
}

// wanted names the token for messages.
func (t *token) wanted() string {
	switch {
	case t.cfg.label != "" && t.cfg.serial != "":
		return fmt.Sprintf("%q with serial %s", t.cfg.label, t.cfg.serial)
	case t.cfg.label != "":
		return fmt.Sprintf("%q", t.cfg.label)
	case t.cfg.serial != "":
		return "with serial " + t.cfg.serial
	}
	return "that is initialized"
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// login logs in, unless the token needs no login. It never spends the last try
// that a token gives before it locks.
func (t *token) login(conn *connection) error {
	flags := conn.info.Flags
	switch {
	case flags&pkcs11.CKF_LOGIN_REQUIRED == 0:
		return nil
	case flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return fmt.Errorf("logging in: %w", pkcs11.Error(pkcs11.CKR_PIN_LOCKED))
	case flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return &fault{http.StatusForbidden, pkcs11api.CodeFinalTry,
			"one more wrong PIN would lock the token, so the PIN is not tried: log in once with the vendor's tools"}
	}
	return t.present(conn.keeper, pkcs11.CKU_USER)
}

// present shows the token the PIN, and remembers a refusal.
func (t *token) present(s pkcs11.SessionHandle, user uint) error {
	value, err := t.cfg.pin.value()
	if err != nil {
		return err
	}
	err = t.module.Login(s, user, value)
	if err == nil || errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
		return nil
	}
	err = fmt.Errorf("logging in: %w", err)
	if f := faultOf(err); f.status == http.StatusForbidden {
		t.cfg.pin.refuse(value, f)
	}
	return err
}

// close ends the use of the module, if nothing is stuck in it.
func (t *token) close() {
	ctx, cancel := context.WithTimeout(context.Background(), sessionWait)
	defer cancel()
	release, err := t.exclusive(ctx)
	defer release()
	if err != nil {
		t.log.Warn("the module still holds a call, left as it is")
		return
	}
	if t.initialized {
		_ = t.module.Finalize() // the process ends
		t.initialized = false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn = nil
}
