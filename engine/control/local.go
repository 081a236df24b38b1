package control

import (
	"context"
	"net"
	"net/http"
	"os/user"
	"strconv"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/peer"
)

// localCaller begins the name of who opens the control socket.
const localCaller = "local"

type peerKey struct{}

// withPeer keeps with the requests of a connection which user of the system sends them.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid, err := peer.UID(c)
	if err != nil {
		return ctx // the socket lets in the right ones, whoever of them it is
	}
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		id = u.Username
	}
	return context.WithValue(ctx, peerKey{}, id)
}

// Local returns who sent a request over the control socket, who may do everything:
// only the daemon's own user and root can open it. Its name is local:USER, or local
// where the system does not tell.
func Local(r *http.Request) door.Caller {
	c := door.Caller{Name: localCaller, Role: door.Admin}
	if name, ok := r.Context().Value(peerKey{}).(string); ok {
		c.Name += ":" + name
	}
	return c
}
