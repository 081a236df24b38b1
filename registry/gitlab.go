package registry

import "fmt"

// openGitLab returns the listing of a registry of kind gitlab.
func openGitLab(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
