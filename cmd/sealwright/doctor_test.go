package main

import (
	"context"
	"io"
	"testing"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/kms"
)

type refusing struct{ kms.Signer }

func (refusing) Sign(context.Context, []byte) ([]byte, error) { return nil, kms.ErrDenied }

// TestDoctorCanary: a key that is switched off is no failure, one that cannot
// sign is, also if it has a switch.
func TestDoctorCanary(t *testing.T) {
	file := t.TempDir() + "/stop"
	for name, c := range map[string]struct {
		off  bool
		want state
	}{"switched off": {true, warning}, "cannot sign": {false, broken}} {
		var by kms.Switch
		by.Set(c.off, file)
		d := &doctor{app: &app{out: io.Discard, output: "text"}}
		d.canary(t.Context(), "key k", engine.Key{Signer: by.Guard(refusing{})})
		if len(d.found) != 1 || d.found[0].State != c.want {
			t.Errorf("%s: %+v, want %s", name, d.found, c.want)
		}
	}
}
