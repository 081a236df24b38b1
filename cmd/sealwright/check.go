package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/engine/policy"
)

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration and the files it names; report every fault",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			setup, err := (&opener{}).open(c.Context(), cfg)
			if err != nil {
				return usageError{err}
			}
			result := checked{Registries: len(cfg.Registries), Keys: len(cfg.Keys), Policies: []checkedPolicy{}, Warnings: []string{}}
			for i := range cfg.Policies {
				result.Policies = append(result.Policies, describe(&cfg.Policies[i], time.Now()))
			}
			for _, w := range cfg.Warnings() {
				result.Warnings = append(result.Warnings, w.Error())
			}
			return errors.Join(a.print(result, result.write), setup.Close())
		},
	}
}

// checked is what a valid configuration says.
type checked struct {
	Registries int             `json:"registries"`
	Keys       int             `json:"keys"`
	Policies   []checkedPolicy `json:"policies"`
	Warnings   []string        `json:"warnings"`
}

type checkedPolicy struct {
	Name     string    `json:"name"`
	Enabled  bool      `json:"enabled"`
	Registry string    `json:"registry"`
	Key      string    `json:"key"`
	Trigger  string    `json:"trigger"`
	Next     time.Time `json:"next,omitzero"`
}

func describe(p *policy.Policy, now time.Time) checkedPolicy {
	c := checkedPolicy{Name: p.Name, Enabled: p.IsEnabled(), Registry: p.Registry, Key: p.Key, Trigger: string(p.Trigger.Type)}
	if s, err := policy.ParseCron(p.Trigger.Cron); err == nil && p.Trigger.Type == policy.Scheduled {
		c.Trigger += " " + p.Trigger.Cron
		c.Next = s.Next(now)
	}
	return c
}

func (r checked) write(w io.Writer) {
	fmt.Fprintf(w, "valid; registries: %d, keys: %d, policies: %d\n", r.Registries, r.Keys, len(r.Policies))
	table(w, func(row func(string, ...any)) {
		row("POLICY\tREGISTRY\tKEY\tTRIGGER\tNEXT (UTC)")
		for _, p := range r.Policies {
			trigger := p.Trigger
			if !p.Enabled {
				trigger += " (disabled)"
			}
			row("%s\t%s\t%s\t%s\t%s", p.Name, p.Registry, p.Key, trigger, stamp(p.Next))
		}
	})
	for _, warning := range r.Warnings {
		fmt.Fprintln(w, "warning:", warning)
	}
}
