package tencenttest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

const (
	maxRaw     = 4096 // bytes of a message
	digestSize = 32   // bytes of a digest, whatever the algorithm
)

// A request holds the parameters of every action.
type request struct{ KeyId, Algorithm, Message, MessageType string }

// act answers a request that is authentic.
func (s *Server) act(action string, body []byte) (map[string]any, error) {
	var req request
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&req); err != nil {
		return nil, &apiError{"UnknownParameter", "The request has an unknown parameter."}
	}
	if len(req.KeyId) != 36 {
		return nil, &apiError{"InvalidParameterValue.InvalidKeyId", "Invalid `KeyId`."}
	}
	k := s.keys[req.KeyId]
	if k == nil {
		return nil, &apiError{"ResourceUnavailable.CmkNotFound", "The CMK does not exist."}
	}
	switch action {
	case "DescribeKey":
		return map[string]any{"KeyMetadata": map[string]any{
			"KeyId": k.id, "Alias": "test", "CreateTime": 1583739580, "KeyState": k.state, "KeyUsage": k.usage,
			"Type": 4, "CreatorUin": 100000000001, "Owner": "user", "Origin": "TENCENT_KMS",
		}}, nil
	case "GetPublicKey":
		return k.public()
	case "SignByAsymmetricKey":
		return s.sign(k, req)
	}
	return nil, &apiError{"InvalidAction", "The request action=`" + action + "` is invalid or not found."}
}

// usable returns a fault if the key is not enabled or has no private half.
func (k *key) usable() error {
	if k.state != Enabled || k.private == nil {
		return &apiError{"ResourceUnavailable.CmkStateNotSupport", "This operation cannot be performed under the current CMK status."}
	}
	return nil
}

func (k *key) public() (map[string]any, error) {
	if err := k.usable(); err != nil {
		return nil, err
	}
	text, pemText, err := k.publicText()
	if err != nil {
		return nil, err
	}
	return map[string]any{"KeyId": k.id, "PublicKey": text, "PublicKeyPem": pemText}, nil
}

func (s *Server) sign(k *key, req request) (map[string]any, error) {
	if err := k.usable(); err != nil {
		return nil, err
	}
	alg, known := algorithmOf(req.Algorithm)
	message, err := base64.StdEncoding.DecodeString(req.Message)
	invalid := &apiError{"InvalidParameter", "Invalid parameter."}
	raw := req.MessageType == "RAW" || req.MessageType == ""
	switch {
	case !known || alg.usage != k.usage || err != nil:
		return nil, invalid
	case raw && (len(message) == 0 || len(message) > maxRaw):
		return nil, invalid
	case !raw && (req.MessageType != "DIGEST" || len(message) != digestSize || alg.usage == ECDSA):
		return nil, invalid
	}
	if s.bend != nil {
		signing := Signing{k.id, req.Algorithm}
		s.bend(&signing)
		k = s.keys[signing.Key]
		alg, _ = algorithmOf(signing.Algorithm)
	}
	signature, err := k.sign(alg, message, raw)
	if err != nil {
		return nil, err
	}
	return map[string]any{"Signature": base64.StdEncoding.EncodeToString(signature)}, nil
}
