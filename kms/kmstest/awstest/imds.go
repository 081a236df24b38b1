package awstest

import (
	"net/http"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// serveIMDS is as much of an instance's metadata service as a role needs.
func (s *Server) serveIMDS(w http.ResponseWriter, r *http.Request) {
	const roles = "/latest/meta-data/iam/security-credentials/"
	if s.Intercepted("Metadata", w, r) {
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
		_, _ = w.Write([]byte("an-imds-token")) // the client may have left
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "an-imds-token":
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == roles:
		_, _ = w.Write([]byte("signer")) // the same
	case r.URL.Path == roles+"signer":
		id, key, token := s.session()
		loopback.WriteJSON(w, http.StatusOK, map[string]any{
			"Code": "Success", "AccessKeyId": id, "SecretAccessKey": key, "Token": token,
			"Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
		})
	default:
		http.NotFound(w, r)
	}
}

// session makes temporary credentials.
func (s *Server) session() (id, key, token string) {
	id, key, token = "ASIAEXAMPLE"+loopback.ID(4), loopback.UUID(), loopback.UUID()
	s.Do(func() { s.secrets[id] = secret{key: key, token: token} })
	return id, key, token
}

// ForgetSessions makes all temporary credentials invalid.
func (s *Server) ForgetSessions() {
	s.Do(func() {
		for id, known := range s.secrets {
			if known.token != "" {
				delete(s.secrets, id)
			}
		}
	})
}
