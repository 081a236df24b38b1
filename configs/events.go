package configs

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
)

// Events says how a registry tells what was pushed. They are delivered to
// /events/NAME of listen.
type Events struct {
	// Source is who sends the events. Default: the registry's kind, where that is
	// a source.
	Source EventSource `yaml:"source,omitempty"`
	// SecretFile is the path of a file with the secret that proves who sends.
	SecretFile string `yaml:"secret_file,omitempty"`
	// Username is the user that Basic authentication must name. Empty means any.
	Username string `yaml:"username,omitempty"`
	// Header is the header that carries the secret. Default Authorization.
	Header string `yaml:"header,omitempty"`
	// Hosts are other names, HOST or HOST:PORT, by which events call the registry.
	Hosts []string `yaml:"hosts,omitempty"`
	// Topic is the ARN of the SNS topic that carries events of kind ecr; its
	// signature proves who sends.
	Topic string `yaml:"topic,omitempty"`
	// Audience is what the token of a Pub/Sub push for kind gar must be made for.
	Audience string `yaml:"audience,omitempty"`
	// ServiceAccount is the e-mail address in that token.
	ServiceAccount string `yaml:"service_account,omitempty"`
}

// IsZero reports whether no events are configured.
func (e Events) IsZero() bool {
	return e.Source == "" && e.SecretFile == "" && e.Username == "" && e.Header == "" && len(e.Hosts) == 0 &&
		e.Topic == "" && e.Audience == "" && e.ServiceAccount == ""
}

// EventSource is a dialect in which events are sent.
type EventSource string

// The sources of events.
const (
	EventsDistribution EventSource = "distribution"
	EventsGitLab       EventSource = "gitlab"
	EventsHarbor       EventSource = "harbor"
	EventsZot          EventSource = "zot"
	EventsQuay         EventSource = "quay"
	EventsACR          EventSource = "acr"
	EventsGAR          EventSource = "gar"
	EventsECR          EventSource = "ecr"
	EventsArtifactory  EventSource = "artifactory"
	EventsNexus        EventSource = "nexus"
	EventsSWR          EventSource = "swr"
	EventsTCR          EventSource = "tcr"
	EventsDockerHub    EventSource = "dockerhub"
)

func eventSources() []EventSource {
	return []EventSource{EventsDistribution, EventsGitLab, EventsHarbor, EventsZot, EventsQuay, EventsACR, EventsGAR, EventsECR,
		EventsArtifactory, EventsNexus, EventsSWR, EventsTCR, EventsDockerHub}
}

// EventSource returns who sends the registry's events: what is configured, or
// else its kind. It may be none that is known.
func (r *Registry) EventSource() EventSource {
	if r.Events.Source != "" {
		return r.Events.Source
	}
	return EventSource(r.kind())
}

func (v *validator) events(at place, r *Registry) {
	e := &r.Events
	if e.IsZero() {
		return
	}
	source := r.EventSource()
	if !slices.Contains(eventSources(), source) {
		problem := fmt.Sprintf("is required for kind %s", r.kind())
		if e.Source != "" {
			problem = quote(string(e.Source)) + " is not a source of events"
		}
		v.add(at, "source", problem, join(eventSources()))
		return
	}
	v.eventProof(at, e, source)
	for i, host := range e.Hosts {
		if !validHost(host) {
			v.add(at.item("hosts", i), "", quote(host)+" is not a host", "HOST or HOST:PORT")
		}
	}
	if e.Header != "" && !headerRE.MatchString(e.Header) {
		v.add(at, "header", quote(e.Header)+" is not the name of a header", "such as X-Api-Key")
	}
	if source == EventsDockerHub && !slices.ContainsFunc(append([]string{r.Host}, e.Hosts...), isDockerHub) {
		v.add(at, "hosts", "name no Docker Hub: every event would be of another registry", strings.Join(dockerHubHosts(), ", ")+"; here or as the registry's host")
	}
	if (source == EventsArtifactory || source == EventsNexus) && r.Cloud.Project == "" {
		v.add(at, "", "need cloud.project: events of "+string(source)+" name the repository key", fmt.Sprintf("kind: %s, cloud: {project: KEY}", source))
	}
}

