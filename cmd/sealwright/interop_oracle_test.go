//go:build interop

package main_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/artifacts"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// pssOptions are what OpenSSL needs to be told of Oracle's signatures.
var pssOptions = []string{"-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"}

// byOracle: of an image that is signed, the daemon uploads an image signature to Oracle's
// API, which here is its own; Oracle's SDK finds it and OpenSSL verifies it. So it is with
// one that OpenSSL made.
func (v *vendorCourt) byOracle(t *testing.T) {
	v.signHuawei(t, "oracle")
	v.judge(t, "oracle/app")
	c := v.Oracle(t, v.oracle)
	image := v.oracleImage(t, c, "oracle/app")
	var list []artifacts.ContainerImageSignatureSummary
	registrytest.Eventually(t, time.Minute, "the signature is uploaded", func() bool {
		list = v.uploads(t, c, *image.Digest)
		return len(list) > 0
	})
	ours := v.readBack(t, c, image, *list[0].Id)
	if len(list) != 1 || *list[0].Message != *ours.Message {
		t.Errorf("listed %v, read %v", list, ours)
	}

	message := fmt.Sprintf(`{"description":"by hand","imageDigest":"%s","kmsKeyId":"%s","kmsKeyVersionId":"%s","metadata":"","region":"us-phoenix-1","repositoryName":"oracle/app","signingAlgorithm":"SHA_256_RSA_PKCS_PSS"}`,
		v.images["oracle/app"], ociKey, ociVersion)
	details := artifacts.CreateContainerImageSignatureDetails{CompartmentId: pointerTo(ociCompartment), ImageId: image.Id,
		KmsKeyId: pointerTo(ociKey), KmsKeyVersionId: pointerTo(ociVersion), Message: pointerTo(base64.StdEncoding.EncodeToString([]byte(message))),
		Signature: pointerTo(v.signPSS(t, "pkcs1", message)), SigningAlgorithm: "SHA_256_RSA_PKCS_PSS"}
	create := func() (artifacts.CreateContainerImageSignatureResponse, error) {
		return c.CreateContainerImageSignature(t.Context(), artifacts.CreateContainerImageSignatureRequest{CreateContainerImageSignatureDetails: details})
	}
	if made, err := create(); err == nil {
		t.Errorf("a signature by another key was taken: %v", made)
	}
	details.Signature = pointerTo(v.signPSS(t, "pss", message))
	made, err := create()
	if err != nil {
		t.Fatal(err)
	}
	read := v.readBack(t, c, image, *made.Id)
	if *read.Message != *details.Message || *read.Signature != *details.Signature || *read.Id == *ours.Id {
		t.Errorf("uploaded %v, read %v", details, read)
	}
	if list := v.uploads(t, c, *image.Digest); len(list) != 2 {
		t.Errorf("%d signatures, want the daemon's and that by hand: %v", len(list), list)
	}
}

// oracleImage finds an image in each way that Oracle's SDK has, which must be the one
// that was pushed, under one id.
func (v *vendorCourt) oracleImage(t *testing.T, c artifacts.ArtifactsClient, repository string) artifacts.ContainerImage {
	t.Helper()
	found, err := c.LookupContainerImageByUri(t.Context(), artifacts.LookupContainerImageByUriRequest{
		LookupContainerImageByUriDetails: artifacts.LookupContainerImageByUriDetails{ImageUri: pointerTo("court/" + repository + ":v1")}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetContainerImage(t.Context(), artifacts.GetContainerImageRequest{ImageId: found.Id})
	if err != nil {
		t.Fatal(err)
	}
	listed, err := c.ListContainerImages(t.Context(), artifacts.ListContainerImagesRequest{CompartmentId: pointerTo(ociCompartment), RepositoryName: &repository, Version: pointerTo("v1")})
	if err != nil || len(listed.Items) != 1 {
		t.Fatalf("%v, %v", listed, err)
	}
	digest := v.images[repository].String()
	if *found.Digest != digest || *got.Digest != digest || *listed.Items[0].Digest != digest || *got.Id != *found.Id || *listed.Items[0].Id != *found.Id {
		t.Errorf("pushed %s, looked up %v, got %v, listed %v", digest, found, got, listed)
	}
	return found.ContainerImage
}

func (v *vendorCourt) uploads(t *testing.T, c artifacts.ArtifactsClient, digest string) []artifacts.ContainerImageSignatureSummary {
	t.Helper()
	list, err := c.ListContainerImageSignatures(t.Context(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: pointerTo(ociCompartment), ImageDigest: &digest})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// readBack reads a signature with Oracle's SDK, which must be about the image, and has
// OpenSSL judge it.
func (v *vendorCourt) readBack(t *testing.T, c artifacts.ArtifactsClient, image artifacts.ContainerImage, id string) artifacts.ContainerImageSignature {
	t.Helper()
	read, err := c.GetContainerImageSignature(t.Context(), artifacts.GetContainerImageSignatureRequest{ImageSignatureId: &id})
	if err != nil {
		t.Fatal(err)
	}
	message, err := base64.StdEncoding.DecodeString(*read.Message)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := base64.StdEncoding.DecodeString(*read.Signature)
	if err != nil {
		t.Fatal(err)
	}
	if *read.ImageId != *image.Id || *read.KmsKeyId != ociKey || *read.KmsKeyVersionId != ociVersion || !strings.Contains(string(message), `"imageDigest":"`+*image.Digest+`"`) {
		t.Errorf("read %v of %s, want it about %v", read, message, image)
	}
	dir := t.TempDir()
	f := exhibit{dir, v.pub("pss"), writeFile(t, dir, "message", string(message), 0o600), writeFile(t, dir, "signature", string(signature), 0o600)}
	openssl := func(f exhibit) outcome {
		args := append([]string{"dgst", "-verify", f.key, "-signature", f.signature}, pssOptions...)
		return program{path: tool(t, "OPENSSL")}.run(t, append(args, f.payload)...)
	}
	openssl(f).accepted(t)
	openssl(f.tampered(t)).refused(t, "erif")
	openssl(f.withKey(v.pub("pkcs1"))).refused(t, "erif")
	return read.ContainerImageSignature
}

// signPSS has OpenSSL sign a message with a key of the court.
func (v *vendorCourt) signPSS(t *testing.T, key, message string) string {
	t.Helper()
	args := append([]string{"dgst", "-sign", v.key(key)}, pssOptions...)
	signature := program{path: tool(t, "OPENSSL")}.run(t, append(args, writeFile(t, t.TempDir(), "message", message, 0o600))...).accepted(t)
	return base64.StdEncoding.EncodeToString([]byte(signature))
}
