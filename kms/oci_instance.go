package kms

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/common/auth"
)

const (
	// sessionBits is the size of the key that signs for an instance, as in the
	// OCI library.
	sessionBits = 2048
	// ociMetadata is where an instance asks who it is.
	ociMetadata = "http://169.254.169.254/opc/v2"
)

// An ociInstance logs in as the OCI instance the program runs on: it trades the
// instance's certificate for a token that names a key made here. The library
// can do that too, but without a context and with waits of minutes.
type ociInstance struct{ store *Store }

// An ociCertificate is what an instance shows of itself.
type ociCertificate struct {
	region       string
	leaf         *x509.Certificate
	intermediate *x509.Certificate
	identity     *ociIdentity // signs the request for a token
}

func (i *ociInstance) find(ctx context.Context) (*ociIdentity, error) {
	key, err := rsa.GenerateKey(rand.Reader, sessionBits)
	if err != nil {
		return nil, fmt.Errorf("making a session key: %w", err)
	}
	var token string
	err = i.store.call(ctx, "login", func(ctx context.Context) error {
		shown, err := i.certificate(ctx)
		if err != nil {
			return fmt.Errorf("asking the instance metadata service: %w", err)
		}
		token, err = i.trade(ctx, shown, &key.PublicKey)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("logging in as an OCI instance: %w", err)
	}
	return &ociIdentity{keyID: "ST$" + token, key: key}, nil
}

func (i *ociInstance) certificate(ctx context.Context) (*ociCertificate, error) {
	var files [4][]byte
	for n, path := range []string{"/instance/region", "/identity/cert.pem", "/identity/key.pem", "/identity/intermediate.pem"} {
		var err error
		if files[n], err = i.metadata(ctx, path); err != nil {
			return nil, err
		}
	}
	leaf, err := parseCertificate(files[1])
	if err != nil {
		return nil, err
	}
	intermediate, err := parseCertificate(files[3])
	if err != nil {
		return nil, err
	}
	noPassword := ""
	key, err := common.PrivateKeyFromBytes(files[2], &noPassword)
	if err != nil {
		return nil, notUnderstood("the instance's key is no RSA key in PEM")
	}
	tenancy := ociTenancy(leaf)
	if tenancy == "" {
		return nil, notUnderstood("the instance's certificate names no tenancy")
	}
	sum := strings.ReplaceAll(fmt.Sprintf("% x", sha256.Sum256(leaf.Raw)), " ", ":")
	return &ociCertificate{
		region: strings.TrimSpace(string(files[0])), leaf: leaf, intermediate: intermediate,
		identity: &ociIdentity{keyID: tenancy + "/fed-x509-sha256/" + sum, key: key},
	}, nil
}

func (i *ociInstance) metadata(ctx context.Context, path string) ([]byte, error) {
	base := cmp.Or(os.Getenv("OCI_METADATA_BASE_URL"), ociMetadata)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil) //nolint:gosec // the operator names the service
	if err != nil {
		return nil, errors.New("OCI_METADATA_BASE_URL is no URL")
	}
	req.Header.Set("Authorization", "Bearer Oracle") // shows that no browser was tricked into asking
	send := &exchange{client: i.store.client(), refusal: ociRefusal, text: true}
	resp, err := send.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it is in memory
	return io.ReadAll(resp.Body)
}

// trade gets a token for whoever signs with key.
func (i *ociInstance) trade(ctx context.Context, shown *ociCertificate, key *rsa.PublicKey) (string, error) {
	public, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("encoding the session key: %w", err)
	}
	request := struct {
		auth.X509FederationDetails `contributesTo:"body"`
	}{auth.X509FederationDetails{
		Certificate:              base64.StdEncoding.EncodeToString(shown.leaf.Raw),
		PublicKey:                base64.StdEncoding.EncodeToString(public),
		IntermediateCertificates: []string{base64.StdEncoding.EncodeToString(shown.intermediate.Raw)},
		FingerprintAlgorithm:     "SHA256",
	}}
	req, err := common.MakeDefaultHTTPRequestWithTaggedStruct(http.MethodPost, "", request)
	if err != nil {
		return "", fmt.Errorf("asking for a token: %w", err)
	}
	var answer struct {
		auth.Token `presentIn:"body"`
	}
	if err := ociCall(ctx, i.federation(shown), &req, &answer); err != nil {
		return "", fmt.Errorf("asking for a token: %w", err)
	}
	if answer.Token.Token == "" {
		return "", fmt.Errorf("asking for a token: %w", notUnderstood("it holds no token"))
	}
	return answer.Token.Token, nil
}

// federation is the service that gives out tokens. Its requests do not sign
// the host.
func (i *ociInstance) federation(shown *ociCertificate) common.BaseClient {
	signer := common.RequestSigner(shown.identity, []string{"date", "(request-target)"}, common.DefaultBodyHeaders())
	client := common.DefaultBaseClientWithSigner(signer)
	client.HTTPClient = &exchange{client: i.store.client(), refusal: ociRefusal}
	client.Configuration = common.CustomClientConfiguration{}
	client.Host = cmp.Or(os.Getenv("OCI_SDK_AUTH_CLIENT_REGION_URL"), common.StringToRegion(shown.region).Endpoint("auth"))
	client.BasePath = "v1/x509"
	return client
}

// ociTenancy is the tenancy that an instance's certificate names.
func ociTenancy(leaf *x509.Certificate) string {
	for _, name := range leaf.Subject.Names {
		if value, ok := name.Value.(string); ok {
			if tenancy, ok := strings.CutPrefix(value, "opc-tenant:"); ok {
				return tenancy
			}
		}
	}
	return ""
}

func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, notUnderstood("the instance's certificate is no PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, notUnderstood("the instance's certificate: " + err.Error())
	}
	return certificate, nil
}
