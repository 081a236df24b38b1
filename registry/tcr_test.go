package registry

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// The secret of the vendor's examples, which is none.
const (
	exampleSecretID  = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE"
	exampleSecretKey = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
)

// tcrAPI is an instance, and the configuration that finds it.
func tcrAPI(t *testing.T, host string, c *registrytest.Contents) (*registrytest.Server, Config) {
	t.Helper()
	s := registrytest.TCR(t, c, registrytest.TCRAPI{
		Instance: "tcr-f7g1ir99", Region: "ap-guangzhou", SecretID: exampleSecretID, SecretKey: exampleSecretKey,
	})
	cfg := config(host)
	cfg.Kind, cfg.API = KindTCR, "http://"+s.Host
	cfg.Cloud = Cloud{Region: "ap-guangzhou", Instance: "tcr-f7g1ir99", AccessKey: exampleSecretID, Secret: secretOf(exampleSecretKey)}
	return s, cfg
}

func TestSuiteTCR(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		s := registrytest.Memory(t)
		api, cfg := tcrAPI(t, s.Host, registrytest.Watch(t, s))
		cfg.PageSize = 5
		r := open(t, cfg)
		target := suiteTarget(r, s)
		target.API, target.PageSize = api, cfg.PageSize
		target.Fill = fillTags(s, "team/many", func() {
			r.(*listed).lister.(*tcrLister).size, target.PageSize = tcrPage, tcrPage
		})
		target.Refuse, target.Throttle = registrytest.TCRRefuse, registrytest.TCRThrottle
		target.Concerns = func(r *http.Request, repository string) bool {
			name := `"RepositoryName":"` + strings.TrimPrefix(repository, "team/") + `"`
			return strings.Contains(peek(t, r), name)
		}
		return target
	})
}

// TestTC3: the examples of Tencent's documentation.
func TestTC3(t *testing.T) {
	t.Parallel()
	const body = `{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}`
	for name, c := range map[string]struct {
		key    cloudKey
		signed []string
		want   string
	}{
		"old": {
			cloudKey{id: exampleSecretID, secret: exampleSecretKey}, []string{"content-type", "host"},
			"72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168",
		},
		"with the action": {
			cloudKey{id: exampleSecretID, secret: "Gu5t9xGARNpq86cd98joQYCN3*******"}, []string{"content-type", "host", "x-tc-action"},
			"be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequest(http.MethodPost, "https://cvm.tencentcloudapi.com/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json; charset=utf-8")
			req.Header.Set("X-TC-Action", "DescribeInstances")
			got := tc3Authorization(req, []byte(body), c.key, "cvm", c.signed, time.Unix(1551113065, 0))
			want(t, got, "TC3-HMAC-SHA256 Credential="+exampleSecretID+"/2019-02-25/cvm/tc3_request, SignedHeaders="+
				strings.Join(c.signed, ";")+", Signature="+c.want, "authorization")
		})
	}
}

