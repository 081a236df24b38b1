// Package peer tells who is at the other end of a Unix socket. It imports nothing of
// ours.
package peer

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// UID asks the kernel which user is at the other end of a connection.
func UID(c net.Conn) (int, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("a connection of %s has no user", c.LocalAddr().Network())
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return int(cred.Uid), nil
}
