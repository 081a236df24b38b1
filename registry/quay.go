package registry

import "fmt"

// openQuay returns the listing of a registry of kind quay.
func openQuay(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
