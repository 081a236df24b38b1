package registry

import "fmt"

// openACR returns the listing of a registry of kind acr.
func openACR(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
