package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/control/door"
)

// minToken is how long a token is at least, in bytes: what is shorter may be guessed.
const minToken = 32

// roles are what the door calls the configuration's roles.
var roles = map[configs.Role]door.Role{configs.Viewer: door.Viewer, configs.Operator: door.Operator, configs.Admin: door.Admin}

// callers returns who may ask at listen. White space around a token does not count.
func callers(cfg *configs.Config) ([]door.Credential, error) {
	var list []door.Credential
	var errs []error
	for _, a := range cfg.Access {
		raw, err := os.ReadFile(a.TokenFile)
		token := bytes.TrimSpace(raw)
		if err == nil && (len(token) < minToken || len(token) > maxSecret) {
			err = fmt.Errorf("%s: has %d bytes, want %d to %d, like those of openssl rand -hex 32", a.TokenFile, len(token), minToken, maxSecret)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("access %q: token_file: %w", a.Name, err))
			continue
		}
		list = append(list, door.Credential{Name: a.Name, Role: roles[a.Role], Registries: a.Registries, TokenSHA256: sha256.Sum256(token)})
	}
	return list, errors.Join(errs...)
}

// admit lets in who may ask by a configuration, and nobody else any more. If it
// fails, nothing has changed.
func (d *service) admit(cfg *configs.Config) error {
	list, err := callers(cfg)
	if err != nil {
		return err
	}
	if err := d.door.Replace(list); err != nil {
		return fmt.Errorf("access: %w", err)
	}
	return nil
}
