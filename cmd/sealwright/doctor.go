package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry/signature"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Probe every registry, key, timestamp authority and transparency log",
		Long: `Ask every registry, key, timestamp authority and transparency log of the
configuration what it can do, and say what will be used: the kind of registries
and how they are logged in to and listed, a signature over a random message by
every key, the expiry of certificates (of keys, tls and access), a timestamp, the checkpoint of a log. Nothing is written
to a registry or log; every key is used once.

Exit code 0 only if nothing failed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			d := &doctor{app: a, opener: &opener{}, config: cfg}
			return d.run(c.Context())
		},
	}
}

// probeTimeout bounds the probe of one registry, key or authority.
const probeTimeout = 15 * time.Second

// A state is how a probe ended.
type state string

const (
	fine    state = "ok"
	warning state = "warn"
	broken  state = "FAIL"
)

// A diagnosis is what one probe found, and what follows from it.
type diagnosis struct {
	Subject string `json:"subject"` // "registry prod"
	Check   string `json:"check"`
	State   state  `json:"state"`
	Found   string `json:"found"`
	Used    string `json:"used,omitempty"` // what will be done about it
}

// A doctor probes what a configuration names.
type doctor struct {
	app    *app
	opener *opener
	config *configs.Config
	found  []diagnosis
}

func (d *doctor) add(subject, check string, s state, found, used string) {
	f := diagnosis{subject, check, s, strings.ToValidUTF8(found, "?"), used}
	if d.app.output == "text" {
		d.write(f)
	}
	d.found = append(d.found, f)
}

func (d *doctor) run(ctx context.Context) error {
	for i := range d.config.Registries {
		d.registry(ctx, &d.config.Registries[i])
	}
	for i := range d.config.Keys {
		d.key(ctx, d.config.Keys[i])
	}
	d.connections()
	d.authorities(ctx)
	d.logs(ctx)
	if err := d.app.print(d.found, func(io.Writer) {}); err != nil { // text is written by now
		return err
	}
	for _, f := range d.found {
		if f.State == broken {
			return errIncomplete
		}
	}
	return nil
}

// key has a key sign a message that means nothing.
func (d *doctor) key(ctx context.Context, c configs.Key) {
	subject := "key " + c.Name
	key, err := d.opener.oneKey(ctx, d.config, c)
	if err = errors.Join(err, key.Err); err != nil {
		d.add(subject, "open", broken, err.Error(), "policies that sign with it fail")
		return
	}
	public := key.Signer.Public()
	version := ""
	if v := key.Signer.Version(); v != "" {
		version = ", version " + v
	}
	pinned := "public_key_sha256 does not pin it"
	if c.PublicKeySHA256 != "" {
		pinned = "pinned"
	}
	d.add(subject, "open", fine, fmt.Sprintf("%s, %d bits%s", public.Algorithm(), public.Bits(), version), pinned+": "+public.Fingerprint())
	d.canary(ctx, subject, key)
	d.certificates(subject, key)
	if err := key.Signer.Close(); err != nil {
		d.add(subject, "close", warning, err.Error(), "")
	}
}

func (d *doctor) canary(ctx context.Context, subject string, key engine.Key) {
	began := time.Now()
	err := kms.Canary(ctx, key.Signer)
	switch {
	case err == nil:
		d.add(subject, "canary", fine, fmt.Sprintf("signed and verified in %s", time.Since(began).Round(10*time.Microsecond)), "")
	case errors.Is(err, kms.ErrDisabled):
		d.add(subject, "canary", warning, err.Error(), "its signatures count, and it makes no new ones")
	default:
		d.add(subject, "canary", broken, err.Error(), "policies that sign with it fail")
	}
}

func (d *doctor) certificates(subject string, key engine.Key) {
	if len(key.Certificates) == 0 {
		return
	}
	now := time.Now()
	leaf := key.Certificates[0]
	found := fmt.Sprintf("%s, expires %s", leaf.Subject, leaf.NotAfter.UTC().Format(time.DateOnly))
	if err := key.Certified(now); err != nil {
		d.add(subject, "certificate", broken, err.Error(), "formats notation-jws and notation-cose are not signed")
		return
	}
	if left := timeLeft(key.Certificates, now); left < expirySoon {
		d.add(subject, "certificate", warning, found, fmt.Sprintf("%d days left in its chain", int(left.Hours()/24)))
		return
	}
	d.add(subject, "certificate", fine, found, "formats notation-jws and notation-cose")
}

// authorities asks each timestamp authority for a timestamp, once.
func (d *doctor) authorities(ctx context.Context) {
	asked := map[string]bool{}
	for i := range d.config.Policies {
		policy := &d.config.Policies[i]
		for _, a := range policy.Timestamp {
			if asked[a.URL+" "+a.CA] {
				continue
			}
			asked[a.URL+" "+a.CA] = true
			subject := "timestamp " + a.URL
			authority, err := d.opener.authority(a)
			if err == nil {
				err = stamped(ctx, authority)
			}
			if err != nil {
				d.add(subject, "timestamp", broken, err.Error(), "the next authority of the policy, if there is one")
			} else {
				d.add(subject, "timestamp", fine, "given, and its roots vouch for it", "")
			}
		}
	}
}

// stamped asks an authority for a timestamp over words that mean nothing.
func stamped(ctx context.Context, a signature.Authority) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return a.Probe(ctx)
}

// logs asks each transparency log for its checkpoint, once.
func (d *doctor) logs(ctx context.Context) {
	asked := map[string]bool{}
	for i := range d.config.Policies {
		url, key := d.config.Policies[i].TransparencyLog, d.config.Policies[i].TransparencyLogKey
		if url == "" || asked[url+" "+key] {
			continue
		}
		asked[url+" "+key] = true
		found, err := d.checkpoint(ctx, url, key)
		if err != nil {
			d.add("transparency log "+url, "checkpoint", broken, err.Error(), "policies that enter bundles there fail")
		} else {
			d.add("transparency log "+url, "checkpoint", fine, found, "")
		}
	}
}

// checkpoint returns what a log says of itself.
func (d *doctor) checkpoint(ctx context.Context, url, key string) (string, error) {
	log, err := d.opener.log(url, key)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return log.Probe(ctx)
}

// write shows a diagnosis as soon as it is made: a probe may take long.
func (d *doctor) write(f diagnosis) {
	if len(d.found) == 0 || d.found[len(d.found)-1].Subject != f.Subject {
		fmt.Fprintf(d.app.out, "%s\n", f.Subject)
	}
	fmt.Fprintf(d.app.out, "  %-4s  %-11s %s\n", f.State, f.Check, oneLine(f.Found))
	if f.Used != "" {
		fmt.Fprintf(d.app.out, "  %18s → %s\n", "", f.Used)
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
