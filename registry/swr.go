package registry

import "fmt"

// openSWR returns the listing of a registry of kind swr.
func openSWR(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
