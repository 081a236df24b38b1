//go:build !linux

package control

import (
	"errors"
	"net"
)

// peerUID is not known here.
func peerUID(net.Conn) (int, error) { return 0, errors.ErrUnsupported }
