package registry

import "fmt"

// openTCR returns the listing of a registry of kind tcr.
func openTCR(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
