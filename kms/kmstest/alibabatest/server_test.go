package alibabatest

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"testing"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	kms "github.com/alibabacloud-go/kms-20160120/v3/client"
	"github.com/alibabacloud-go/tea/tea"
)

// The values are those of the test of Alibaba's own signer.
func TestSignVector(t *testing.T) {
	query := url.Values{"test": {"ok"}, "empty": {""}}
	request := canonical("", "", query, "x-acs-test:http,https\n", []string{"x-acs-test"},
		"55e12e91650d2fec56ec74e1d3e4ddbfce2ef3a65890c2a19ecf88a307e76a23")
	const want = "4ab59fffe3c5738ff8a2729f90cc04fe18b02a4b15b2102cbaf92f9ff3df2ea3"
	if got := sign(request, "secret"); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

func generated(t *testing.T, s *Server, secret string) *kms.Client {
	t.Helper()
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kms.NewClient(&openapi.Config{
		AccessKeyId: tea.String(AccessKey), AccessKeySecret: tea.String(secret),
		Endpoint: tea.String(at.Host), Protocol: tea.String("HTTP"), RegionId: tea.String("cn-hangzhou"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// What the server says is what Alibaba's generated package understands.
func TestGeneratedClient(t *testing.T) {
	s := New(t)
	id := s.CreateKey(t, "EC_P256")
	client := generated(t, s, Secret)
	described, err := client.DescribeKey(&kms.DescribeKeyRequest{KeyId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if got := tea.StringValue(described.Body.KeyMetadata.KeyUsage); got != "SIGN/VERIFY" {
		t.Errorf("usage %q", got)
	}
	listed, err := client.ListKeyVersions(&kms.ListKeyVersionsRequest{KeyId: &id, PageNumber: tea.Int32(1), PageSize: tea.Int32(10)})
	if err != nil {
		t.Fatal(err)
	}
	version := listed.Body.KeyVersions.KeyVersion[0].KeyVersionId
	digest := sha256.Sum256([]byte("message"))
	signed, err := client.AsymmetricSign(&kms.AsymmetricSignRequest{
		KeyId: &id, KeyVersionId: version, Algorithm: tea.String("ECDSA_SHA_256"),
		Digest: tea.String(base64.StdEncoding.EncodeToString(digest[:])),
	})
	if err != nil {
		t.Fatal(err)
	}
	if tea.StringValue(signed.Body.Value) == "" || tea.StringValue(signed.Body.KeyVersionId) != tea.StringValue(version) {
		t.Errorf("answer %v", signed.Body)
	}
}

func TestGeneratedClientIsRefused(t *testing.T) {
	s := New(t)
	id := s.CreateKey(t, "EC_P256")
	if _, err := generated(t, s, "another").DescribeKey(&kms.DescribeKeyRequest{KeyId: &id}); err == nil {
		t.Error("a wrong secret was let in")
	}
}
