package huaweitest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// maxMessage is how long a message may be, in bytes.
const maxMessage = 4095

// A request is the body of every operation.
type request struct {
	KeyID       string `json:"key_id"`
	Message     string `json:"message"`
	Algorithm   string `json:"signing_algorithm"`
	MessageType string `json:"message_type"`
	Sequence    string `json:"sequence"`
}

// answer answers a request that is authentic.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, operation string, body []byte) {
	var req request
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&req); err != nil {
		Refuse(http.StatusBadRequest, "KMS.0202", "Invalid JSON format of the request message.")(w, r)
		return
	}
	if req.Sequence != "" && len(req.Sequence) != 36 {
		Refuse(http.StatusBadRequest, "KMS.0206", "Invalid sequence number.")(w, r)
		return
	}
	s.Do(func() { s.do(w, r, operation, req) })
}

func (s *Server) do(w http.ResponseWriter, r *http.Request, operation string, req request) {
	k, refusal := s.find(req.KeyID)
	if refusal != nil {
		refusal(w, r)
		return
	}
	switch operation {
	case "describe-key":
		loopback.WriteJSON(w, http.StatusOK, map[string]any{"key_info": map[string]string{
			"key_id": k.id, "key_alias": "test", "key_spec": k.spec, "key_usage": k.usage, "key_state": k.state,
			"origin": "kms", "key_rotation_enabled": "false", "default_key_flag": "0",
		}})
	case "get-publickey":
		s.publicKey(w, r, k)
	case "sign":
		s.sign(w, r, k, req)
	default:
		RefuseAtGate(http.StatusNotFound, "APIGW.0101", "The API does not exist or has not been published in the environment")(w, r)
	}
}

// find returns the key that an id or an alias names.
func (s *Server) find(name string) (*key, http.HandlerFunc) {
	if strings.HasPrefix(name, "alias/") {
		name = s.aliases[name]
	} else if len(name) != 36 {
		return nil, Refuse(http.StatusBadRequest, "KMS.0205", "Invalid key ID.")
	}
	k := s.keys[name]
	if k == nil {
		return nil, Refuse(http.StatusBadRequest, "KMS.0207", "The key does not exist.")
	}
	return k, nil
}

func (s *Server) publicKey(w http.ResponseWriter, r *http.Request, k *key) {
	if k.private == nil {
		Refuse(http.StatusBadRequest, "KMS.0308", "Invalid key_spec.")(w, r)
		return
	}
	text, err := k.publicPEM()
	if err != nil {
		Refuse(http.StatusInternalServerError, "KMS.0101", "KMS error.")(w, r)
		return
	}
	loopback.WriteJSON(w, http.StatusOK, map[string]string{"key_id": k.id, "public_key": text})
}

func (s *Server) sign(w http.ResponseWriter, r *http.Request, k *key, req request) {
	alg, content, refusal := check(k, req)
	if refusal != nil {
		refusal(w, r)
		return
	}
	signing := Signing{Key: k.id, Algorithm: req.Algorithm, Answered: k.id}
	if s.bend != nil {
		s.bend(&signing)
		k = s.keys[signing.Key]
		alg, _ = algorithmOf(signing.Algorithm)
	}
	signature, err := k.sign(alg, content, req.MessageType == "RAW")
	if err != nil {
		Refuse(http.StatusInternalServerError, "KMS.0101", "KMS error.")(w, r)
		return
	}
	loopback.WriteJSON(w, http.StatusOK, map[string]string{"key_id": signing.Answered, "signature": base64.StdEncoding.EncodeToString(signature)})
}

// check returns the algorithm and the bytes to be signed, or a refusal.
func check(k *key, req request) (algorithm, []byte, http.HandlerFunc) {
	refuse := func(code, message string) (algorithm, []byte, http.HandlerFunc) {
		return algorithm{}, nil, Refuse(http.StatusBadRequest, code, message)
	}
	switch k.state {
	case Enabled:
	case Disabled:
		return refuse("KMS.0209", "The key has been disabled.")
	case PendingDeletion:
		return refuse("KMS.0210", "The key is in Scheduled deletion state and cannot be used.")
	default:
		return refuse("KMS.1301", "The key is not enabled.")
	}
	alg, known := algorithmOf(req.Algorithm)
	content, err := base64.StdEncoding.DecodeString(req.Message)
	switch {
	case k.usage != "SIGN_VERIFY":
		return refuse("KMS.0308", "Invalid key_usage.")
	case !known || !strings.HasPrefix(k.spec, alg.spec):
		return refuse("KMS.0308", "Invalid signing_algorithm.")
	case err != nil || len(content) > maxMessage:
		return refuse("KMS.0308", "Invalid message.")
	case req.MessageType == "RAW":
		if k.spec == "SM2" {
			return refuse("KMS.0308", "Invalid message_type.")
		}
	case req.MessageType != "" && req.MessageType != "DIGEST":
		return refuse("KMS.0308", "Invalid message_type.")
	case len(content) != alg.how.Size():
		return refuse("KMS.0308", "Invalid message.")
	}
	return alg, content, nil
}
