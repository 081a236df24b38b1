package ocitest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

const (
	compartment = "ocid1.compartment.oc1..aaaaaaaaexamplecompartment"
	vaultID     = "ocid1.vault." + vault + ".aexample"
	created     = "2026-01-01T00:00:00.000Z"
)

var errNotFound = refuse(404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")

// act does what an operation of the API does.
func (s *Server) act(operation string, r *http.Request, body []byte) (map[string]any, *refusal) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var answer map[string]any
	var no *refusal
	switch operation {
	case "GetKey":
		answer, no = s.getKey(parts[2])
	case "GetKeyVersion":
		answer, no = s.getVersion(parts[2], parts[4])
	case "Sign":
		answer, no = s.sign(body)
	default:
		no = refuse(404, "NotFound", "Unknown resource.")
	}
	if no == nil {
		s.Altered(operation, answer)
	}
	return answer, no
}

func (s *Server) getKey(id string) (map[string]any, *refusal) {
	k, ok := s.keys[id]
	if !ok {
		return nil, errNotFound
	}
	of, err := shapeOf(k.shape)
	if err != nil {
		return nil, refuse(500, "InternalServerError", err.Error())
	}
	shape := map[string]any{"algorithm": of.algorithm, "length": of.length}
	if of.curve != "" {
		shape["curveId"] = of.curve
	}
	return map[string]any{
		"compartmentId": compartment, "vaultId": vaultID, "displayName": "release", "id": k.id, "timeCreated": created,
		"currentKeyVersion": k.versions[len(k.versions)-1].id, "keyShape": shape, "lifecycleState": k.state,
		"protectionMode": "SOFTWARE",
	}, nil
}

func (s *Server) find(id, versionID string) (*key, *version) {
	k := s.keys[id]
	if k == nil {
		return nil, nil
	}
	for _, v := range k.versions {
		if v.id == versionID {
			return k, v
		}
	}
	return k, nil
}

func (s *Server) getVersion(id, versionID string) (map[string]any, *refusal) {
	k, v := s.find(id, versionID)
	if v == nil {
		return nil, errNotFound
	}
	answer := map[string]any{
		"compartmentId": compartment, "vaultId": vaultID, "id": v.id, "keyId": k.id, "timeCreated": created,
		"lifecycleState": v.state, "origin": "INTERNAL",
	}
	if v.pair != nil {
		text, err := loopback.PublicPEM(v.pair)
		if err != nil {
			return nil, refuse(500, "InternalServerError", err.Error())
		}
		answer["publicKey"] = string(text)
	}
	return answer, nil
}

func (s *Server) sign(body []byte) (map[string]any, *refusal) {
	var asked struct{ KeyID, KeyVersionID, SigningAlgorithm, MessageType, Message string }
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, refuse(400, "CannotParseRequest", "Incoming HTTP request is malformed.")
	}
	message, err := base64.StdEncoding.DecodeString(asked.Message)
	if err != nil {
		return nil, refuse(400, "InvalidParameter", "message is no base64")
	}
	if k := s.keys[asked.KeyID]; k != nil && asked.KeyVersionID == "" {
		asked.KeyVersionID = k.versions[len(k.versions)-1].id
	}
	k, v := s.find(asked.KeyID, asked.KeyVersionID)
	switch {
	case v == nil:
		return nil, errNotFound
	case k.state != "ENABLED" || v.state != "ENABLED":
		return nil, refuse(409, "IncorrectState", "The key or key version is not in the ENABLED state.")
	case v.pair == nil:
		return nil, refuse(400, "InvalidParameter", "the key is no asymmetric one")
	}
	signature, err := sign(v.pair, asked.SigningAlgorithm, message, asked.MessageType != "DIGEST")
	if err != nil {
		return nil, refuse(400, "InvalidParameter", err.Error())
	}
	return map[string]any{
		"keyId": k.id, "keyVersionId": v.id, "signingAlgorithm": asked.SigningAlgorithm,
		"signature": base64.StdEncoding.EncodeToString(signature),
	}, nil
}
