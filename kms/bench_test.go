package kms_test

import (
	"testing"
)

// payload is as large as a simple-signing payload.
var payload = make([]byte, 256)

func BenchmarkSign(b *testing.B) {
	for _, k := range algKeys() {
		b.Run(k.String(), func(b *testing.B) {
			s := open(b, newKey(b, k), k.alg)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Sign(b.Context(), payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, k := range algKeys() {
		b.Run(k.String(), func(b *testing.B) {
			s := open(b, newKey(b, k), k.alg)
			signature := sign(b, s, payload)
			public := s.Public()
			b.ReportAllocs()
			for b.Loop() {
				if err := public.Verify(payload, signature); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
