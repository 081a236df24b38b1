//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package registry

import (
	"context"
	"fmt"
	"os"
)

// lockFile refuses: without a lock two writers could lose entries.
func lockFile(context.Context, *os.File) error {
	return fmt.Errorf("writing to an OCI layout on this system: %w", ErrUnsupported)
}
