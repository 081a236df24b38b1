package kms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// podToken is where Kubernetes puts the service account's token.
const podToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

// maxVaultSecret bounds a file with a token or a secret id, in bytes.
const maxVaultSecret = 64 << 10

// vaultPatience is how long a login is kept after it replaced one that was
// refused: should the new token be refused too, it is the policy that refuses
// us, and a login for each request would only add load.
const vaultPatience = time.Minute

// A vaultSource is where tokens come from: one of the two functions.
type vaultSource struct {
	// token reads a token that somebody else keeps alive.
	token func() (string, error)
	// credentials returns the path and the body of a login.
	credentials func() (path string, body map[string]string, err error)
}

// newVaultSource picks the way to log in. It reads no file.
func newVaultSource(auth Auth, env func(string) string) (vaultSource, error) {
	ways := 0
	for _, way := range []string{auth.TokenFile, auth.RoleID, auth.KubernetesRole} {
		if way != "" {
			ways++
		}
	}
	switch {
	case ways > 1:
		return vaultSource{}, errors.New("auth names more than one way to log in; allowed: one of token_file, role_id, kubernetes_role")
	case (auth.RoleID == "") != (auth.SecretIDFile == ""):
		return vaultSource{}, errors.New("auth: role_id and secret_id_file need each other")
	case auth.JWTFile != "" && auth.KubernetesRole == "":
		return vaultSource{}, errors.New("auth: jwt_file needs kubernetes_role")
	case auth.Mount != "" && auth.RoleID == "" && auth.KubernetesRole == "":
		return vaultSource{}, errors.New("auth: mount needs role_id or kubernetes_role")
	}
	switch {
	case auth.TokenFile != "":
		return vaultSource{token: func() (string, error) { return vaultSecret("token_file", auth.TokenFile) }}, nil
	case auth.RoleID != "":
		return appRole(auth)
	case auth.KubernetesRole != "":
		return kubernetesRole(auth)
	}
	return vaultSource{token: func() (string, error) { return usualVaultToken(env) }}, nil
}

func appRole(auth Auth) (vaultSource, error) {
	path, err := loginPath(auth.Mount, "approle")
	return vaultSource{credentials: func() (string, map[string]string, error) {
		secret, err := vaultSecret("secret_id_file", auth.SecretIDFile)
		return path, map[string]string{"role_id": auth.RoleID, "secret_id": secret}, err
	}}, err
}

func kubernetesRole(auth Auth) (vaultSource, error) {
	path, err := loginPath(auth.Mount, "kubernetes")
	file := auth.JWTFile
	if file == "" {
		file = podToken
	}
	return vaultSource{credentials: func() (string, map[string]string, error) {
		jwt, err := readJWT(file)
		return path, map[string]string{"role": auth.KubernetesRole, "jwt": jwt}, err
	}}, err
}

func loginPath(mount, usual string) (string, error) {
	if mount == "" {
		mount = usual
	}
	mount = strings.TrimPrefix(mount, "auth/")
	for part := range strings.SplitSeq(mount, "/") {
		if !vaultPartRE.MatchString(part) {
			return "", errors.New("auth: mount is no path of an auth method; allowed: letters, digits, _ - . /")
		}
	}
	return "auth/" + mount + "/login", nil
}

// vaultSecret reads a secret of one line.
func vaultSecret(field, path string) (string, error) {
	data, err := readSecret(path, maxVaultSecret)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", field, err)
	}
	return oneLine(field, data)
}

func oneLine(field string, data []byte) (string, error) {
	secret := strings.TrimSpace(string(data))
	if secret == "" || !vaultHeader(secret) {
		return "", fmt.Errorf("%s must hold one line of printable characters without spaces", field)
	}
	return secret, nil
}

// readJWT reads a service account's token. Its permissions are left alone:
// the kubelet chooses them, and makes the file readable for all in the pod.
func readJWT(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the user names their own token
	if err != nil {
		return "", fmt.Errorf("reading jwt_file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxVaultSecret+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading jwt_file: %w", err)
	case len(data) > maxVaultSecret:
		return "", fmt.Errorf("jwt_file has more than %d bytes", maxVaultSecret)
	}
	return oneLine("jwt_file", data)
}

// usualVaultToken finds the token where vault's command line does.
func usualVaultToken(env func(string) string) (string, error) {
	if token := env("TOKEN"); token != "" {
		return oneLine("VAULT_TOKEN or BAO_TOKEN", []byte(token))
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no token in the environment, and no home directory to look for one: %w", err)
	}
	token, err := vaultSecret(".vault-token", filepath.Join(home, ".vault-token"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("no token; set the key store's auth (token_file, role_id with secret_id_file, or kubernetes_role), " +
			"VAULT_TOKEN (for openbao also BAO_TOKEN), or run vault login")
	}
	return token, err
}

// A vaultAuth is what a login answers.
type vaultAuth struct {
	Token     string `json:"client_token"`
	Lease     int64  `json:"lease_duration"` // in seconds, 0: for ever
	Renewable bool   `json:"renewable"`
}

// A vaultToken is a token and how long it lives. Zero times are never.
type vaultToken struct {
	value     string
	renewable bool
	full      time.Duration // the lease that the login gave
	due       time.Time     // when to renew it
	expires   time.Time
}

// A vaultLogin keeps the token of a server. It renews a token of ours when two
// thirds of its lease are over and somebody wants to use it, so that it needs
// no goroutine; one that expired unused is replaced.
type vaultLogin struct {
	server   *vaultServer
	source   vaultSource
	turn     chan struct{} // holds an element while somebody sees to the token
	mu       sync.Mutex
	token    vaultToken
	replaced time.Time // when the last token was refused
	denial   denial    // whoever has the turn may touch it
}

// A denial is a login that was refused. It is not repeated for vaultPatience
// unless the credentials are others: servers lock out who fails too often.
type denial struct {
	body map[string]string
	err  error
	at   time.Time
}

func (d *denial) holds(body map[string]string) bool {
	return d.err != nil && time.Since(d.at) < vaultPatience && maps.Equal(d.body, body)
}

func newVaultLogin(server *vaultServer, source vaultSource) *vaultLogin {
	return &vaultLogin{server: server, source: source, turn: make(chan struct{}, 1)}
}

func (l *vaultLogin) load() vaultToken {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.token
}

func (l *vaultLogin) keep(token vaultToken) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token = token
}

