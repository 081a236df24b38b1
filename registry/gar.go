package registry

import "fmt"

// openGAR returns the listing of a registry of kind gar.
func openGAR(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
