package main

import (
	"errors"
	"fmt"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/registry/event"
)

// What is asked at most to check who sent events: SNS's certificate, Google's keys.
const (
	eventProofsPerSecond, eventProofsAtOnce = 5, 2
	eventProofs                             = "events" // what their requests are counted under
)

// receivers returns who reads the events of each registry that has some.
func (o *opener) receivers(cfg *configs.Config) (map[string]*event.Receiver, error) {
	out := map[string]*event.Receiver{}
	var errs []error
	for i := range cfg.Registries {
		c := &cfg.Registries[i]
		if c.Events.IsZero() {
			continue
		}
		r, err := event.Open(o.events(c))
		if err != nil {
			errs = append(errs, fmt.Errorf("registry %q: %w", c.Name, err))
			continue
		}
		out[c.Name] = r
	}
	return out, errors.Join(errs...)
}

func (o *opener) events(c *configs.Registry) event.Config {
	e := &c.Events
	return event.Config{Source: event.Source(c.EventSource()), Hosts: append([]string{c.Host}, e.Hosts...),
		Secret: eventSecret(e.SecretFile), Username: e.Username, Header: e.Header, Topic: e.Topic,
		Audience: e.Audience, ServiceAccount: e.ServiceAccount,
		Key: c.Cloud.Project, KeyInNames: registryConfig(*c).KeyInNames(),
		Transport: o.client(eventProofs, budget.Limits{RequestsPerSecond: eventProofsPerSecond, Concurrency: eventProofsAtOnce}).Transport}
}

// eventSecret reads the file for each delivery, so that the secret can be
// replaced.
func eventSecret(path string) func() ([]byte, error) {
	if path == "" {
		return nil
	}
	return func() ([]byte, error) {
		secret, err := readSecret(path, 1)
		if err != nil {
			return nil, fmt.Errorf("events.secret_file: %w", err)
		}
		return secret, nil
	}
}

// receiver returns who reads the events of a registry of the setup in force.
func (o *opener) receiver(registry string) (*event.Receiver, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, ok := o.inForce[registry]
	return r, ok
}
