package registry

import "fmt"

// openECR returns the listing of a registry of kind ecr.
func openECR(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
