package registrytest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// What an ECR is and accepts at first.
const (
	ECRAccount   = "123456789012"
	ECRRegion    = "eu-west-1"
	ECRAccessKey = "AKIDEXAMPLE"
	ECRSecretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" // AWS's published example
)

// An ECR is a loopback Amazon ECR: its registry with the passwords it gives out,
// and its API, signature version 4 checked. It follows
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference; it is not the
// service. It is safe for concurrent use.
type ECR struct {
	cloudFiller

	Registry *Server
	API      *Server
	Contents *Contents
	// Lifetime is how long a password of the registry is good. Default 12 hours.
	Lifetime time.Duration

	mu        sync.Mutex
	secrets   map[string]ecrSecret // by access key id
	calls     map[string]int       // by action
	passwords tickets
}

// An ecrSecret is what belongs to an access key id.
type ecrSecret struct{ key, token string }

// NewECR starts an empty one.
func NewECR(t testing.TB) *ECR {
	t.Helper()
	e := &ECR{
		Registry: Memory(t), Lifetime: 12 * time.Hour, calls: map[string]int{},
		secrets: map[string]ecrSecret{ECRAccessKey: {key: ECRSecretKey}},
	}
	e.Contents = Watch(t, e.Registry)
	e.cloudFiller = cloudFiller{e.Registry.handler, e.Contents, ""}
	e.Registry.handler = e.guard(e.Registry.handler)
	e.API = start(t, http.HandlerFunc(e.serve))
	return e
}

// Rotate makes key the only secret of an access key, with a session's token
// unless that is empty.
func (e *ECR) Rotate(id, key, token string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secrets[id] = ecrSecret{key, token}
}

// Revoke ends all passwords of the registry.
func (e *ECR) Revoke() { e.passwords.revoke() }

// Calls returns how often an action was asked for and allowed.
func (e *ECR) Calls(action string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[action]
}

