package registry

import "fmt"

// openZot returns the listing of a registry of kind zot.
func openZot(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
