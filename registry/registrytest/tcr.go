package registrytest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A TCRAPI is what the API of Tencent Container Registry needs to know. Actions,
// parameters and fields are those of the vendor's reference, version 2019-09-24
// (DescribeRepositories, DescribeImages): Offset is a page's number, a
// repository's Name begins with its namespace, a digest comes once for each of
// its tags, and every answer has status 200.
type TCRAPI struct {
	Instance, Region    string
	SecretID, SecretKey string
}

type tcrRequest struct {
	RegistryId, NamespaceName, RepositoryName string
	Offset, Limit                             int
}

// TCR starts the API before contents.
func TCR(t testing.TB, c *Contents, api TCRAPI) *Server {
	t.Helper()
	return start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var asked tcrRequest
		code, message := "", ""
		switch {
		case r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("X-TC-Version") != "2019-09-24":
			code = "InvalidAction"
		case !api.signed(r, raw):
			code, message = "AuthFailure.SignatureFailure", "The provided credentials could not be validated. Please check your signature is correct."
		case r.Header.Get("X-TC-Region") != api.Region:
			code = "UnsupportedRegion"
		case json.Unmarshal(raw, &asked) != nil || asked.Limit > 100 || asked.Limit < 0 || asked.Offset < 0:
			code = "InvalidParameter"
		case asked.RegistryId != api.Instance:
			code = "ResourceNotFound.TcrResourceNotFound"
		}
		if code != "" {
			tcrError(w, code, message)
			return
		}
		if asked.Limit == 0 {
			asked.Limit = 20
		}
		from := (max(1, asked.Offset) - 1) * asked.Limit
		switch r.Header.Get("X-TC-Action") {
		case "DescribeRepositories":
			tcrRepositories(w, c, from, asked.Limit)
		case "DescribeImages":
			tcrImages(w, c, asked, from)
		default:
			tcrError(w, "InvalidAction", "")
		}
	}))
}

// signed works out the signature as the vendor's reference describes it.
func (api TCRAPI) signed(r *http.Request, body []byte) bool {
	said := r.Header.Get("Authorization")
	_, names, _ := strings.Cut(said, "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	canonical := r.Method + "\n/\n\n"
	for name := range strings.SplitSeq(names, ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		canonical += name + ":" + strings.ToLower(value) + "\n"
	}
	canonical += "\n" + names + "\n" + hexSHA256(body)
	seconds, err := strconv.ParseInt(r.Header.Get("X-TC-Timestamp"), 10, 64)
	stamp := time.Unix(seconds, 0)
	if age := time.Since(stamp); err != nil || age < -5*time.Minute || age > 5*time.Minute || !strings.Contains(names, "host") {
		return false
	}
	date := stamp.UTC().Format("2006-01-02")
	text := fmt.Sprintf("TC3-HMAC-SHA256\n%d\n%s/tcr/tc3_request\n%s", seconds, date, hexSHA256([]byte(canonical)))
	key := []byte("TC3" + api.SecretKey)
	for _, part := range []string{date, "tcr", "tc3_request", text} {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return said == fmt.Sprintf("TC3-HMAC-SHA256 Credential=%s/%s/tcr/tc3_request, SignedHeaders=%s, Signature=%x", api.SecretID, date, names, key)
}

func hexSHA256(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

const tcrRequestID = "6db29a1b-57ac-4b4f-9d20-eb16e9b29fdb"

// tcrError answers with status 200, as the vendor does.
func tcrError(w http.ResponseWriter, code, message string) {
	respond(w, http.StatusOK, map[string]any{"Response": map[string]any{
		"Error": map[string]string{"Code": code, "Message": message}, "RequestId": tcrRequestID,
	}})
}

// TCRRefuse answers that a permission is missing.
func TCRRefuse(w http.ResponseWriter, _ *http.Request) {
	tcrError(w, "UnauthorizedOperation", "you are not authorized to perform operation (tcr:DescribeImages)")
}

// TCRThrottle answers that too much was asked. The header is not the vendor's.
func TCRThrottle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "1")
	tcrError(w, "RequestLimitExceeded", "Your current request times equals to 21 in a second, which exceeds the frequency limit 20 for a second.")
}

func tcrRepositories(w http.ResponseWriter, c *Contents, from, limit int) {
	all := newestFirst(c.Repositories())
	list := []map[string]any{}
	for _, full := range window(all, from, limit) {
		namespace, _, _ := strings.Cut(full, "/")
		list = append(list, map[string]any{"Name": full, "Namespace": namespace, "Public": false, "Description": ""})
	}
	respond(w, http.StatusOK, map[string]any{"Response": map[string]any{
		"RepositoryList": list, "TotalCount": len(all), "RequestId": tcrRequestID,
	}})
}

func tcrImages(w http.ResponseWriter, c *Contents, asked tcrRequest, from int) {
	repository := asked.NamespaceName + "/" + asked.RepositoryName
	if !c.Has(repository) {
		tcrError(w, "ResourceNotFound.TcrResourceNotFound", "repository not found")
		return
	}
	all := []map[string]any{}
	for _, m := range newestFirst(c.Manifests(repository)) {
		for _, tag := range m.Tags {
			all = append(all, map[string]any{
				"Digest": m.Digest.String(), "Size": m.ImageSize, "ImageVersion": tag, "UpdateTime": m.Pushed,
				"Kind": "Artifact::" + m.MediaType, "KmsSignature": "",
			})
		}
	}
	respond(w, http.StatusOK, map[string]any{"Response": map[string]any{
		"ImageInfoList": window(all, from, asked.Limit), "TotalCount": len(all), "RequestId": tcrRequestID,
	}})
}
