// Package tcr is how Tencent Container Registry says a signature policy, and what
// that means here: every tagged image of one namespace, signed when it is pushed.
package tcr

import (
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

// MetadataKey is under which a namespace's metadata hold its policy, as the JSON
// of a [Metadata].
const MetadataKey = "kms_sign"

// A Document is a signature policy as a CreateSignaturePolicy request says it.
type Document struct {
	RegistryID    string `json:"RegistryId"`
	Name          string `json:"Name"`
	NamespaceName string `json:"NamespaceName"`
	KmsID         string `json:"KmsId"`
	// KmsRegion is where the key is. A key that is declared here needs none.
	KmsRegion string `json:"KmsRegion"`
	// Domain stands for the registry's host in what is signed. Empty: the host.
	Domain   string `json:"Domain"`
	Disabled bool   `json:"Disabled"`
}

// Policy returns the policy that the document means. Its name is TCR's, which not
// every policy may have; its registry is the instance, its key TCR's id of it.
func (d Document) Policy() policy.Policy {
	p := policy.Policy{
		Name:      d.Name,
		Registry:  d.RegistryID,
		Namespace: d.NamespaceName,
		Trigger:   policy.Trigger{Type: policy.EventBased},
		Scope:     []policy.ScopeRule{{Repositories: everything(), Tags: everything()}},
		Key:       d.KmsID,
		Domain:    d.Domain,
	}
	if d.Disabled {
		enabled := false
		p.Enabled = &enabled
	}
	return p
}

func everything() policy.Selector { return policy.Selector{Matches: []string{"**"}} }

// Metadata returns what the namespace says of the policy.
func (d Document) Metadata(created time.Time) Metadata {
	return Metadata{Name: d.Name, Domain: d.Domain, KmsID: d.KmsID, KmsRegion: d.KmsRegion, Disabled: d.Disabled, CreateAt: created}
}

// Metadata is a signature policy as the metadata of its namespace say it.
type Metadata struct {
	Name      string    `json:"name"`
	Domain    string    `json:"domain"`
	KmsID     string    `json:"kms_id"`
	KmsRegion string    `json:"kms_region"`
	Disabled  bool      `json:"disabled"`
	CreateAt  time.Time `json:"create_at"`
}
