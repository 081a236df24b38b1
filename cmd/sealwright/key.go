package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/configs"
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
	Version         string           `json:"key_version,omitempty"`
	PrivateFile     string           `json:"private_file,omitempty"`
	PublicFile      string           `json:"public_file,omitempty"`
}

func (a *app) printKey(pub *kms.PublicKey, privateFile, publicFile string) error {
	info := keyInfo{Algorithm: pub.Algorithm(), PublicKeySHA256: pub.Fingerprint(), PublicKey: string(pub.PEM()),
		PrivateFile: privateFile, PublicFile: publicFile}
	return a.print(info, func(w io.Writer) {
		fmt.Fprintf(w, "%s\npublic_key_sha256: %s\n", info.Algorithm, info.PublicKeySHA256)
		fmt.Fprintf(w, "private key: %s\npublic key:  %s\n", privateFile, publicFile)
	})
}

func (a *app) keyPublicCommand() *cobra.Command {
	k := &keyFlags{app: a}
	var format string
	c := &cobra.Command{
		Use:   "public URI|NAME",
		Short: "Print a key's public half, with its fingerprint",
		Long: `Print the public half of the key with this URI, or of the key of this name in
the configuration, as PEM or as a JSON Web Key. Its fingerprint, which
public_key_sha256 pins, goes to standard error.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if format != "pem" && format != "jwk" {
				return usageError{fmt.Errorf("--format %q: allowed: pem, jwk", format)}
			}
			s, err := k.open(c, args[0])
			if err != nil {
				return err
			}
			return errors.Join(a.printPublic(s, format), s.Close())
		},
	}
	c.Flags().StringVar(&format, "format", "pem", "`FORMAT` of the key: pem or jwk")
	k.add(c)
	return c
}

func (a *app) printPublic(s kms.Signer, format string) error {
	pub := s.Public()
	text := string(pub.PEM())
	if format == "jwk" {
		jwk, err := pub.JWK()
		if err != nil {
			return err
		}
		text = string(jwk) + "\n"
	}
	info := keyInfo{Algorithm: pub.Algorithm(), PublicKeySHA256: pub.Fingerprint(), PublicKey: text, Version: s.Version()}
	version := ""
	if info.Version != "" {
		version = ", version: " + info.Version
	}
	fmt.Fprintf(a.err, "%s, public_key_sha256: %s%s\n", info.Algorithm, info.PublicKeySHA256, version)
	return a.print(info, func(w io.Writer) { fmt.Fprint(w, info.PublicKey) })
}

func (a *app) keyTestCommand() *cobra.Command {
	k := &keyFlags{app: a}
	c := &cobra.Command{
		Use:   "test URI|NAME",
		Short: "Sign a random message with a key and verify the signature",
		Long: `Sign a random message with the key with this URI, or with the key of this name
in the configuration, and verify the signature with its public half.`,
		Args: cobra.ExactArgs(1),
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
	if err := kms.Canary(c.Context(), s); err != nil {
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
type keyFlags struct {
	app                                         *app
	algorithm, passwordFile, passwordEnv, store string
}

func (k *keyFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&k.algorithm, "algorithm", "", "`ALGORITHM` of the key (an RSA key needs it): "+strings.Join(policy.Algorithms, ", "))
	c.Flags().StringVar(&k.store, "store", "", "key store of the configuration, by `NAME`, that the URI is a key of")
	passwordFlags(c, &k.passwordFile, &k.passwordEnv)
}

// open opens a key by its URI or, if it has no scheme, by its name in the
// configuration.
func (k *keyFlags) open(c *cobra.Command, key string) (kms.Signer, error) {
	if k.algorithm != "" && !slices.Contains(policy.Algorithms, k.algorithm) {
		return nil, usageError{fmt.Errorf("--algorithm %q: allowed: %s", k.algorithm, strings.Join(policy.Algorithms, ", "))}
	}
	cfg := &configs.Config{}
	described := configs.Key{Name: key, URI: key, Store: k.store, Algorithm: policy.Algorithm(k.algorithm),
		PasswordFile: k.passwordFile, PasswordEnv: k.passwordEnv}
	named := !strings.Contains(key, ":")
	if named || k.store != "" {
		var err error
		if cfg, err = k.app.read(); err != nil {
			return nil, err
		}
	}
	if named {
		found, ok := cfg.Key(key)
		if !ok {
			return nil, usageError{fmt.Errorf("no key is named %q in the configuration, and a URI has a scheme, such as file:%s", key, key)}
		}
		described = *found
	} else if _, ok := cfg.KeyStore(k.store); !ok && k.store != "" {
		return nil, usageError{fmt.Errorf("--store: no key store is named %q in the configuration", k.store)}
	}
	opened, err := (&opener{}).oneKey(c.Context(), cfg, described)
	if err != nil {
		return nil, usageError{err}
	}
	if opened.Err != nil {
		return nil, opened.Err
	}
	return opened.Signer, nil
}
