package registry

import "fmt"

// openOCIR returns the listing of a registry of kind ocir.
func openOCIR(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
