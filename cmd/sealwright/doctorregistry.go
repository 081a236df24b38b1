package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/registry"
)

// registry probes how a registry is logged in to, what it lists and how, and how
// it keeps referrers.
func (d *doctor) registry(ctx context.Context, c *configs.Registry) {
	subject := "registry " + c.Name
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	opened, err := d.opener.registry(*c)
	if err != nil {
		d.add(subject, "open", broken, err.Error(), "nothing")
		return
	}
	r := opened.place.Registry()
	kind, ok := d.kind(ctx, subject, r, c)
	if !ok {
		return
	}
	d.login(subject, r, c, kind)
	ways := registry.WaysOf(kind, c.Storage != "")
	repository, ok := d.catalog(ctx, subject, r, ways)
	if !ok {
		return
	}
	if repository != "" {
		d.tags(ctx, subject, r, repository, ways)
	}
	d.untagged(subject, r, c.Name, ways)
	if repository != "" {
		d.referrers(ctx, subject, r, repository)
	}
	d.add(subject, "limits", fine, fmt.Sprintf("%d requests sent for this", r.Requests().Total()),
		fmt.Sprintf("at most %g requests a second, %d at once", c.Limits.RequestsPerSecond, c.Limits.Concurrency))
}

// kind returns as which kind a registry is listed; false if that is not known.
func (d *doctor) kind(ctx context.Context, subject string, r registry.Registry, c *configs.Registry) (string, bool) {
	detector, ok := r.(registry.Detector)
	if !ok {
		d.add(subject, "kind", fine, string(c.Kind)+", by the configuration", "")
		return string(c.Kind), true
	}
	found, err := detector.Detected(ctx)
	switch {
	case err != nil:
		d.add(subject, "kind", broken, err.Error(), "no policy of this registry can run")
		return "", false
	case found.Lacks != "":
		d.add(subject, "kind", warning, found.Because, fmt.Sprintf("%s: it %s", found.Kind, found.Lacks))
	default:
		d.add(subject, "kind", fine, fmt.Sprintf("%s: %s", found.Kind, found.Because), "")
	}
	return found.Kind, true
}

// login says who asks, never by what secret.
func (d *doctor) login(subject string, r registry.Registry, c *configs.Registry, kind string) {
	named, ok := r.(interface{ Login() (string, error) })
	if !ok {
		return // a directory has none
	}
	who, err := named.Login()
	if err != nil {
		d.add(subject, "login", broken, err.Error(), "no policy of this registry can run")
		return
	}
	d.add(subject, "login", fine, who, apiLogin(c, kind))
}

// apiLogin says who asks the registry's own API, where that is somebody else.
func apiLogin(c *configs.Registry, kind string) string {
	who := ""
	switch kind {
	case registry.KindQuay, registry.KindGitLab, registry.KindNexus, registry.KindArtifactory:
		if who = "the registry's own login"; c.Cloud.SecretFile != "" {
			who = "the token in cloud.secret_file"
		}
	case registry.KindSWR, registry.KindTCR:
		if who = "the access key of the environment"; c.Cloud.AccessKey != "" {
			who = "the access key of cloud.access_key"
		}
	case registry.KindOCIR:
		if who = "the identity in the file of the OCI tools"; c.Cloud.ConfigFile != "" {
			who = "the identity in cloud.config_file"
		}
	case registry.KindECR:
		if c.Auth != (configs.Auth{}) {
			who = "AWS credentials"
		}
	}
	if who == "" {
		return ""
	}
	return "its API is asked with " + who
}

// catalog returns the first repository; false if none can be listed.
func (d *doctor) catalog(ctx context.Context, subject string, r registry.Registry, ways registry.Ways) (string, bool) {
	for repository, err := range r.Repositories(ctx) {
		if err != nil {
			d.add(subject, "catalog", broken, err.Error(), "no policy of this registry can run")
			return "", false
		}
		d.add(subject, "catalog", fine, "lists repositories", ways.Repositories)
		return repository, true
	}
	d.add(subject, "catalog", warning, "lists no repository", "nothing to sign, or the account sees nothing")
	return "", true
}

// tags reads tags of one repository.
func (d *doctor) tags(ctx context.Context, subject string, r registry.Registry, repository string, ways registry.Ways) {
	all := func(string) bool { return true }
	used := ways.Tags + "; " + ways.PerTag
	for a, err := range r.Artifacts(ctx, registry.Query{Repository: repository, Tags: all}) {
		if err != nil {
			d.add(subject, "tags", broken, err.Error(), "its artifacts stay unsigned")
			return
		}
		d.add(subject, "tags", fine, fmt.Sprintf("%s:%s is %s", repository, strings.Join(a.Tags, ","), short(a.Digest.String())), used)
		return
	}
	d.add(subject, "tags", fine, repository+" has none", used)
}

// untagged is known once the registry was listed.
func (d *doctor) untagged(subject string, r registry.Registry, name string, ways registry.Ways) {
	why := r.Untagged()
	switch {
	case why == "":
		d.add(subject, "untagged", fine, "can be seen", ways.Untagged)
	case d.wantsUntagged(name):
		d.add(subject, "untagged", warning, why, "a policy covers them, and they stay unsigned")
	default:
		d.add(subject, "untagged", fine, why, "no policy covers them")
	}
}

func (d *doctor) referrers(ctx context.Context, subject string, r registry.Registry, repository string) {
	c, err := registry.NewReferrers(r).Capability(ctx, repository)
	if err != nil {
		d.add(subject, "referrers", broken, err.Error(), "formats bundle and notation cannot be used")
		return
	}
	used := "bundle and notation signatures are listed in an index under the tag sha256-DIGEST"
	if c.API {
		used = "bundle and notation signatures are listed by the registry"
	}
	d.add(subject, "referrers", fine, c.String()+": "+c.Reason, used)
}

func (d *doctor) wantsUntagged(name string) bool {
	for i := range d.config.Policies {
		if p := &d.config.Policies[i]; p.Registry == name && p.IsEnabled() && p.WantsUntagged() {
			return true
		}
	}
	return false
}