// What a header may be called and how a topic is named, as registry/event takes
// them.
var (
	headerRE = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]{1,100}$`)
	topicRE  = regexp.MustCompile(`^arn:aws(?:-cn|-us-gov)?:sns:[a-z0-9-]{1,30}:[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?$`)
)

func dockerHubHosts() []string {
	return []string{"docker.io", "index.docker.io", "registry-1.docker.io"}
}

func isDockerHub(host string) bool {
	name, port := splitHost(strings.ToLower(host))
	return slices.Contains(dockerHubHosts(), name) && (port == "" || port == "443" || port == "80")
}

// eventProof checks that there is one way to tell who sends events.
func (v *validator) eventProof(at place, e *Events, source EventSource) {
	only := func(field, value string, of EventSource) bool {
		if value != "" && source != of {
			v.add(at, field, "does nothing for events of "+string(source), "no "+field)
			return false
		}
		return value != ""
	}
	topic := only("topic", e.Topic, EventsECR)
	account, audience := only("service_account", e.ServiceAccount, EventsGAR), only("audience", e.Audience, EventsGAR)
	if topic && !topicRE.MatchString(e.Topic) {
		v.add(at, "topic", quote(e.Topic)+" is not a topic of SNS", "arn:aws:sns:REGION:ACCOUNT:NAME")
	}
	switch {
	case account != audience:
		v.add(at, "audience", "and service_account belong together", "both or neither")
	case (topic || account) && e.SecretFile != "":
		v.add(at, "secret_file", "does nothing beside topic or service_account, which say who must have signed", "no secret_file")
	case !topic && !account:
		v.required(at, "secret_file", e.SecretFile, "the path of a file with the secret that the source sends")
	}
	idle := ""
	switch {
	case e.SecretFile == "":
		idle = "does nothing without secret_file"
	case source == EventsNexus:
		idle = "does nothing for events of nexus, which are signed with the secret"
	}
	for _, s := range []setting{{"username", e.Username}, {"header", e.Header}} {
		if idle != "" && s.value != "" {
			v.add(at, s.field, idle, "no "+s.field)
		}
	}
}

// loopbackAddress reports whether only this machine can reach an address.
func loopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

func (v *validator) listen(address string) {
	if address == "" {
		if v.config.TLS != (TLS{}) {
			v.add(v.config.root, "tls", "does nothing without listen", "no tls, or listen: HOST:PORT")
		}
		return
	}
	const allowed = "HOST:PORT, or empty for the control socket only"
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil || !validPort(port) || host != "" && !validHostname(host):
		v.add(v.config.root, "listen", quote(address)+" is not an address", allowed)
	case !loopbackAddress(address) && v.config.TLS == (TLS{}):
		v.add(v.config.root, "listen", quote(address)+" is open to other machines, and without tls the secrets of callers and events could be read on the way",
			"tls, or a loopback address such as 127.0.0.1:8374")
	case !loopbackAddress(address) && len(v.config.Access) == 0 && !slices.ContainsFunc(v.config.Registries, func(r Registry) bool { return !r.Events.IsZero() }):
		v.add(v.config.root, "listen", quote(address)+" is open to other machines, and nobody has a credential for it",
			"access, events of a registry, or a loopback address such as 127.0.0.1:8374")
	}
}

func (v *validator) tls(t TLS) {
	if t == (TLS{}) {
		return
	}
	at := v.config.root.in("tls")
	v.required(at, "cert_file", t.CertFile, "the path of a PEM file, together with key_file")
	v.required(at, "key_file", t.KeyFile, "the path of a PEM file, together with cert_file")
}

// The defaults of what is remembered. A week between drift scans, and a day more
// that what they verified is believed.
const (
	DefaultRemember  = "8d"
	DefaultDriftScan = "0 0 3 * * 0"
	// Never is a drift scan that does not happen.
	Never = "never"
)

const rememberAllowed = "0 for never, or 1h to 90d, such as 36h or 8d"

// RememberDuration is Remember as a duration; 0 means never.
func (c *Config) RememberDuration() time.Duration {
	d, _ := parseRemember(c.Remember) // validated
	return d
}

func parseRemember(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	return durationIn(text, time.Hour, 90*24*time.Hour)
}

// The defaults of what comes through APIs.
const (
	DefaultMinScheduleInterval = "1m"
	DefaultAuditRetention      = "365d"
)

// MinScheduleDuration is MinScheduleInterval as a duration.
func (c *Config) MinScheduleDuration() time.Duration {
	d, _ := parseMinScheduleInterval(c.MinScheduleInterval) // validated
	return d
}

func parseMinScheduleInterval(text string) (time.Duration, error) {
	return durationIn(text, time.Second, 24*time.Hour)
}

// AuditDuration is AuditRetention as a duration; 0 means for ever.
func (c *Config) AuditDuration() time.Duration {
	d, _ := parseAuditRetention(c.AuditRetention) // validated
	return d
}

func parseAuditRetention(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	return durationIn(text, 24*time.Hour, 3650*24*time.Hour)
}

// DriftSchedule is DriftScan as a schedule, "" for never.
func (c *Config) DriftSchedule() string {
	if c.DriftScan == Never {
		return ""
	}
	return c.DriftScan
}

func (v *validator) upkeep(c *Config) {
	if _, err := parseRemember(c.Remember); err != nil {
		v.add(c.root, "remember", quote(c.Remember)+" is not allowed", rememberAllowed)
	}
	if _, err := parseMinScheduleInterval(c.MinScheduleInterval); err != nil {
		v.add(c.root, "min_schedule_interval", quote(c.MinScheduleInterval)+" is not allowed", "1s to 24h, such as 1m or 90s")
	}
	if _, err := parseAuditRetention(c.AuditRetention); err != nil {
		v.add(c.root, "audit_retention", quote(c.AuditRetention)+" is not allowed", "0 for as long as there is the state, or 1d to 3650d, such as 90d or 36h")
	}
	if c.DriftScan == Never {
		return
	}
	if _, err := policy.ParseCron(c.DriftScan); err != nil {
		v.add(c.root, "drift_scan", err.Error(), Never+", or "+policy.CronFields)
	}
}

// EventProblem says why no event will fire a policy of the registry, "" if one can.
func (c *Config) EventProblem(registry string) string {
	r, ok := c.Registry(registry)
	if !ok {
		return ""
	}
	problem, _ := c.eventProblem(r)
	return problem
}

// eventProblem says why no event will fire a policy of r.
func (c *Config) eventProblem(r *Registry) (problem, advice string) {
	switch {
	case r.Events.IsZero():
		return fmt.Sprintf("is event_based, but registry %s has no events: the policy only runs when fired by hand or by reconcile", quote(r.Name)),
			"events of the registry, and listen"
	case c.Listen == "":
		return "is event_based, but nothing listens for events: the policy only runs when fired by hand or by reconcile", "listen: HOST:PORT"
	}
	return "", ""
}
