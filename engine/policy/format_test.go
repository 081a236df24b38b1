package policy

import "testing"

func TestUnloggable(t *testing.T) {
	logs := map[Algorithm]bool{ECDSASHA256: true, ECDSASHA384: true, RSAPKCS1SHA256: true}
	for _, name := range Algorithms {
		if why := Algorithm(name).Unloggable(); (why == "") != logs[Algorithm(name)] {
			t.Errorf("%s: %q", name, why)
		}
	}
}