// current returns a token that is good as far as we know. While one caller
// renews a token, others go on with it.
func (l *vaultLogin) current(ctx context.Context) (vaultToken, error) {
	token := l.load()
	now := time.Now()
	switch {
	case token.value == "" || !token.expires.IsZero() && !now.Before(token.expires):
		return l.another(ctx, token)
	case token.due.IsZero() || now.Before(token.due):
		return token, nil
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
		return l.renew(ctx, l.load()), nil
	default:
		return token, nil
	}
}

// another replaces old, unless somebody else already has.
func (l *vaultLogin) another(ctx context.Context, old vaultToken) (vaultToken, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return vaultToken{}, fmt.Errorf("waiting for a login: %w", ctx.Err())
	}
	if now := l.load(); now.value != old.value {
		return now, nil
	}
	token, err := l.obtain(ctx, false)
	if err != nil {
		return vaultToken{}, fmt.Errorf("logging in: %w", err)
	}
	l.keep(token)
	return token, nil
}

// replace returns another token than refused, or refused itself if there is
// none to be had.
func (l *vaultLogin) replace(ctx context.Context, refused vaultToken) (vaultToken, error) {
	if l.source.token == nil && !l.mayReplace(refused) {
		return refused, nil
	}
	return l.another(ctx, refused)
}

func (l *vaultLogin) mayReplace(refused vaultToken) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token.value != refused.value {
		return true
	}
	if !l.replaced.IsZero() && time.Since(l.replaced) < vaultPatience {
		return false
	}
	l.replaced = time.Now()
	return true
}

// obtain gets a new token, with once in one attempt. The caller has the turn.
func (l *vaultLogin) obtain(ctx context.Context, once bool) (vaultToken, error) {
	if l.source.token != nil {
		value, err := l.source.token()
		return vaultToken{value: value}, err
	}
	path, body, err := l.source.credentials()
	if err != nil {
		return vaultToken{}, err
	}
	if l.denial.holds(body) {
		return vaultToken{}, l.denial.err
	}
	var token vaultToken
	request := vaultRequest{op: "login", method: http.MethodPost, path: path, body: body, once: once}
	err = l.server.call(ctx, request, "", func(a *vaultAnswer) error {
		token, err = a.Auth.token()
		token.full = time.Until(token.expires)
		return err
	})
	l.denial = denial{}
	if errors.Is(err, ErrDenied) {
		l.denial = denial{body, err, time.Now()}
	}
	return token, err
}

// renew prolongs a token, or gets a new one if it cannot be prolonged for long.
// A token that still lives is better than waiting for another, so if there is
// none at once, that is only tried again later.
func (l *vaultLogin) renew(ctx context.Context, token vaultToken) vaultToken {
	if token.due.IsZero() || time.Now().Before(token.due) {
		return token // somebody was faster
	}
	next, err := l.prolong(ctx, token)
	if err != nil {
		if next, err = l.obtain(ctx, true); err != nil {
			next = token
			next.due = time.Now().Add(time.Until(token.expires) / 3)
		}
	}
	l.keep(next)
	return next
}

var errNotProlonged = errors.New("the token cannot be prolonged")

// prolong renews a token. One whose lease has become short is near the end of
// all its renewals.
func (l *vaultLogin) prolong(ctx context.Context, token vaultToken) (vaultToken, error) {
	if !token.renewable {
		return vaultToken{}, errNotProlonged
	}
	next := vaultToken{}
	request := vaultRequest{op: "renew", method: http.MethodPost, path: "auth/token/renew-self", body: struct{}{}, once: true}
	err := l.server.call(ctx, request, token.value, func(a *vaultAnswer) (err error) {
		next, err = a.Auth.token()
		return err
	})
	if err == nil && time.Until(next.expires) < token.full/2 { // also if it is rounded down to none
		err = errNotProlonged
	}
	next.full = token.full
	return next, err
}

func (a *vaultAuth) token() (vaultToken, error) {
	if a == nil || a.Token == "" || !vaultHeader(a.Token) || a.Lease < 0 || a.Lease > 1<<31 {
		return vaultToken{}, &StoreError{Kind: ErrUnavailable, Message: "the answer to the login has no token"}
	}
	token := vaultToken{value: a.Token, renewable: a.Renewable}
	if a.Lease > 0 {
		lease := time.Duration(a.Lease) * time.Second
		now := time.Now()
		token.due, token.expires = now.Add(lease*2/3), now.Add(lease)
	}
	return token, nil
}