// TestTC3LikeTheVendor: the vendor's own client signs the same.
func TestTC3LikeTheVendor(t *testing.T) {
	t.Parallel()
	settings := profile.NewClientProfile()
	settings.HttpProfile.Endpoint = "tcr.example.com:8443"
	var sent *http.Request
	sdk := common.NewCommonClient(common.NewCredential(exampleSecretID, exampleSecretKey), "ap-guangzhou", settings).
		WithHttpTransport(answerFunc(func(req *http.Request) (*http.Response, error) {
			sent = req
			return nil, errors.New("seen")
		}))
	request := tchttp.NewCommonRequest("tcr", tcrVersion, "DescribeImages")
	if err := request.SetActionParameters(map[string]any{"RegistryId": "tcr-f7g1ir99"}); err != nil {
		t.Fatal(err)
	}
	if err := sdk.Send(request, tchttp.NewCommonResponse()); err == nil || sent == nil {
		t.Fatalf("the client sent nothing: %v", err)
	}
	seconds, err := strconv.ParseInt(sent.Header.Get("X-TC-Timestamp"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	_, names, _ := strings.Cut(sent.Header.Get("Authorization"), "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	key := cloudKey{id: exampleSecretID, secret: exampleSecretKey}
	got := tc3Authorization(sent, []byte(peek(t, sent)), key, "tcr", strings.Split(names, ";"), time.Unix(seconds, 0))
	want(t, got, sent.Header.Get("Authorization"), "authorization")
}

// TestTCRRefusals: what the codes mean, though every answer has status 200.
func TestTCRRefusals(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]error{
		"AuthFailure.SignatureFailure":              ErrUnauthorized,
		"AuthFailure.UnauthorizedOperation":         ErrForbidden,
		"UnauthorizedOperation":                     ErrForbidden,
		"InternalError.ErrorTcrUnauthorized":        ErrForbidden,
		"ResourceNotFound.TcrResourceNotFound":      ErrNotFound,
		"UnsupportedOperation":                      ErrUnsupported,
		"InvalidParameter.ErrorTcrInvalidParameter": ErrRejected,
		"InternalError.ErrorTcrResourceConflict":    ErrRejected,
		"FailedOperation.DependenceError":           ErrRejected,
		"RequestLimitExceeded.UinLimitExceeded":     ErrRateLimited,
		"InternalError":                             ErrUnavailable,
		"InternalError.ErrorTcrInternal":            ErrUnavailable,
		"SomethingNew.Entirely":                     ErrRejected,
		"ResourceNotFound":                          ErrNotFound,
		"InvalidAction":                             ErrUnsupported,
	} {
		e := newResponseError(tcrStatus(code), []diagnostic{{Code: code, Message: "words"}})
		if !errors.Is(e, want) || !strings.Contains(e.Error(), code) {
			t.Errorf("%s: %v, want %v", code, e, want)
		}
	}
}

// TestTCRRepositoryNames: with the namespace, as in the vendor's examples, and
// without.
func TestTCRRepositoryNames(t *testing.T) {
	t.Parallel()
	for r, full := range map[tcrRepository]string{
		{Name: "library/busybox", Namespace: "library"}: "library/busybox",
		{Name: "busybox", Namespace: "library"}:         "library/busybox",
		{Name: "deep/busybox", Namespace: "library"}:    "library/deep/busybox",
	} {
		want(t, r.full(), full, "name")
	}
}

// TestTCRConfiguration: everything that is wrong is said at once.
func TestTCRConfiguration(t *testing.T) {
	for _, name := range []string{"TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_REGION"} {
		t.Setenv(name, "")
	}
	cfg := config("127.0.0.1:1")
	cfg.Kind, cfg.Cloud.Instance = KindTCR, "8d9b3f5e"
	_, err := Open(cfg)
	for _, field := range []string{"cloud.region", "cloud.instance", "TENCENTCLOUD_SECRET_ID"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not in %v", field, err)
		}
	}
	t.Setenv("TENCENTCLOUD_SECRET_ID", "id")
	t.Setenv("TENCENTCLOUD_SECRET_KEY", "key")
	t.Setenv("TENCENTCLOUD_REGION", "ap-guangzhou")
	cfg.Cloud.Instance = "tcr-f7g1ir99"
	if r := open(t, cfg).(*listed); r.lister.(*tcrLister).api.base.String() != tcrHost {
		t.Errorf("API at %s", r.lister.(*tcrLister).api.base)
	}
}

// FuzzTCRStatuses: an answer reaches its reader whole, whatever it says.
func FuzzTCRStatuses(f *testing.F) {
	f.Add(`{"Response":{"Error":{"Code":"RequestLimitExceeded","Message":"x"},"RequestId":"y"}}`)
	f.Add(`{"Response":{"ImageInfoList":[{"Digest":"sha256:` + strings.Repeat("2", 64) + `","ImageVersion":"v1","Kind":"Artifact::x"}],"TotalCount":1}}`)
	f.Add(`{"Response":null}`)
	f.Add(`{"Response":{"Error":null}}`)
	f.Add(strings.Repeat("x", maxErrorBody+10))
	f.Fuzz(func(t *testing.T, body string) {
		resp, err := tcrStatuses{answering(t, body, http.StatusOK).transport.base}.RoundTrip(&http.Request{})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := readAll(resp, 1<<30)
		if err != nil || string(raw) != body {
			t.Errorf("%v: %q became %q", err, body, raw)
		}
		if (resp.StatusCode != http.StatusOK) != (len(tcrDiagnostics([]byte(body))) > 0) && len(body) <= maxErrorBody {
			t.Errorf("status %d of %q", resp.StatusCode, body)
		}
	})
}

// peek returns a request's body, and leaves it to be read again.
func peek(t *testing.T, r *http.Request) string {
	t.Helper()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	return string(raw)
}
