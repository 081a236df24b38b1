package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

func (a *app) keyCommand() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "Generate, show and test keys"}
	c.AddCommand(a.keyGenerateCommand(), a.keyPublicCommand(), a.keyTestCommand())
	return c
}

func (a *app) keyGenerateCommand() *cobra.Command {
	var algorithm, out, passwordFile, passwordEnv string
	var bits int
	c := &cobra.Command{
		Use:   "generate --algorithm ALGORITHM --out PREFIX",
		Short: "Write a new key pair to PREFIX.key (0600) and PREFIX.pub; never overwrites",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !slices.Contains(policy.Algorithms, algorithm) {
				return usageError{fmt.Errorf("--algorithm %q: allowed: %s", algorithm, strings.Join(policy.Algorithms, ", "))}
			}
			if out == "" {
				return usageError{errors.New("--out is required: the files' common PREFIX")}
			}
			pub, err := generate(policy.Algorithm(algorithm), bits, out, password(passwordFile, passwordEnv))
			if err != nil {
				return err
			}
			return a.printKey(pub, out+".key", out+".pub")
		},
	}
	c.Flags().StringVar(&algorithm, "algorithm", string(policy.ECDSASHA256), "`ALGORITHM`: "+strings.Join(policy.Algorithms, ", "))
	c.Flags().IntVar(&bits, "bits", 0, "RSA key size `N`: 2048, 3072 (default) or 4096")
	c.Flags().StringVar(&out, "out", "", "common `PREFIX` of the two files")
	passwordFlags(c, &passwordFile, &passwordEnv)
	return c
}

func passwordFlags(c *cobra.Command, file, env *string) {
	c.Flags().StringVar(file, "password-file", "", "`FILE` (0600) with the private key's password")
	c.Flags().StringVar(env, "password-env", "", "environment `VARIABLE` with the private key's password")
	c.MarkFlagsMutuallyExclusive("password-file", "password-env")
}

func generate(alg policy.Algorithm, bits int, prefix string, password func() ([]byte, error)) (*kms.PublicKey, error) {
	private, public, err := kms.Generate(alg, bits)
	if err != nil {
		return nil, usageError{err}
	}
	if password != nil {
		secret, err := password()
		if err != nil {
			return nil, err
		}
		if private, err = kms.EncryptKey(private, secret); err != nil {
			return nil, err
		}
	}
	if err := kms.WriteKeyPair(prefix, private, public); err != nil {
		return nil, err
	}
	return kms.ParsePublicKey(public, alg)
}

// keyInfo describes a key for people and scripts.
type keyInfo struct {
	Algorithm       policy.Algorithm `json:"algorithm"`
	PublicKeySHA256 string           `json:"public_key_sha256"`
	PublicKey       string           `json:"public_key"`
	PrivateFile     string           `json:"private_file,omitempty"`
	PublicFile      string           `json:"public_file,omitempty"`
}

func (a *app) printKey(pub *kms.PublicKey, privateFile, publicFile string) error {
	info := keyInfo{pub.Algorithm(), pub.Fingerprint(), string(pub.PEM()), privateFile, publicFile}
	return a.print(info, func(w io.Writer) {
		fmt.Fprintf(w, "%s\npublic_key_sha256: %s\n", info.Algorithm, info.PublicKeySHA256)
		fmt.Fprintf(w, "private key: %s\npublic key:  %s\n", privateFile, publicFile)
	})
}

func (a *app) keyPublicCommand() *cobra.Command {
	k := &keyFlags{}
	c := &cobra.Command{
		Use:   "public URI",
		Short: "Print a key's public half as PEM, with its fingerprint",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := k.open(c, args[0])
			if err != nil {
				return err
			}
			pub := s.Public()
			info := keyInfo{Algorithm: pub.Algorithm(), PublicKeySHA256: pub.Fingerprint(), PublicKey: string(pub.PEM())}
			fmt.Fprintf(a.err, "%s, public_key_sha256: %s\n", info.Algorithm, info.PublicKeySHA256)
			return errors.Join(a.print(info, func(w io.Writer) { fmt.Fprint(w, info.PublicKey) }), s.Close())
		},
	}
	k.add(c)
	return c
}

func (a *app) keyTestCommand() *cobra.Command {
	k := &keyFlags{}
	c := &cobra.Command{
		Use:   "test URI",
		Short: "Sign a random message with a key and verify the signature",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := k.open(c, args[0])
			if err != nil {
				return err
			}
			return errors.Join(a.testKey(c, s), s.Close())
		},
	}
	k.add(c)
	return c
}

func (a *app) testKey(c *cobra.Command, s kms.Signer) error {
	canary := bytes.NewBufferString("sealwright key test ")
	if _, err := io.CopyN(canary, rand.Reader, 32); err != nil {
		return err
	}
	sig, err := s.Sign(c.Context(), canary.Bytes())
	if err != nil {
		return err
	}
	if err := s.Public().Verify(canary.Bytes(), sig); err != nil {
		return err
	}
	result := struct {
		Algorithm       policy.Algorithm `json:"algorithm"`
		PublicKeySHA256 string           `json:"public_key_sha256"`
		Verified        bool             `json:"verified"`
	}{s.Public().Algorithm(), s.Public().Fingerprint(), true}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "ok: signed and verified with %s, public_key_sha256: %s\n", result.Algorithm, result.PublicKeySHA256)
	})
}

// keyFlags say how to open a key that is named on the command line.
type keyFlags struct{ algorithm, passwordFile, passwordEnv string }

func (k *keyFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&k.algorithm, "algorithm", "", "`ALGORITHM` of the key (an RSA key needs it): "+strings.Join(policy.Algorithms, ", "))
	passwordFlags(c, &k.passwordFile, &k.passwordEnv)
}

func (k *keyFlags) open(c *cobra.Command, uri string) (kms.Signer, error) {
	if k.algorithm != "" && !slices.Contains(policy.Algorithms, k.algorithm) {
		return nil, usageError{fmt.Errorf("--algorithm %q: allowed: %s", k.algorithm, strings.Join(policy.Algorithms, ", "))}
	}
	s, err := kms.Open(c.Context(), kms.Config{URI: uri, Algorithm: policy.Algorithm(k.algorithm),
		Password: password(k.passwordFile, k.passwordEnv)})
	if err != nil {
		return nil, usageError{err}
	}
	return s, nil
}
