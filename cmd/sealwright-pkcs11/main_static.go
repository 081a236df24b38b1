//go:build !cgo

// Command sealwright-pkcs11 needs cgo; without it, it says so.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "sealwright-pkcs11: built without cgo, which loading a PKCS#11 module needs. Build it with: CGO_ENABLED=1 go build ./cmd/sealwright-pkcs11 (needs a C compiler)")
	os.Exit(2)
}
