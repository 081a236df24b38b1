//go:build cgo

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"testing"
)

// Both forms of a point are read as the same key, also where a bare point looks
// like an OCTET STRING: 04 3f and 63 octets.
func TestPointsInBothForms(t *testing.T) {
	params, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})
	if err != nil {
		t.Fatal(err)
	}
	ambiguous := 0
	for range 600 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		want, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		bare, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if bare[1] == 0x3f {
			ambiguous++
		}
		wrapped, err := asn1.Marshal(bare)
		if err != nil {
			t.Fatal(err)
		}
		for _, point := range [][]byte{bare, wrapped} {
			if got, err := ecSPKI(params, point); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("point %x: %x, %v; want %x", point, got, err, want)
			}
		}
	}
	t.Logf("%d of 600 bare points look like an OCTET STRING", ambiguous)
	for _, point := range [][]byte{nil, {4}, {4, 1, 2}, bytes.Repeat([]byte{4}, 65)} {
		if _, err := ecSPKI(params, point); err == nil {
			t.Errorf("%x is no point on the curve", point)
		}
	}
}

func TestSignatureOfTheToken(t *testing.T) {
	for _, raw := range [][]byte{nil, {1}, {1, 2, 3}} {
		if _, err := outputOf("ECDSA_SHA_256", raw); err == nil || !strings.Contains(err.Error(), "no pair") {
			t.Errorf("%x: %v", raw, err)
		}
	}
	got, err := outputOf("ECDSA_SHA_256", append(bytes.Repeat([]byte{0xff}, 32), append(make([]byte, 31), 1)...))
	if want := append(append([]byte{0x30, 38, 2, 33, 0}, bytes.Repeat([]byte{0xff}, 32)...), 2, 1, 1); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
}
