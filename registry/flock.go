//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockPoll is how often a lock that others hold is asked for again. There is
// no way to wait for flock that a context could end.
const lockPoll = 20 * time.Millisecond

// lockFile takes an exclusive flock on f, against other processes and other
// openings of the file in this one. Closing f gives it back.
func lockFile(ctx context.Context, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("locking %s: %w: %w", f.Name(), ErrUnavailable, err)
		}
		if err := pause(ctx, lockPoll); err != nil {
			return err
		}
	}
}
