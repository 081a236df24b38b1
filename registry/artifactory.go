package registry

import "fmt"

// openArtifactory returns the listing of a registry of kind artifactory.
func openArtifactory(_ *Client, cfg Config) (manifestLister, error) {
	return nil, fmt.Errorf("kind %s is not in this build: %w", cfg.Kind, ErrUnsupported)
}
