//go:build cgo

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/peer"
	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// newServer returns the HTTP server that answers for t.
func newServer(t *token, log *zap.Logger) *http.Server {
	h := &handler{token: t, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pkcs11api.KeyPath, h.key)
	mux.HandleFunc("POST "+pkcs11api.SignPath, h.sign)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.answer(w, r, nil, &fault{http.StatusBadRequest, pkcs11api.CodeRequest,
			"no such request; allowed: GET " + pkcs11api.KeyPath + ", POST " + pkcs11api.SignPath})
	})
	return &http.Server{
		Handler:           h.admit(mux),
		ConnContext:       withPeer,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		// A token may be slow; the daemon gives up long before.
		WriteTimeout:   2 * time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       zap.NewStdLog(log),
	}
}

// shutDown stops taking requests and waits for those under way.
func shutDown(s *http.Server, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	err := s.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("waiting for requests under way: %w", err), s.Close())
	}
	<-served
	return err
}

type peerKey struct{}

// withPeer notes who is at the other end: only here is the connection at hand.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid, err := peer.UID(c)
	if err != nil {
		return ctx // nobody: refused
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

type handler struct {
	token *token
	log   *zap.Logger
}

// admit refuses other users, should the socket's mode have been loosened.
func (h *handler) admit(next http.Handler) http.Handler {
	own := os.Geteuid()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, ok := r.Context().Value(peerKey{}).(int)
		if !ok || !mayUse(uid, own) {
			h.answer(w, r, nil, &fault{http.StatusForbidden, pkcs11api.CodePeer,
				fmt.Sprintf("this helper serves user %d and root, not user %d", own, uid)})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h *handler) key(w http.ResponseWriter, r *http.Request) {
	selector, err := pkcs11api.ParseQuery(r.URL.Query())
	if err != nil {
		h.answer(w, r, nil, badRequest(err))
		return
	}
	key, err := h.token.describe(r.Context(), selector)
	h.answer(w, r, key, err)
}

func (h *handler) sign(w http.ResponseWriter, r *http.Request) {
	var req pkcs11api.SignRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, pkcs11api.MaxRequest))
	dec.DisallowUnknownFields()
	err := dec.Decode(&req)
	if err == nil {
		err = req.Key.Validate()
	}
	if err == nil && dec.More() {
		err = errors.New("more than one JSON value")
	}
	if err != nil {
		h.answer(w, r, nil, badRequest(err))
		return
	}
	signature, err := h.token.sign(r.Context(), req)
	h.answer(w, r, signature, err)
}

func badRequest(err error) error {
	return &fault{http.StatusBadRequest, pkcs11api.CodeRequest, err.Error()}
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, body any, err error) {
	status := http.StatusOK
	if err != nil {
		f := faultOf(err)
		status, body = f.status, pkcs11api.Fault{Code: f.code, Message: f.message}
		if r.Context().Err() == nil { // else the caller left
			h.log.Warn("request refused", zap.String("path", r.URL.Path), zap.String("code", f.code), zap.String("reason", f.message))
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the reader left: nobody to tell
}
