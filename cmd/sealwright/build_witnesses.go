package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"

	tspclient "github.com/notaryproject/tspclient-go"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/signature"
)

const (
	// maxWitnessed bounds an answer of a witness, in bytes.
	maxWitnessed = 1 << 20
	// What one timestamp authority is asked at most.
	timestampsPerSecond, timestampsAtOnce = 20, 8
	// What one transparency log is asked at most.
	entriesPerSecond, entriesAtOnce = 10, 8
)

// witnesses returns who attests a policy's signatures.
func (o *opener) witnesses(p policy.Policy) (signature.Witnesses, error) {
	var w signature.Witnesses
	for i, a := range p.Timestamp {
		authority, err := o.authority(a)
		if err != nil {
			return w, fmt.Errorf("timestamp[%d]: %w", i, err)
		}
		w.Timestamps = append(w.Timestamps, authority)
	}
	if p.TransparencyLog != "" {
		log, err := o.log(p.TransparencyLog, p.TransparencyLogKey)
		if err != nil {
			return w, err
		}
		w.Log = log
	}
	var err error
	w.ID, err = witnessID(p)
	return w, err
}

// witnessID is a hash of what a policy's witnesses are judged by; "" if it has
// none.
func witnessID(p policy.Policy) (string, error) {
	if len(p.Timestamp) == 0 && p.TransparencyLog == "" {
		return "", nil
	}
	h := sha256.New()
	add := func(name, path string) error {
		var content []byte
		if path != "" {
			var err error
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(h, "%q %q\n", name, content)
		return nil
	}
	for _, a := range p.Timestamp {
		if err := add(a.URL, a.CA); err != nil {
			return "", fmt.Errorf("timestamp: %w", err)
		}
	}
	if err := add(p.TransparencyLog, p.TransparencyLogKey); err != nil {
		return "", fmt.Errorf("transparency_log_key: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// authority returns a timestamp authority. All policies that name its URL share
// one budget.
func (o *opener) authority(a policy.TimestampAuthority) (signature.Authority, error) {
	chain, err := kms.ReadCertificates(a.CA)
	if err != nil {
		return signature.Authority{}, fmt.Errorf("ca: %w", err)
	}
	roots := x509.NewCertPool()
	for _, c := range chain {
		roots.AddCert(c)
	}
	client := o.client(a.URL, budget.Limits{RequestsPerSecond: timestampsPerSecond, Concurrency: timestampsAtOnce})
	stamper, err := tspclient.NewHTTPTimestamper(client, a.URL)
	if err != nil {
		return signature.Authority{}, err
	}
	return signature.Authority{Timestamper: stamper, Roots: roots, Name: a.URL}, nil
}

// log returns a transparency log. All policies that name its URL share one
// budget, and one log if they name the same public key.
func (o *opener) log(url, keyFile string) (*signature.Rekor, error) {
	var key []byte
	if keyFile != "" {
		var err error
		if key, err = os.ReadFile(keyFile); err != nil {
			return nil, fmt.Errorf("transparency_log_key: %w", err)
		}
	}
	id := url + " " + string(key)
	if log, ok := o.logs[id]; ok {
		return log, nil
	}
	client := o.client(url, budget.Limits{RequestsPerSecond: entriesPerSecond, Concurrency: entriesAtOnce})
	log, err := signature.NewRekor(signature.RekorConfig{URL: url, PublicKey: key, Client: client})
	if err != nil {
		return nil, fmt.Errorf("transparency_log_key %s: %w", keyFile, err)
	}
	if o.logs == nil {
		o.logs = map[string]*signature.Rekor{}
	}
	o.logs[id] = log
	return log, nil
}

// client returns a client for a witness, with a budget that all who ask it share.
func (o *opener) client(url string, limits budget.Limits) *http.Client {
	o.mu.Lock()
	defer o.mu.Unlock()
	transport, ok := o.transports[url]
	if !ok {
		transport = budget.NewTransport(nil, limits, maxWitnessed)
		if o.transports == nil {
			o.transports = map[string]*budget.Transport{}
		}
		o.transports[url] = transport
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
