package vaulttest

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"
)

// A token is what a login gave. The zero value never expires.
type token struct {
	lease     time.Duration
	expires   time.Time
	last      time.Time // no renewal goes beyond; zero: none
	renewable bool
	denied    bool // no policy lets it use the transit engine
}

// A Lease says what a login gives.
type Lease struct {
	TTL       time.Duration // whole seconds
	MaxTTL    time.Duration // 0: no limit
	Renewable bool
	Denied    bool // the token's policies do not allow to use the transit engine
}

type login struct {
	path   string
	body   map[string]string
	refuse string // what is said to another body, with this status
	status int
	lease  Lease
}

// AppRole lets one role log in with one secret id at auth/MOUNT. Called again,
// it replaces the secret id.
func (s *Server) AppRole(mount, role, secret string, lease Lease) {
	s.setLogin(login{
		path: "auth/" + mount + "/login", body: map[string]string{"role_id": role, "secret_id": secret},
		refuse: "invalid role or secret ID", status: http.StatusBadRequest, lease: lease,
	})
}

// Kubernetes lets one role log in with one service account's token at
// auth/MOUNT. Called again, it replaces the token.
func (s *Server) Kubernetes(mount, role, jwt string, lease Lease) {
	s.setLogin(login{
		path: "auth/" + mount + "/login", body: map[string]string{"role": role, "jwt": jwt},
		refuse: "permission denied", status: http.StatusForbidden, lease: lease,
	})
}

func (s *Server) setLogin(l login) {
	s.Do(func() {
		s.logins = append(slices.DeleteFunc(s.logins, func(other login) bool { return other.path == l.path }), l)
	})
}

// NewToken returns another token that never expires, and revokes the one that
// Token holds.
func (s *Server) NewToken() string {
	s.Do(func() {
		delete(s.tokens, s.Token)
		s.Token = "hvs." + rand.Text()
		s.tokens[s.Token] = &token{}
	})
	return s.Token
}

// Revoke ends all tokens that logins gave.
func (s *Server) Revoke() {
	s.Do(func() {
		maps.DeleteFunc(s.tokens, func(value string, _ *token) bool { return value != s.Token })
	})
}

func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request, path string, body []byte) {
	var given map[string]string
	if err := json.Unmarshal(body, &given); err != nil || r.Method != http.MethodPost {
		Fail(w, http.StatusBadRequest, "failed to parse JSON input")
		return
	}
	for _, l := range s.logins {
		if l.path != path {
			continue
		}
		for field, want := range l.body {
			if given[field] != want {
				Fail(w, l.status, l.refuse)
				return
			}
		}
		s.issue(w, l.lease)
		return
	}
	Fail(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
}

// issue answers a login. It is called inside Do.
func (s *Server) issue(w http.ResponseWriter, lease Lease) {
	value := "hvs." + rand.Text()
	now := time.Now()
	issued := &token{lease: lease.TTL, renewable: lease.Renewable, denied: lease.Denied}
	if lease.TTL > 0 {
		issued.expires = now.Add(lease.TTL)
	}
	if lease.MaxTTL > 0 {
		issued.last = now.Add(lease.MaxTTL)
	}
	s.tokens[value] = issued
	answerAuth(w, value, lease.TTL, lease.Renewable)
}

// renew prolongs a token, not beyond its end. It is called inside Do.
func (s *Server) renew(w http.ResponseWriter, r *http.Request, t *token) {
	if !t.renewable {
		Fail(w, http.StatusBadRequest, "lease is not renewable")
		return
	}
	now := time.Now()
	if !t.last.IsZero() && t.last.Sub(now) < time.Second {
		Fail(w, http.StatusInternalServerError, "1 error occurred:\n\t* past the max TTL, cannot renew\n\n")
		return
	}
	t.expires = now.Add(t.lease)
	if !t.last.IsZero() && t.expires.After(t.last) {
		t.expires = t.last
	}
	answerAuth(w, r.Header.Get("X-Vault-Token"), t.expires.Sub(now), true)
}

func answerAuth(w http.ResponseWriter, value string, lease time.Duration, renewable bool) {
	succeed(w, "auth", map[string]any{
		"client_token": value, "accessor": rand.Text(), "policies": []string{"default"},
		"lease_duration": int64(lease / time.Second), "renewable": renewable, "token_type": "service",
	})
}
