package kms

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// A vaultServer is a server as all its keys share it: one login. It is safe
// for concurrent use.
type vaultServer struct {
	store     *Store
	http      *http.Client
	address   string // without a slash at its end
	namespace string
	login     *vaultLogin
}

// vaultServerOf returns the server of the store. It sends no request.
func vaultServerOf(scheme string, store *Store) (*vaultServer, error) {
	cfg := store.config
	env := vaultEnv(scheme)
	address, err := vaultAddress(cfg.Endpoint, env)
	if err != nil {
		return nil, err
	}
	namespace := cmp.Or(cfg.Namespace, env("NAMESPACE"))
	if !vaultHeader(namespace) {
		return nil, errors.New("namespace has characters that are not allowed in a header")
	}
	source, err := newVaultSource(cfg.Auth, env)
	if err != nil {
		return nil, err
	}
	s := &vaultServer{store: store, http: store.client(), address: address, namespace: namespace}
	s.login = newVaultLogin(s, source)
	shared, _ := store.shared.LoadOrStore(scheme, s)
	return shared.(*vaultServer), nil
}

// vaultEnv returns a look-up of environment variables by their name without
// its VAULT_ or BAO_.
func vaultEnv(scheme string) func(name string) string {
	return func(name string) string {
		if value := os.Getenv("BAO_" + name); scheme == "openbao" && value != "" {
			return value
		}
		return os.Getenv("VAULT_" + name)
	}
}

func vaultAddress(endpoint string, env func(string) string) (string, error) {
	field := ofStore
	if endpoint == "" {
		endpoint, field = env("ADDR"), "VAULT_ADDR or BAO_ADDR"
	}
	if endpoint == "" {
		return "", errors.New("no address; set the key store's endpoint, or VAULT_ADDR (for openbao also BAO_ADDR)")
	}
	if _, err := endpointURL(field, endpoint); err != nil {
		return "", err
	}
	return strings.TrimRight(endpoint, "/"), nil
}

// vaultHeader reports whether value can be sent in a header.
func vaultHeader(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' })
}

type vaultRequest struct {
	op     string // for the store's count
	method string
	path   string // below /v1/
	body   any    // nil: none
	once   bool   // not to be tried again
}

// A vaultAnswer is what every path of the API answers.
type vaultAnswer struct {
	Data   json.RawMessage `json:"data"`
	Auth   *vaultAuth      `json:"auth"`
	Errors []string        `json:"errors"`
}

// do sends a request with the store's token. If that is refused, it tries once
// with another one, if there is one. accept reads the answer.
func (s *vaultServer) do(ctx context.Context, r vaultRequest, accept func(*vaultAnswer) error) error {
	token, err := s.login.current(ctx)
	if err != nil {
		return err
	}
	return onceMore(func() error {
		return s.call(ctx, r, token.value, accept)
	}, vaultRefusesLogin, func() (bool, error) {
		next, err := s.login.replace(ctx, token)
		renewed := err == nil && next.value != token.value
		if renewed {
			token = next
		}
		return renewed, err
	})
}

// call sends a request with the token, "" for none.
func (s *vaultServer) call(ctx context.Context, r vaultRequest, token string, accept func(*vaultAnswer) error) error {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
	}
	send := s.store.call
	if r.once {
		send = s.store.attempt
	}
	return send(ctx, r.op, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, r.method, s.address+"/v1/"+r.path, bytes.NewReader(body))
		if err != nil {
			return errors.New("the endpoint makes no valid URL")
		}
		s.setHeaders(req, token)
		answer, err := s.roundTrip(req)
		if err != nil {
			return refusedLogin(r.op, err)
		}
		return accept(answer)
	})
}

func (s *vaultServer) setHeaders(req *http.Request, token string) {
	req.Header.Set("X-Vault-Request", "true") // agents may demand it
	if req.Method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if s.namespace != "" {
		req.Header.Set("X-Vault-Namespace", s.namespace)
	}
}

func (s *vaultServer) roundTrip(req *http.Request) (*vaultAnswer, error) {
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, networkError(err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	raw, err := io.ReadAll(resp.Body)
	switch {
	case errors.Is(err, errTooLong):
		return nil, &StoreError{Kind: ErrUnavailable, Code: vaultCode(resp), Message: err.Error()}
	case err != nil:
		return nil, networkError(err)
	}
	var answer vaultAnswer
	invalid := json.Unmarshal(raw, &answer)
	if resp.StatusCode != http.StatusOK {
		return nil, vaultFailure(resp, answer.Errors)
	}
	if invalid != nil {
		return nil, &StoreError{Kind: ErrUnavailable, Code: vaultCode(resp),
			Message: "the answer is not JSON: is the endpoint a Vault server?"}
	}
	return &answer, nil
}
