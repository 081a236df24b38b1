package controltest

import (
	"crypto/md5" //nolint:gosec // Oracle's fingerprint of a key
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	apig "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2"
	swr "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	oracle "github.com/oracle/oci-go-sdk/v65/common"
	tencent "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

// Project is what Huawei's clients call their project.
const Project = "0123456789abcdef0123456789abcdef"

// Vendors are the vendors' own clients for a daemon at a URL, http://HOST:PORT.
type Vendors struct{ URL string }

// SWR returns Huawei's client of SWR.
func (v Vendors) SWR(t testing.TB, accessKey, secret string) *swr.SwrClient {
	t.Helper()
	client, err := swr.SwrClientBuilder().WithEndpoints([]string{v.URL}).WithCredential(huawei(t, accessKey, secret)).SafeBuild()
	if err != nil {
		t.Fatal(err)
	}
	return swr.NewSwrClient(client)
}

// APIG returns Huawei's client of APIG.
func (v Vendors) APIG(t testing.TB, accessKey, secret string) *apig.ApigClient {
	t.Helper()
	client, err := apig.ApigClientBuilder().WithEndpoints([]string{v.URL}).WithCredential(huawei(t, accessKey, secret)).SafeBuild()
	if err != nil {
		t.Fatal(err)
	}
	return apig.NewApigClient(client)
}

func huawei(t testing.TB, accessKey, secret string) *basic.Credentials {
	t.Helper()
	credentials, err := basic.NewCredentialsBuilder().WithAk(accessKey).WithSk(secret).WithProjectId(Project).SafeBuild()
	if err != nil {
		t.Fatal(err)
	}
	return credentials
}

// A TCR is Tencent's client of TCR.
type TCR struct{ client *tencent.Client }

// TCR returns Tencent's client.
func (v Vendors) TCR(accessKey, secret string) TCR {
	p := profile.NewClientProfile()
	p.HttpProfile.Scheme, p.HttpProfile.Endpoint = "HTTP", strings.TrimPrefix(v.URL, "http://")
	return TCR{tencent.NewCommonClient(tencent.NewCredential(accessKey, secret), "ap-guangzhou", p)}
}

// Call calls an action, and reads what is answered into response unless that is nil.
func (c TCR) Call(action string, params map[string]any, response any) error {
	req := tchttp.NewCommonRequest("tcr", "2019-09-24", action)
	if err := req.SetActionParameters(params); err != nil {
		return err
	}
	resp := tchttp.NewCommonResponse()
	if err := c.client.Send(req, resp); err != nil || response == nil {
		return err
	}
	var answer struct{ Response json.RawMessage }
	if err := json.Unmarshal(resp.GetBody(), &answer); err != nil {
		return err
	}
	return json.Unmarshal(answer.Response, response)
}

// An OracleKey is an API key of OCI with its id.
type OracleKey struct {
	private *rsa.PrivateKey
	// ID is the key's id; PublicPEM is its public half.
	ID        string
	PublicPEM []byte
}

const oracleTenancy, oracleUser = "ocid1.tenancy.oc1..aaaaaaaaexampletenancy", "ocid1.user.oc1..aaaaaaaaexampleuser"

// NewOracleKey makes an API key.
func NewOracleKey(t testing.TB) OracleKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return OracleKey{key, oracleTenancy + "/" + oracleUser + "/" + fingerprint(der), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
}

// ConfigFile writes the configuration file of the OCI tools of who asks with the key, and
// returns its path.
func (k OracleKey) ConfigFile(t testing.TB) string {
	t.Helper()
	config, file := filepath.Join(t.TempDir(), "config"), filepath.Join(t.TempDir(), "api.pem")
	text := fmt.Sprintf("[DEFAULT]\ntenancy=%s\nuser=%s\nfingerprint=%s\nkey_file=%s\n", oracleTenancy, oracleUser, k.fingerprint(), file)
	if err := errors.Join(os.WriteFile(file, k.privatePEM(), 0o600), os.WriteFile(config, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	return config
}

func (k OracleKey) fingerprint() string { return k.ID[strings.LastIndexByte(k.ID, '/')+1:] }

func (k OracleKey) privatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k.private)})
}

func fingerprint(der []byte) string {
	sum := md5.Sum(der) //nolint:gosec // as above
	return strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":")
}

// Oracle returns Oracle's client of Artifacts.
func (v Vendors) Oracle(t testing.TB, k OracleKey) artifacts.ArtifactsClient {
	t.Helper()
	c, err := artifacts.NewArtifactsClientWithConfigurationProvider(
		oracle.NewRawConfigurationProvider(oracleTenancy, oracleUser, "us-phoenix-1", k.fingerprint(), string(k.privatePEM()), nil))
	if err != nil {
		t.Fatal(err)
	}
	c.Host = v.URL
	return c
}

// SWRPolicy is what Huawei's SDK sends to have everything of a namespace signed
// with a key for ECDSA with P-256, by hand.
func SWRPolicy(name, key string) *model.CreateSignaturePolicyRequestBody {
	return &model.CreateSignaturePolicyRequestBody{Name: name, Enabled: true, SignatureKey: key,
		SignatureMethod:    model.GetCreateSignaturePolicyRequestBodySignatureMethodEnum().KMS,
		SignatureAlgorithm: model.GetCreateSignaturePolicyRequestBodySignatureAlgorithmEnum().ECDSA_SHA_256,
		Trigger:            &model.TriggerConfig{Type: model.GetTriggerConfigTypeEnum().MANUAL},
		ScopeRules: []model.SignScopeRule{{RepoScopeMode: "regular",
			TagSelectors:   []model.SignRuleSelector{{Kind: "doublestar", Decoration: "matches", Pattern: "**"}},
			ScopeSelectors: map[string][]model.SignRuleSelector{"repository": {{Kind: "doublestar", Decoration: "repoMatches", Pattern: "**"}}}}}}
}
