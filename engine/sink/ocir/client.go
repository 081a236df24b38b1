package ocir

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/sink"
)

const (
	// requestTimeout bounds one request with its answer.
	requestTimeout = 15 * time.Second
	// answerLimit bounds an answer: a page of signatures, each with a message of 4 KiB.
	answerLimit = 4 << 20
	// pageSize is how many signatures are asked for at a time.
	pageSize = 100
)

// The states of what is not there any more.
const (
	imageDeleting = artifacts.ContainerImageLifecycleStateDeleting
	imageDeleted  = artifacts.ContainerImageLifecycleStateDeleted
	deleting      = artifacts.ContainerImageSignatureLifecycleStateDeleting
	deleted       = artifacts.ContainerImageSignatureLifecycleStateDeleted
)

// errAnswer is wrapped by errors about an answer that is none of the API's.
var errAnswer = errors.New("an answer of Oracle's is not understood")

// A refusal is an answer other than 200. Its text is not kept, as it may repeat what
// was sent.
type refusal struct {
	status    int
	code      string
	requestID string
	after     time.Duration // that Oracle asks to wait; 0: it does not
}

func (r *refusal) Error() string {
	said := fmt.Sprintf("Oracle answered %d %s", r.status, http.StatusText(r.status))
	if r.status/100 == 3 {
		said += ": redirects are not followed"
	}
	if r.code != "" {
		said += ": " + r.code
	}
	if r.requestID != "" {
		said += " (opc-request-id " + r.requestID + ")"
	}
	return said
}

func refusedWith(err error, status int) bool {
	refused := (*refusal)(nil)
	return errors.As(err, &refused) && refused.status == status
}

// A client asks Oracle Artifacts.
type client struct {
	identity func() (common.KeyProvider, error)
	base     common.BaseClient
	idle     *http.Transport
}

func newClient(o Options) (*client, error) {
	endpoint := o.Endpoint
	if endpoint == "" {
		region := common.StringToRegion(o.Region)
		endpoint = "https://artifacts." + string(region) + ".oci." + region.SecondLevelDomain()
	}
	if u, err := url.Parse(endpoint); err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("region %q has no endpoint", o.Region)
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  requestTimeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: 64 << 10,
	}
	c := &client{identity: o.Identity, base: common.DefaultBaseClientWithSigner(nil), idle: transport}
	c.base.Host, c.base.BasePath, c.base.UserAgent = endpoint, "20160918", o.UserAgent
	c.base.Configuration = common.CustomClientConfiguration{} // who delivers tries again
	c.base.HTTPClient = exchange{&http.Client{
		Transport: budget.NewTransport(transport, limits, answerLimit),
		// Signed requests go to nobody whom the configuration does not name.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return c, nil
}

func (c *client) close() { c.idle.CloseIdleConnections() }

// A request is one of those that the library describes.
type request interface {
	HTTPRequest(method, path string, body *common.OCIReadSeekCloser, headers map[string]string) (http.Request, error)
}

// ask makes one request and reads its answer. The library's own methods are not used
// for that: they run every request in a goroutine that they neither wait for nor
// synchronise with when the context ends.
func (c *client) ask(ctx context.Context, method, path string, r request, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := r.HTTPRequest(method, path, nil, nil)
	if err != nil {
		return err
	}
	as, err := c.identity()
	if err != nil {
		return err
	}
	client := c.base
	client.Signer = common.DefaultRequestSigner(as)
	resp, err := client.Call(ctx, &req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it is in memory
	if err := common.UnmarshalResponse(resp, out); err != nil {
		return errAnswer // the library's words quote it
	}
	return nil
}

// image returns what Oracle knows of NAMESPACE/REPOSITORY@DIGEST.
func (c *client) image(ctx context.Context, uri string) (artifacts.ContainerImage, error) {
	var out artifacts.LookupContainerImageByUriResponse
	err := c.ask(ctx, http.MethodPost, "/container/images/actions/lookupImageByUri", artifacts.LookupContainerImageByUriRequest{
		LookupContainerImageByUriDetails: artifacts.LookupContainerImageByUriDetails{ImageUri: &uri}}, &out)
	return out.ContainerImage, err
}

// signatures returns a page, and how to ask for the next one; "" if it is the last.
func (c *client) signatures(ctx context.Context, r artifacts.ListContainerImageSignaturesRequest) ([]artifacts.ContainerImageSignatureSummary, string, error) {
	r.Limit = common.Int(pageSize)
	var out artifacts.ListContainerImageSignaturesResponse
	err := c.ask(ctx, http.MethodGet, "/container/imageSignatures", r, &out)
	return out.Items, text(out.OpcNextPage), err
}

// upload returns the OCID of the signature.
func (c *client) upload(ctx context.Context, d artifacts.CreateContainerImageSignatureDetails, token string) (string, error) {
	var out artifacts.CreateContainerImageSignatureResponse
	err := c.ask(ctx, http.MethodPost, "/container/imageSignatures", artifacts.CreateContainerImageSignatureRequest{
		CreateContainerImageSignatureDetails: d, OpcRetryToken: &token}, &out)
	if err == nil && text(out.Id) == "" {
		err = fmt.Errorf("%w: it names no signature", errAnswer)
	}
	return text(out.Id), err
}

func (c *client) signature(ctx context.Context, id string) (artifacts.ContainerImageSignature, error) {
	var out artifacts.GetContainerImageSignatureResponse
	err := c.ask(ctx, http.MethodGet, "/container/imageSignatures/{imageSignatureId}", artifacts.GetContainerImageSignatureRequest{ImageSignatureId: &id}, &out)
	return out.ContainerImageSignature, err
}

// An exchange sends requests for the library, and turns what is no answer into an error
// of ours before the library sees it, whose errors hold URLs and the answer's text.
type exchange struct{ client *http.Client }

// Do implements common.HTTPRequestDispatcher.
func (e exchange) Do(req *http.Request) (*http.Response, error) {
	resp, err := e.client.Do(req) //nolint:gosec // the operator names the host
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL
		}
		return nil, fmt.Errorf("asking Oracle: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // it was read or has failed already
	if resp.StatusCode != http.StatusOK {
		return nil, refusalOf(resp, body)
	}
	if err != nil {
		return nil, fmt.Errorf("reading Oracle's answer: %w", err)
	}
	if !json.Valid(body) || !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return nil, fmt.Errorf("%w: it is no JSON object", errAnswer)
	}
	// Nothing else decides how the library reads the body.
	resp.Header.Del("Content-Encoding")
	resp.Header.Set("Content-Type", "application/json")
	resp.ContentLength = int64(len(body))
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

var (
	codeRE      = regexp.MustCompile(`^[A-Za-z]{1,64}$`)
	requestIDRE = regexp.MustCompile(`^[A-Za-z0-9/_.-]{1,128}$`)
)

func refusalOf(resp *http.Response, body []byte) *refusal {
	var said struct{ Code string }
	_ = json.Unmarshal(body, &said) // it need not be JSON
	r := &refusal{status: resp.StatusCode, after: sink.RetryAfter(resp.Header)}
	if codeRE.MatchString(said.Code) {
		r.code = said.Code
	}
	if id := strings.TrimSpace(resp.Header.Get("opc-request-id")); requestIDRE.MatchString(id) {
		r.requestID = id
	}
	return r
}

// text is the value of an optional field, empty if it is missing.
func text(field *string) string {
	if field == nil {
		return ""
	}
	return *field
}
