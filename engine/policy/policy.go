// Package policy holds the Policy noun: which artifacts of which registry must
// carry a signature by which key, and when that is looked after.
//
// The vocabulary follows Harbor and Huawei SWR, so that a reader of their
// retention or signature rules can read a policy without a manual. The package
// is pure: it knows neither files, nor registries, nor keys, and imports
// nothing else of Sealwright.
package policy

// A Policy says which artifacts of one registry must carry a signature by one
// key. Its zero value is not valid; see [Policy.Validate].
type Policy struct {
	// Name identifies the policy in commands, logs and records. 1 to 128
	// letters, digits, '.', '_', '-' and inner blanks.
	Name string `yaml:"name" json:"name"`
	// Description is free text for people. At most 1024 characters.
	Description string `yaml:"description,omitempty" json:"description,omitempty"`
	// Enabled is whether triggers fire the policy. Nil means true.
	Enabled *bool `yaml:"enabled,omitempty" json:"enabled,omitempty"`
	// Registry is the name of a configured registry.
	Registry string `yaml:"registry" json:"registry"`
	// Namespace limits the policy to repositories below NAMESPACE/ and makes
	// repository patterns relative to it. Empty: patterns see the full name.
	Namespace string `yaml:"namespace,omitempty" json:"namespace,omitempty"`
	// Trigger is what fires the policy.
	Trigger Trigger `yaml:"trigger" json:"trigger"`
	// Scope rules are ORed: an artifact that any rule selects is covered, once.
	Scope []ScopeRule `yaml:"scope" json:"scope"`
	// Index is what is signed of a multi-arch image. Empty means IndexOnly.
	Index IndexMode `yaml:"index,omitempty" json:"index,omitempty"`
	// Key is the name of a configured key.
	Key string `yaml:"key" json:"key"`
	// Formats are the signature layouts to write, each once. Empty means cosign.
	Formats []Format `yaml:"formats,omitempty" json:"formats,omitempty"`
	// Timestamp are RFC 3161 authorities that attest when a signature was made,
	// in the formats that carry a timestamp: bundle and notation.
	Timestamp Timestamps `yaml:"timestamp,omitempty" json:"timestamp,omitempty"`
	// TransparencyLog is the URL of a Rekor server in which bundles are entered.
	// Empty: none. What is entered is public to all who can read the log.
	TransparencyLog string `yaml:"transparency_log,omitempty" json:"transparency_log,omitempty"`
	// TransparencyLogKey is the path of a PEM file with the log's public key,
	// ECDSA P-256 or Ed25519. Empty: an entry has to prove that it is in a log,
	// whoever signed for that log.
	TransparencyLogKey string `yaml:"transparency_log_key,omitempty" json:"transparency_log_key,omitempty"`
	// SignatureRepository is where signatures of the cosign format go if the
	// registry refuses to change their tag in the image's own repository: the
	// name of a repository, in which {repository} stands for the image's. Empty:
	// nowhere else.
	SignatureRepository string `yaml:"signature_repository,omitempty" json:"signature_repository,omitempty"`
	// Domain replaces the registry's host in the identity that is signed.
	// Empty means the registry's host.
	Domain string `yaml:"domain,omitempty" json:"domain,omitempty"`
}

// IsEnabled reports whether triggers fire the policy; the default is true.
func (p *Policy) IsEnabled() bool { return p.Enabled == nil || *p.Enabled }

// IndexMode returns Index with its default applied.
func (p *Policy) IndexMode() IndexMode {
	if p.Index == "" {
		return IndexOnly
	}
	return p.Index
}

// SignatureFormats returns Formats with its default applied.
func (p *Policy) SignatureFormats() []Format {
	if len(p.Formats) == 0 {
		return []Format{FormatCosign}
	}
	return p.Formats
}

// WantsUntagged reports whether any scope rule covers untagged artifacts.
func (p *Policy) WantsUntagged() bool {
	for _, r := range p.Scope {
		if r.Untagged {
			return true
		}
	}
	return false
}

// A Trigger is what fires a policy.
type Trigger struct {
	Type TriggerType `yaml:"type" json:"type"`
	// Cron is six fields (seconds first), evaluated in UTC. Required for
	// Scheduled, refused for every other type.
	Cron string `yaml:"cron,omitempty" json:"cron,omitempty"`
	// Reconcile is when an EventBased policy also looks at everything it covers,
	// to find what no event told of: six fields, in UTC, as Cron. Empty: never.
	// Refused for every other type.
	Reconcile string `yaml:"reconcile,omitempty" json:"reconcile,omitempty"`
}

// Schedule returns when the policy looks at everything it covers: Cron or
// Reconcile, "" for never.
func (t Trigger) Schedule() string {
	switch t.Type {
	case Scheduled:
		return t.Cron
	case EventBased:
		return t.Reconcile
	}
	return ""
}

// TriggerType is how a policy is fired, in the words of Harbor and SWR.
type TriggerType string

// The trigger types. Every policy can also be fired by hand.
const (
	Manual     TriggerType = "manual"
	Scheduled  TriggerType = "scheduled"
	EventBased TriggerType = "event_based"
)

// TriggerTypes lists the allowed values of Trigger.Type.
var TriggerTypes = []string{string(Manual), string(Scheduled), string(EventBased)}

// A ScopeRule selects artifacts: its selectors are ANDed.
type ScopeRule struct {
	// Namespaces selects by the first segment of a repository's full name
	// ("" when the name has one segment only). Only allowed when the policy
	// itself has no namespace; when set, Repositories sees the name without
	// that segment, as Harbor's does. Unset means every namespace.
	Namespaces Selector `yaml:"namespaces,omitempty" json:"namespaces,omitzero"`
	// Repositories selects by repository name, relative to the namespace.
	Repositories Selector `yaml:"repositories" json:"repositories"`
	// Tags selects tagged artifacts: one selected tag is enough. Unset means
	// that the rule selects no tagged artifact, which makes sense only
	// together with Untagged.
	Tags Selector `yaml:"tags,omitempty" json:"tags,omitzero"`
	// Untagged also selects artifacts that no tag names. Default false.
	Untagged bool `yaml:"untagged,omitempty" json:"untagged,omitempty"`
}

// IndexMode is what is signed of a multi-arch image.
type IndexMode string

// The index modes.
const (
	IndexOnly     IndexMode = "index"    // the index itself, as cosign does
	IndexChildren IndexMode = "children" // the manifests it names, at any depth
	IndexBoth     IndexMode = "both"     // the index and its manifests
)

// IndexModes lists the allowed values of Policy.Index.
var IndexModes = []string{string(IndexOnly), string(IndexChildren), string(IndexBoth)}
