package registry

import "fmt"

// openNexus returns the listing of a registry of kind nexus.
func openNexus(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
