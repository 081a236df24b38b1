package control_test

import (
	"net/http"
	"testing"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// TestSlowBodiesOfOwnAPI: our own API waits for a body no longer than those of vendors,
// whether its sender is known or not.
func TestSlowBodiesOfOwnAPI(t *testing.T) {
	own := func(d *door.Door) http.Handler {
		return api.New(api.Options{Turns: rights.NewTurns(0, 3, nil), Door: d, Log: zap.NewNop()})
	}
	for name, proof := range map[string]string{"forged": control.ForgedSDK, "a token": "Authorization: Bearer " + control.RightToken} {
		control.WantSlowBodyCut(t, name, "POST /api/v1/policies HTTP/1.1\r\nContent-Type: application/json\r\n"+proof, own)
	}
}

// TestSlowBodiesAtTheSocket: nor does it at the control socket, and nothing else there.
func TestSlowBodiesAtTheSocket(t *testing.T) {
	local := func(r *http.Request) (door.Caller, error) { return control.Local(r), nil }
	control.WantSlowBodiesCutLocally(t, api.New(api.Options{Turns: rights.NewTurns(0, 3, nil), Authenticate: local, Log: zap.NewNop()}))
}
