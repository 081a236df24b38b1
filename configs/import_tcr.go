package configs

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/sealwright/sealwright/engine/policy/tcr"
)

// ImportTCR turns signature policies of Tencent TCR into a policy file: the body
// of a CreateSignaturePolicy request, the JSON in a namespace's kms_sign
// metadata, or an answer of DescribeNamespaces. The notes say what was lost or
// has to be completed. When anything cannot be taken over as it was meant, the
// error is Errors.
func ImportTCR(r io.Reader) (file []byte, notes []Fault, err error) {
	raw, err := readJSON(r)
	if err != nil {
		return nil, nil, err
	}
	m := &importer{}
	var form struct {
		Response json.RawMessage
		Metadata json.RawMessage
		List     json.RawMessage `json:"NamespaceList"`
		KmsID    json.RawMessage `json:"kms_id"`
	}
	if json.Unmarshal(raw, &form) == nil && form.Response != nil {
		raw = form.Response
		_ = json.Unmarshal(raw, &form) // What is no object is refused below.
	}
	switch {
	case form.List != nil:
		m.tcrNamespaces(raw)
	case form.Metadata != nil:
		m.tcrNamespace(raw, "")
	case form.KmsID != nil:
		m.tcrMetadata(raw, "", "")
	default:
		m.tcrRequest(raw)
	}
	return m.finish("Tencent TCR")
}

func (m *importer) tcrRequest(raw json.RawMessage) {
	var body tcr.Document
	if !m.object(raw, "", &body, "RegistryId", "Name", "NamespaceName", "KmsId", "KmsRegion", "Domain", "Disabled",
		"Action", "Version", "Region") {
		return
	}
	complete := true
	for _, f := range []struct{ name, value string }{
		{"RegistryId", body.RegistryID}, {"Name", body.Name}, {"NamespaceName", body.NamespaceName}, {"KmsId", body.KmsID},
	} {
		if f.value == "" {
			complete = false
			m.fault(f.name, "is required", "")
		}
	}
	if !complete {
		return
	}
	m.tcr("", body)
}

func (m *importer) tcrNamespaces(raw json.RawMessage) {
	var answer struct{ NamespaceList []json.RawMessage }
	if !m.object(raw, "", &answer, "NamespaceList", "TotalCount", "RequestId") {
		return
	}
	for i, n := range answer.NamespaceList {
		m.tcrNamespace(n, fmt.Sprintf("NamespaceList[%d]", i))
	}
	if len(m.items)+len(m.faults) == 0 {
		m.note("NamespaceList", "has no namespace with a signature policy")
	}
}

func (m *importer) tcrNamespace(raw json.RawMessage, field string) {
	var namespace struct {
		Name     string
		Metadata []struct{ Key, Value string }
	}
	if !m.object(raw, field, &namespace, "Name", "CreationTime", "Public", "NamespaceId", "TagSpecification", "Metadata",
		"CVEWhitelistItems", "AutoScan", "PreventVUL", "Severity") {
		return
	}
	for i, item := range namespace.Metadata {
		if item.Key == tcr.MetadataKey {
			m.tcrMetadata(json.RawMessage(item.Value), joinField(field, fmt.Sprintf("Metadata[%d].Value", i)), namespace.Name)
		}
	}
}

func (m *importer) tcrMetadata(raw json.RawMessage, field, namespace string) {
	var value struct { // tcr.Metadata without create_at, which may be anything here
		Name      string `json:"name"`
		Domain    string `json:"domain"`
		KmsID     string `json:"kms_id"`
		KmsRegion string `json:"kms_region"`
		Disabled  bool   `json:"disabled"`
	}
	if !m.object(raw, field, &value, "name", "domain", "kms_id", "kms_region", "disabled", "create_at") {
		return
	}
	if value.KmsID == "" {
		m.fault(joinField(field, "kms_id"), "is required", "")
		return
	}
	m.tcr(field, tcr.Document{NamespaceName: namespace, Name: value.Name, KmsID: value.KmsID, KmsRegion: value.KmsRegion,
		Domain: value.Domain, Disabled: value.Disabled})
}

// tcr adds a policy with TCR's meaning. TCR has no schedule.
func (m *importer) tcr(field string, d tcr.Document) {
	comments := []string{
		"TCR signs with an RSA_2048 key: declare the key with algorithm RSA_PKCS1_SHA_256,",
		"which stock cosign verifies, or RSA_PSS_SHA_256.",
		"TCR signs on push. A trigger {type: scheduled, cron: ...} also finds what was pushed before.",
	}
	complete := func(value *string, what string) {
		if *value == "" {
			*value, d.Disabled = toComplete, true
			m.note(field, what+" is not in this JSON; the policy is disabled until it is completed")
			comments = append(comments, "Complete the "+what+", then set enabled to true.")
		}
	}
	complete(&d.RegistryID, "registry")
	complete(&d.NamespaceName, "namespace")
	if d.KmsRegion != "" {
		comments = append(comments, "The key is in KMS region "+quote(d.KmsRegion)+".")
	}
	m.note(field, "signatures that TCR made itself are not read; images get new ones")
	p := d.Policy()
	p.Name = m.name(field, d.Name, "tcr-"+d.NamespaceName)
	m.add(field, p, comments...)
}
