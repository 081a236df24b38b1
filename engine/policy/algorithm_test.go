package policy

import (
	"crypto"
	"testing"
)

func TestAlgorithms(t *testing.T) {
	want := map[Algorithm]struct {
		hash   crypto.Hash
		family Family
	}{
		ECDSASHA256:    {crypto.SHA256, ECDSA},
		ECDSASHA384:    {crypto.SHA384, ECDSA},
		RSAPSSSHA256:   {crypto.SHA256, RSAPSS},
		RSAPSSSHA384:   {crypto.SHA384, RSAPSS},
		RSAPSSSHA512:   {crypto.SHA512, RSAPSS},
		RSAPKCS1SHA256: {crypto.SHA256, RSAPKCS1},
		RSAPKCS1SHA384: {crypto.SHA384, RSAPKCS1},
		RSAPKCS1SHA512: {crypto.SHA512, RSAPKCS1},
		SM2SM3:         {0, SM2},
	}
	if len(Algorithms) != len(want) {
		t.Errorf("Algorithms lists %d, want %d", len(Algorithms), len(want))
	}
	for _, name := range Algorithms {
		a := Algorithm(name)
		w, known := want[a]
		if !known {
			t.Errorf("%s is listed, but unknown here", a)
		}
		if a.Hash() != w.hash || a.Family() != w.family || !a.Valid() {
			t.Errorf("%s: hash %v, family %q, valid %t; want %v, %q, true", a, a.Hash(), a.Family(), a.Valid(), w.hash, w.family)
		}
		if h := a.Hash(); h != 0 && !h.Available() {
			t.Errorf("%s: hash %v is not linked in", a, h)
		}
	}
	for _, a := range []Algorithm{"", "ecdsa_sha_256", "ECDSA_SHA_512"} {
		if a.Valid() || a.Hash() != 0 || a.Family() != "" {
			t.Errorf("%q is taken for an algorithm", a)
		}
	}
}
