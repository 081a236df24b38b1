// Command plugintest is a key store plugin made with sigstore's own helpers, as
// plugins of others are. Its keys are PKCS#8 files: the name of a key is the
// file's path, "pss:" before it for an RSA key that signs with PSS.
package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

func main() {
	if err := run(os.Args); err != nil {
		_ = handler.WriteErrorResponse(os.Stdout, err) // the exit code says the rest
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 || args[1] != common.ProtocolVersion {
		return fmt.Errorf("called with %d arguments, want 2, of which the first is %s", len(args)-1, common.ProtocolVersion)
	}
	parsed, err := handler.GetPluginArgs(args)
	if err != nil {
		return err
	}
	if parsed.InitOptions.CtxDeadline == nil {
		return errors.New("no deadline was given")
	}
	path, pss := strings.CutPrefix(parsed.InitOptions.KeyResourceID, "pss:")
	key, err := load(path, parsed.InitOptions.HashFunc, pss)
	if err != nil {
		return err
	}
	_, err = handler.Dispatch(os.Stdout, os.Stdin, parsed, key)
	return err
}

// A fileKey is a key in a file, as sigstore sees a key store.
type fileKey struct {
	signature.SignerVerifier
}

func load(path string, hash crypto.Hash, pss bool) (fileKey, error) {
	data, err := os.ReadFile(path) //nolint:gosec // that is what a test's key is
	if err != nil {
		return fileKey{}, err
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(data, nil)
	if err != nil {
		return fileKey{}, err
	}
	var signer signature.SignerVerifier
	if rsaKey, ok := key.(*rsa.PrivateKey); ok && pss {
		signer, err = signature.LoadRSAPSSSignerVerifier(rsaKey, hash, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	} else {
		signer, err = signature.LoadSignerVerifier(key, hash)
	}
	return fileKey{signer}, err
}

var errNotHere = errors.New("not in this plugin")

func (fileKey) DefaultAlgorithm() string      { return "" }
func (fileKey) SupportedAlgorithms() []string { return nil }

func (fileKey) CreateKey(context.Context, string) (crypto.PublicKey, error) { return nil, errNotHere }

func (fileKey) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errNotHere
}
