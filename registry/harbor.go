package registry

import "fmt"

// openHarbor returns the listing of a registry of kind harbor.
func openHarbor(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