// guard lets in who has a password. ECR answers 403 to those that have expired.
func (e *ECR) guard(registry http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case user == "AWS" && e.passwords.good(password):
			registry.ServeHTTP(w, r)
		case user == "AWS" && e.passwords.known(password):
			_, _ = io.Copy(io.Discard, r.Body)
			cloudAnswer(w, http.StatusForbidden, denied("DENIED", "Your authorization token has expired. Reauthenticate and try again."))
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Basic realm="https://%s/",service="ecr.amazonaws.com"`, r.Host))
			cloudAnswer(w, http.StatusUnauthorized, denied("UNAUTHORIZED", "Not Authorized"))
		}
	})
}

func denied(code, message string) any {
	return map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}}
}

// ECRError answers as AWS does.
func ECRError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}

// An ecrInput is what any of the actions takes.
type ecrInput struct {
	RegistryID string `json:"registryId"`
	Repository string `json:"repositoryName"`
	MaxResults *int   `json:"maxResults"`
	NextToken  string `json:"nextToken"`
	Filter     struct {
		TagStatus string `json:"tagStatus"`
	} `json:"filter"`
}

func (e *ECR) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if refused := e.authenticate(r, body, time.Now()); refused != nil {
		ECRError(w, http.StatusBadRequest, refused.code, refused.message)
		return
	}
	action, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AmazonEC2ContainerRegistry_V20150921.")
	var in ecrInput
	if r.Method != http.MethodPost || r.URL.Path != "/" || !ok || json.Unmarshal(body, &in) != nil {
		ECRError(w, http.StatusBadRequest, "UnknownOperationException", "")
		return
	}
	e.mu.Lock()
	e.calls[action]++
	e.mu.Unlock()
	switch action {
	case "GetAuthorizationToken":
		password := e.passwords.issue("password", e.Lifetime)
		cloudAnswer(w, http.StatusOK, map[string]any{"authorizationData": []any{map[string]any{
			"authorizationToken": base64.StdEncoding.EncodeToString([]byte("AWS:" + password)),
			"expiresAt":          float64(time.Now().Add(e.Lifetime).UnixMilli()) / 1000,
			"proxyEndpoint":      "https://" + ECRAccount + ".dkr.ecr." + ECRRegion + ".amazonaws.com",
		}}})
	case "DescribeRepositories":
		e.repositories(w, in)
	case "DescribeImages":
		e.images(w, in)
	default:
		ECRError(w, http.StatusBadRequest, "UnknownOperationException", "")
	}
}

// size returns the size of a page, or answers that it is none.
func (in ecrInput) size(w http.ResponseWriter) (int, bool) {
	switch {
	case in.MaxResults == nil:
		return 100, true
	case *in.MaxResults < 1 || *in.MaxResults > 1000:
		ECRError(w, http.StatusBadRequest, "InvalidParameterException",
			"Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value less than or equal to 1000'")
		return 0, false
	}
	return *in.MaxResults, true
}

func (e *ECR) repositories(w http.ResponseWriter, in ecrInput) {
	size, ok := in.size(w)
	if !ok {
		return
	}
	names, next, ok := cloudPage(e.Contents.Repositories(), func(name string) string { return name }, in.NextToken, size)
	if !ok {
		ECRError(w, http.StatusBadRequest, "InvalidParameterException", "Invalid parameter at 'nextToken'")
		return
	}
	list := []any{}
	for _, name := range names {
		list = append(list, map[string]any{
			"registryId": ECRAccount, "repositoryName": name, "createdAt": 1.563223656e9, "imageTagMutability": "MUTABLE",
			"repositoryArn": "arn:aws:ecr:" + ECRRegion + ":" + ECRAccount + ":repository/" + name,
		})
	}
	ecrPage(w, "repositories", list, next)
}

func ecrPage(w http.ResponseWriter, field string, list []any, next string) {
	answer := map[string]any{field: list}
	if next != "" {
		answer["nextToken"] = next
	}
	cloudAnswer(w, http.StatusOK, answer)
}

func (e *ECR) images(w http.ResponseWriter, in ecrInput) {
	size, ok := in.size(w)
	if !ok {
		return
	}
	if in.RegistryID != "" && in.RegistryID != ECRAccount || !e.Contents.Has(in.Repository) {
		ECRError(w, http.StatusBadRequest, "RepositoryNotFoundException",
			fmt.Sprintf("The repository with name '%s' does not exist in the registry with id '%s'", in.Repository, in.RegistryID))
		return
	}
	page, next, ok := cloudPage(e.Contents.Manifests(in.Repository), shuffled, in.NextToken, size)
	if !ok {
		ECRError(w, http.StatusBadRequest, "InvalidParameterException", "Invalid parameter at 'nextToken'")
		return
	}
	list := []any{}
	for _, m := range page {
		if status := in.Filter.TagStatus; status == "TAGGED" && len(m.Tags) == 0 || status == "UNTAGGED" && len(m.Tags) > 0 {
			continue
		}
		list = append(list, ecrImage(in.Repository, m))
	}
	ecrPage(w, "imageDetails", list, next)
}

func ecrImage(repository string, m Manifest) map[string]any {
	image := map[string]any{
		"registryId": ECRAccount, "repositoryName": repository, "imageDigest": m.Digest.String(),
		"imageManifestMediaType": m.MediaType, "imageSizeInBytes": m.ImageSize,
		"imagePushedAt": float64(m.Pushed.UnixMilli()) / 1000, "imageStatus": "ACTIVE",
	}
	if len(m.Tags) > 0 {
		image["imageTags"] = m.Tags
	}
	switch {
	case m.ArtifactType != "":
		image["artifactMediaType"] = m.ArtifactType
	case m.ConfigType != "":
		image["artifactMediaType"] = m.ConfigType
	}
	if m.Subject.Hex != "" {
		image["subjectManifestDigest"] = m.Subject.String()
	}
	return image
}
