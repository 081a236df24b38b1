package tcr_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	sdkerrors "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
	"go.uber.org/zap/zaptest"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/tcr"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// An estate is a house with the API in front, and Tencent's SDK to call it.
type estate struct {
	*controltest.House
	t   *testing.T
	url string
	// signed is the time of the last request that was made by hand.
	signed time.Time
}

// one is of the instance that the callers see, with one image.
func newEstate(t *testing.T, o controltest.Options) *estate {
	t.Helper()
	o.Rights.PerSecond, o.Rights.Burst = 1000, 1000
	e := &estate{House: controltest.New(t, o), t: t, signed: time.Now()}
	e.url = e.Serve(t, tcr.New(tcr.Options{Engine: e.Engine, Door: e.Door, Rights: e.Rights, Log: zaptest.NewLogger(t)}))
	return e
}

// push pushes an image that was not there before.
func (e *estate) push(ref string) string {
	e.t.Helper()
	return e.Server.Push(e.t, ref, registrytest.Image(e.t)).String()
}

// A client is a caller with Tencent's SDK.
type client struct {
	*common.Client
	t *testing.T
}

func (e *estate) client(key, secret string, change func(*profile.ClientProfile)) client {
	p := profile.NewClientProfile()
	p.HttpProfile.Scheme, p.HttpProfile.Endpoint = "HTTP", strings.TrimPrefix(e.url, "http://")
	if change != nil {
		change(p)
	}
	return client{common.NewCommonClient(common.NewCredential(key, secret), "ap-guangzhou", p), e.t}
}

func (e *estate) admin() client {
	return e.client(controltest.AdminKey, controltest.AdminSecret, nil)
}

func (e *estate) operator() client {
	return e.client(controltest.OperatorKey, controltest.OperatorSecret, nil)
}

func (e *estate) viewer() client {
	return e.client(controltest.ViewerKey, controltest.ViewerSecret, nil)
}

func (e *estate) stranger() client {
	return e.client(controltest.StrangerKey, controltest.StrangerSecret, nil)
}

// params are those of a request.
type params map[string]any

// with returns the params with others set, or left out if they are nil.
func (p params) with(more params) params {
	out := params{}
	for name, value := range p {
		out[name] = value
	}
	for name, value := range more {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

var requestID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// try calls an action and returns what it answers, or Tencent's code of why not.
func (c client) try(action string, p params) (map[string]any, *sdkerrors.TencentCloudSDKError) {
	c.t.Helper()
	req := tchttp.NewCommonRequest("tcr", "2019-09-24", action)
	if err := req.SetActionParameters(map[string]any(p)); err != nil {
		c.t.Fatal(err)
	}
	answer := tchttp.NewCommonResponse()
	err := c.Send(req, answer)
	if said := (*sdkerrors.TencentCloudSDKError)(nil); errors.As(err, &said) {
		if !requestID.MatchString(said.RequestId) {
			c.t.Errorf("%s: request id %q of %v", action, said.RequestId, said)
		}
		return nil, said
	}
	if err != nil {
		c.t.Fatal(err)
	}
	var body struct{ Response map[string]any }
	if err := json.Unmarshal(answer.GetBody(), &body); err != nil {
		c.t.Fatal(err)
	}
	if id, _ := body.Response["RequestId"].(string); !requestID.MatchString(id) {
		c.t.Errorf("%s: request id %q", action, id)
	}
	return body.Response, nil
}

// call calls an action, which must succeed, and fills the answer in.
func (c client) call(action string, p params, into any) {
	c.t.Helper()
	answer, err := c.try(action, p)
	if err != nil {
		c.t.Fatalf("%s %v: %v", action, p, err)
	}
	raw, encodeErr := json.Marshal(answer)
	if encodeErr == nil && into != nil {
		encodeErr = json.Unmarshal(raw, into)
	}
	if encodeErr != nil {
		c.t.Fatal(encodeErr)
	}
}

// refused calls an action that must be refused with a code, and a message in which
// the words are.
func (c client) refused(action string, p params, code string, words ...string) {
	c.t.Helper()
	answer, err := c.try(action, p)
	switch {
	case err == nil:
		c.t.Errorf("%s %v: answered %v, want %s", action, p, answer, code)
	case err.Code != code:
		c.t.Errorf("%s %v: %v, want %s", action, p, err, code)
	default:
		for _, w := range words {
			if !strings.Contains(err.Message, w) {
				c.t.Errorf("%s %v: %q does not say %q", action, p, err.Message, w)
			}
		}
	}
}

// library is the policy of Tencent's own example.
func library() params {
	return params{"RegistryId": controltest.Instance, "Name": "library signing", "NamespaceName": "library",
		"KmsId": controltest.KeyAlias, "KmsRegion": "", "Disabled": false}
}

func inLibrary() params {
	return params{"RegistryId": controltest.Instance, "NamespaceName": "library"}
}

func app(tag string) params {
	return params{"RegistryId": controltest.Instance, "NamespaceName": "library", "RepositoryName": "app", "ImageVersion": tag}
}

type imageList struct {
	ImageInfoList []imageInfo
	TotalCount    int
}

type imageInfo struct {
	Digest, ImageVersion, Kind, KmsSignature string
	Size                                     int64
}

type namespaceList struct {
	NamespaceList []struct {
		Name        string
		NamespaceID int64 `json:"NamespaceId"`
		Metadata    []struct{ Key, Value string }
	}
	TotalCount int
}

// policies returns what the namespaces say of their policies, by name.
func (c client) policies() map[string]string {
	c.t.Helper()
	var list namespaceList
	c.call("DescribeNamespaces", params{"RegistryId": controltest.Instance, "All": true, "KmsSignPolicy": true}, &list)
	out := map[string]string{}
	for _, n := range list.NamespaceList {
		for _, m := range n.Metadata {
			if m.Key == "kms_sign" {
				out[n.Name] = m.Value
			}
		}
	}
	return out
}

// image returns what there is to say of one tag of library/app.
func (c client) image(tag string) imageInfo {
	c.t.Helper()
	var list imageList
	c.call("DescribeImages", app(tag).with(params{"ExactMatch": true}), &list)
	if len(list.ImageInfoList) != 1 || list.TotalCount != 1 {
		c.t.Fatalf("%s: %+v", tag, list)
	}
	return list.ImageInfoList[0]
}

// signed waits until a tag of library/app carries its policy's signature.
func (c client) signed(tag string) imageInfo {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if i := c.image(tag); i.KmsSignature != "" {
			return i
		}
		if time.Now().After(end) {
			c.t.Fatalf("%s is not signed", tag)
		}
	}
}
