package configs

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Defaults of what a sink leaves out.
const (
	DefaultSinkSize = 100
	DefaultSinkKeep = 10
)

// A Sink is where signature records are delivered to, beside the journal.
type Sink struct {
	// Name is what the sink's place in the chain of records is kept by.
	Name string `yaml:"name"`
	// Kind is what the sink is.
	Kind SinkKind `yaml:"kind"`
	// Path is the file that a sink of kind file writes.
	Path string `yaml:"path,omitempty"`
	// MaxSize is how many MiB the file may have before another one is begun, 1 to
	// 10240. Default 100.
	MaxSize int `yaml:"max_size,omitempty" jsonschema:"minimum=1,maximum=10240,default=100"`
	// Keep is how many full files are kept, 1 to 1000. Default 10.
	Keep int `yaml:"keep,omitempty" jsonschema:"minimum=1,maximum=1000,default=10"`
	// URL is where a sink of kind webhook posts records.
	URL string `yaml:"url,omitempty"`
	// CAFile is the path of PEM certificates that are trusted besides the
	// system's.
	CAFile string `yaml:"ca_file,omitempty"`
	// TokenFile is the path of a file that holds a bearer token.
	TokenFile string `yaml:"token_file,omitempty"`

	// Registry is whose images a sink of kind ocir uploads image signatures of.
	Registry string `yaml:"registry,omitempty"`
	// Key is what it signs with: a key of algorithm RSA_PSS_….
	Key string `yaml:"key,omitempty"`
	// KeyID is the OCID of that key, unless the key's uri says it.
	KeyID string `yaml:"key_id,omitempty"`
	// KeyVersionID is the OCID of the version that signs, unless the key's store says
	// it.
	KeyVersionID string `yaml:"key_version_id,omitempty"`
	// Region is the name of Oracle's region, like us-phoenix-1.
	Region string `yaml:"region,omitempty"`
	// Namespace is the tenancy's namespace. Default the first part of the names of
	// repositories.
	Namespace string `yaml:"namespace,omitempty"`
	// Compartment is the OCID of the compartment whose images are meant. Default all.
	Compartment string `yaml:"compartment,omitempty"`
	// ConfigFile is the path of a configuration file of the OCI tools, which says who
	// asks. Default the one that these read.
	ConfigFile string `yaml:"config_file,omitempty"`
	// Profile is the profile in it. Default DEFAULT.
	Profile string `yaml:"profile,omitempty"`
	// Endpoint is the URL of Oracle Artifacts. Default the region's.
	Endpoint string `yaml:"endpoint,omitempty"`
}

func (s *Sink) setDefaults() { s.MaxSize, s.Keep = DefaultSinkSize, DefaultSinkKeep }

// SinkKind is a kind of sink.
type SinkKind string

// The kinds of sinks.
const (
	FileSink    SinkKind = "file"    // JSON lines
	WebhookSink SinkKind = "webhook" // a server that takes JSON
	OCIRSink    SinkKind = "ocir"    // Oracle Artifacts, as image signatures
)

func sinkKinds() []SinkKind { return []SinkKind{FileSink, WebhookSink, OCIRSink} }

// fields are what a sink of that kind reads, besides its name.
func (k SinkKind) fields() []string {
	switch k {
	case FileSink:
		return []string{"path", "max_size", "keep"}
	case WebhookSink:
		return []string{"url", "ca_file", "token_file"}
	case OCIRSink:
		return []string{"registry", "key", "key_id", "key_version_id", "region", "namespace", "compartment", "config_file", "profile", "endpoint"}
	}
	return nil
}

func (v *validator) sinks() {
	names, paths := map[string]place{}, map[string]place{}
	for i := range v.config.Sinks {
		s, at := &v.config.Sinks[i], v.config.root.item("sinks", i)
		v.name(at, s.Name, names)
		switch s.Kind {
		case FileSink:
			v.idle(at, s.Kind)
			if v.required(at, "path", s.Path, "the path of a file") {
				v.unique(at, "path", filepath.Clean(s.Path), paths)
			}
			v.between(at, "max_size", s.MaxSize, 1, 10240)
			v.between(at, "keep", s.Keep, 1, 1000)
		case WebhookSink:
			v.idle(at, s.Kind)
			v.sinkURL(at, s.URL)
		case OCIRSink:
			v.idle(at, s.Kind)
			v.ocirSink(at, s)
		default:
			problem, allowed := wordProblem(s.Kind, sinkKinds(), sinkKinds())
			v.add(at, "kind", problem, allowed)
		}
	}
}

// idle refuses fields that do nothing for a kind.
func (v *validator) idle(at place, kind SinkKind) {
	known := kind.fields()
	for _, other := range sinkKinds() {
		for _, field := range other.fields() {
			if !slices.Contains(known, field) && at.in(field).given() {
				v.add(at, field, "does nothing for kind "+string(kind), strings.Join(known, ", "))
			}
		}
	}
}

func (v *validator) between(at place, field string, n, least, most int) {
	if n < least || n > most {
		v.add(at, field, fmt.Sprintf("is %d", n), fmt.Sprintf("%d to %d", least, most))
	}
}

// sinkURL never repeats the URL, which might hold a secret.
func (v *validator) sinkURL(at place, text string) {
	const allowed = "https://HOST[:PORT][/PATH], or http:// for a loopback host"
	if !v.required(at, "url", text, allowed) {
		return
	}
	u, err := url.Parse(text)
	problem := ""
	switch {
	case err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https"}, u.Scheme):
		problem = "is not a URL of a server"
	case u.User != nil:
		problem = "holds credentials, and secrets are never written inline: use token_file"
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		problem = "has a query or a fragment"
	case u.Scheme == "http" && !(&Registry{Host: u.Host}).loopback():
		problem = "would send records over plain HTTP"
	}
	if problem != "" {
		v.add(at, "url", problem, allowed)
	}
}
