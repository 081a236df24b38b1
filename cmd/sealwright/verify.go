package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

func (a *app) verifyCommand() *cobra.Command {
	v := &verifier{app: a, clients: map[string]registry.Registry{}}
	c := &cobra.Command{
		Use:   "verify --key PUB IMAGE...",
		Short: "Verify images' signatures, any algorithm including SM2",
		Long: `Verify that each IMAGE (by tag or digest) carries a signature that one of the
public keys verifies over the image's digest and identity, in any format. The
identity is the image's repository, HOST/NAME, unless --identity says another.

cosign 3 and notation name no repository in what they sign: such signatures count
only with --no-identity.

Exit code 0 only if every image is verified.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return v.run(c.Context(), args) },
	}
	c.Flags().StringArrayVar(&v.keyFiles, "key", nil, "public key `FILE` (PEM); repeatable, one is enough to verify")
	c.Flags().StringVar(&v.algorithm, "algorithm", "", "only accept this `ALGORITHM` (default: every one the key can be used with)")
	c.Flags().StringVar(&v.identity, "identity", "", "the `IDENTITY` that must have been signed, HOST/NAME (default: the image's own)")
	c.Flags().BoolVar(&v.noIdentity, "no-identity", false, "also accept signatures that name no repository at all")
	c.Flags().StringVar(&v.elsewhere, "signature-repository", "", "`REPOSITORY` of the same registry that may hold cosign signatures too")
	c.Flags().BoolVar(&v.insecure, "insecure", false, "talk plain HTTP to the registry")
	c.Flags().StringVar(&v.dockerConfig, "docker-config", "", "docker configuration `FILE` with credentials (default: as docker finds it)")
	return c
}

type verifier struct {
	app                               *app
	keyFiles                          []string
	algorithm, identity, dockerConfig string
	elsewhere                         string
	insecure, noIdentity              bool
	keychain                          authn.Keychain
	keys                              []*kms.PublicKey
	clients                           map[string]registry.Registry
}

// verification is what verify found of one image.
type verification struct {
	Image       string           `json:"image"`
	Digest      string           `json:"digest,omitempty"`
	Verified    bool             `json:"verified"`
	Format      policy.Format    `json:"format,omitempty"`
	Identity    string           `json:"identity,omitempty"`
	Fingerprint string           `json:"public_key_sha256,omitempty"`
	Algorithm   policy.Algorithm `json:"algorithm,omitempty"`
	Error       string           `json:"error,omitempty"`
}

func (v *verifier) run(ctx context.Context, images []string) error {
	if err := v.prepare(); err != nil {
		return usageError{err}
	}
	results := make([]verification, 0, len(images))
	failed := false
	for _, image := range images {
		r, err := v.verifyInTime(ctx, image)
		if err != nil {
			r.Error = err.Error()
		}
		failed = failed || !r.Verified
		results = append(results, r)
	}
	if err := v.app.print(results, func(w io.Writer) { writeVerifications(w, results) }); err != nil {
		return err
	}
	if failed {
		return errIncomplete
	}
	return nil
}

func (v *verifier) prepare() error {
	if len(v.keyFiles) == 0 {
		return errors.New("--key is required: a public key file (PEM)")
	}
	if v.algorithm != "" && !slices.Contains(policy.Algorithms, v.algorithm) {
		return fmt.Errorf("--algorithm %q: allowed: %s", v.algorithm, strings.Join(policy.Algorithms, ", "))
	}
	for _, file := range v.keyFiles {
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		keys, err := v.parse(pem)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		v.keys = append(v.keys, keys...)
	}
	v.keychain = authn.DefaultKeychain
	if v.dockerConfig != "" {
		keychain, err := registry.DockerConfig(v.dockerConfig)
		if err != nil {
			return err
		}
		v.keychain = keychain
	}
	return nil
}

func (v *verifier) parse(pem []byte) ([]*kms.PublicKey, error) {
	if v.algorithm == "" {
		return kms.Candidates(pem)
	}
	key, err := kms.ParsePublicKey(pem, policy.Algorithm(v.algorithm))
	if err != nil {
		return nil, err
	}
	return []*kms.PublicKey{key}, nil
}

// verifyTimeout bounds the verification of one image, retries included.
const verifyTimeout = 15 * time.Second

func (v *verifier) verifyInTime(ctx context.Context, image string) (verification, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	return v.verify(ctx, image)
}

func (v *verifier) verify(ctx context.Context, image string) (verification, error) {
	r := verification{Image: image}
	client, repository, ref, err := v.locate(ctx, image)
	if err != nil {
		return r, err
	}
	d, err := client.Resolve(ctx, repository, ref)
	if err != nil {
		return r, err
	}
	r.Digest = d.Digest.String()
	wanted := v.identity
	if wanted == "" {
		if strings.HasPrefix(image, layoutPrefix) {
			return r, errors.New("an image in a directory needs --identity: the policy's domain, or the registry's name, and the repository")
		}
		wanted = client.Host() + "/" + repository
	}
	keys := make([]signature.Key, len(v.keys))
	for i, k := range v.keys {
		keys[i] = signature.Key{Verifier: k, Algorithm: k.Algorithm(), PublicKey: k.DER()}
	}
	signed := signature.NewLayouts(client).Image(signature.Subject{Repository: repository, Digest: d.Digest,
		MediaType: d.MediaType, Size: d.Size, Identity: wanted, Elsewhere: v.elsewhere}, signature.Witnesses{})
	found, unread := signed.Check(ctx, keys)
	if r, err = v.judge(r, found, wanted); err != nil && unread != nil {
		err = unread // there may be one where it could not be looked for
	}
	return r, err
}

// judge decides by the signatures that the keys verify.
func (v *verifier) judge(r verification, found []signature.Verified, wanted string) (verification, error) {
	var others []string
	unnamed := false
	for _, f := range found {
		if f.Identity == wanted || f.Identity == "" && v.noIdentity {
			key := v.keys[f.Verifier]
			r.Verified, r.Format, r.Identity, r.Fingerprint, r.Algorithm = true, f.Format, f.Identity, key.Fingerprint(), key.Algorithm()
			return r, nil
		}
		unnamed = unnamed || f.Identity == ""
		if f.Identity != "" && !slices.Contains(others, f.Identity) {
			others = append(others, f.Identity)
		}
	}
	switch {
	case len(others) > 0:
		return r, fmt.Errorf("signed by the key, but for %s instead of %s (see --identity)", strings.Join(others, ", "), wanted)
	case unnamed:
		return r, errors.New("signed by the key, but for no repository by name (see --no-identity)")
	}
	return r, errors.New("no signature that the key verifies")
}

// locate finds where an image is: HOST/NAME:TAG or @DIGEST in a registry, or
// oci-layout:DIR:TAG or @DIGEST in a directory.
func (v *verifier) locate(ctx context.Context, image string) (client registry.Registry, repository, ref string, err error) {
	if path, ok := strings.CutPrefix(image, layoutPrefix); ok {
		return v.locateInLayout(ctx, path)
	}
	parsed, err := name.ParseReference(image, name.WithDefaultTag("latest"))
	if err != nil {
		return nil, "", "", err
	}
	client, err = v.client(parsed.Context().RegistryStr(), "generic")
	return client, parsed.Context().RepositoryStr(), parsed.Identifier(), err
}

// layoutPrefix marks an image in an OCI layout directory.
const layoutPrefix = "oci-layout:"

func (v *verifier) locateInLayout(ctx context.Context, path string) (client registry.Registry, repository, ref string, err error) {
	dir, ref, ok := strings.Cut(path, "@")
	if !ok {
		i := strings.LastIndexByte(path, ':')
		if i < 0 || i < strings.LastIndexByte(path, '/') {
			return nil, "", "", fmt.Errorf("%s%s: a :TAG or @DIGEST is needed", layoutPrefix, path)
		}
		dir, ref = path[:i], path[i+1:]
	}
	if client, err = v.client(layoutPrefix+dir, "oci-layout"); err != nil {
		return nil, "", "", err
	}
	for repository, err := range client.Repositories(ctx) {
		return client, repository, ref, err
	}
	return nil, "", "", fmt.Errorf("%s%s: no OCI layout", layoutPrefix, dir)
}

func (v *verifier) client(host, kind string) (registry.Registry, error) {
	if c, ok := v.clients[host]; ok {
		return c, nil
	}
	c, err := registry.Open(registry.Config{Name: host, Host: host, Kind: kind, Insecure: v.insecure,
		Keychain: v.keychain, UserAgent: "sealwright/" + version()})
	if err != nil {
		return nil, err
	}
	v.clients[host] = c
	return c, nil
}

func writeVerifications(w io.Writer, results []verification) {
	for _, r := range results {
		if r.Verified {
			fmt.Fprintf(w, "verified  %s  %s  %s  %s  %s\n", r.Image, r.Digest, r.Algorithm, r.Fingerprint, r.Format)
		} else {
			fmt.Fprintf(w, "REFUSED   %s  %s  %s\n", r.Image, r.Digest, r.Error)
		}
	}
}
