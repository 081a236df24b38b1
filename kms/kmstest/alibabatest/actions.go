package alibabatest

import (
	"encoding/base64"
	"errors"
	"strconv"
	"time"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// act does what an action of the API does.
func (s *Server) act(action string, param func(string) string) (map[string]any, *refusal) {
	k, no := s.find(param("KeyId"))
	if no != nil {
		return nil, no
	}
	var answer map[string]any
	switch action {
	case "DescribeKey":
		answer = k.describe()
	case "ListKeyVersions":
		answer, no = k.list(param("PageNumber"), param("PageSize"))
	case "GetPublicKey":
		answer, no = k.public(param("KeyVersionId"))
	case "AsymmetricSign":
		answer, no = k.sign(param("KeyVersionId"), param("Algorithm"), param("Digest"))
	default:
		no = refuse(404, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")
	}
	if no == nil {
		s.Altered(action, answer)
	}
	return answer, no
}

func (s *Server) find(name string) (*key, *refusal) {
	if id, ok := s.aliases[name]; ok {
		name = id
	} else if len(name) > 6 && name[:6] == "alias/" {
		return nil, refuse(404, "Forbidden.AliasNotFound", "The specified Alias is not found.")
	}
	k, ok := s.keys[name]
	if !ok {
		return nil, refuse(404, "Forbidden.KeyNotFound", "The specified Key is not found.")
	}
	return k, nil
}

func (k *key) describe() map[string]any {
	metadata := map[string]any{
		"KeyId": k.id, "KeySpec": k.spec, "KeyState": k.state, "KeyUsage": k.usage, "Origin": "Aliyun_KMS",
		"Arn":                "acs:kms:cn-hangzhou:154035569884****:key/" + k.id,
		"CreationDate":       k.versions[0].made.Format(time.RFC3339),
		"MaterialExpireTime": "", "ProtectionLevel": "SOFTWARE",
	}
	if k.primary != "" {
		metadata["PrimaryKeyVersion"] = k.primary
	}
	return map[string]any{"KeyMetadata": metadata}
}

// list returns versions oldest first, as the server happens to hold them: the
// API promises no order.
func (k *key) list(page, size string) (map[string]any, *refusal) {
	number, err := strconv.Atoi(page)
	if err != nil || number < 1 {
		return nil, refuse(400, "InvalidParameter", `The specified parameter "PageNumber" is not valid.`)
	}
	per, err := strconv.Atoi(size)
	if err != nil || per < 1 || per > 101 {
		return nil, refuse(400, "InvalidParameter", `The specified parameter "PageSize" is not valid.`)
	}
	listed := []map[string]any{}
	for i := (number - 1) * per; i < number*per && i < len(k.versions); i++ {
		v := k.versions[i]
		listed = append(listed, map[string]any{"KeyId": k.id, "KeyVersionId": v.id, "CreationDate": v.made.Format(time.RFC3339)})
	}
	return map[string]any{
		"KeyVersions": map[string]any{"KeyVersion": listed},
		"PageNumber":  number, "PageSize": per, "TotalCount": len(k.versions),
	}, nil
}

// version finds a version of a key that may be used.
func (k *key) version(id string) (version, *refusal) {
	if k.state != "Enabled" {
		return version{}, refuse(409, "Rejected."+k.state, "The request was rejected because the key state is "+k.state+".")
	}
	for _, v := range k.versions {
		if v.id == id {
			if v.pair == nil {
				return version{}, refuse(400, "UnsupportedOperation", "This action is not supported.")
			}
			return v, nil
		}
	}
	return version{}, refuse(404, "Forbidden.KeyVersionNotFound", "The specified KeyVersion is not found.")
}

func (k *key) public(id string) (map[string]any, *refusal) {
	v, no := k.version(id)
	if no != nil {
		return nil, no
	}
	text, err := loopback.PublicPEM(v.pair)
	if err != nil {
		return nil, refuse(500, "InternalFailure", err.Error())
	}
	return map[string]any{"KeyId": k.id, "KeyVersionId": v.id, "PublicKey": string(text)}, nil
}

func (k *key) sign(id, algorithm, digest string) (map[string]any, *refusal) {
	v, no := k.version(id)
	if no != nil {
		return nil, no
	}
	raw, err := base64.StdEncoding.DecodeString(digest)
	if err != nil {
		return nil, refuse(400, "InvalidParameter", `The specified parameter "Digest" is not valid.`)
	}
	signature, err := signDigest(v.pair, algorithm, raw)
	switch {
	case errors.Is(err, errNotOfKey):
		return nil, refuse(400, "InvalidParameter", `The specified parameter "Algorithm" is not valid.`)
	case err != nil:
		return nil, refuse(400, "InvalidParameter", `The specified parameter "Digest" is not valid.`)
	}
	return map[string]any{"KeyId": k.id, "KeyVersionId": v.id, "Value": base64.StdEncoding.EncodeToString(signature)}, nil
}
