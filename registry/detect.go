package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// maxDiscovery is how much of Quay's description of its API is read, in bytes. It
// has some 500 KB.
const maxDiscovery = 4 << 20

// A finding is the kind that a registry looks like, and why.
type finding struct{ kind, because string }

// A looker asks a registry which kind it is: without credentials, but for what
// zot says only to its users. A server that says no is not of that kind; one that
// does not answer may be of any, and that is an error.
type looker struct {
	*Client
	config Config
}

// An answer is what a server said to a question. Its body is nil if it is larger
// than any right one.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *auto) look(ctx context.Context) (finding, error) {
	l := looker{a.Client, a.config}
	said, err := l.ask(ctx, l.url("/v2/", nil), maxErrorBody)
	if err != nil {
		return finding{}, err
	}
	if f, ok := said.byHeader(); ok {
		return f, nil
	}
	if said.status != http.StatusOK && said.status != http.StatusUnauthorized {
		// Not what the answer wraps: a host without a registry must not be taken
		// for a repository that is gone.
		return finding{}, fmt.Errorf("%w: GET /v2/ answers %d, want 200 or 401", ErrUnsupported, said.status)
	}
	for _, is := range []func(context.Context, challenge) (finding, bool, error){l.harbor, l.quay, l.zot} {
		f, ok, err := is(ctx, said.challenge())
		if err != nil || ok {
			return f, err
		}
	}
	return finding{KindGeneric, "nothing that it answers tells it from other registries"}, nil
}

// ask sends one request without credentials. What may pass is an error; any
// other answer is one. Redirects are not followed.
func (l looker) ask(ctx context.Context, to *url.URL, limit int64) (answer, error) {
	t := *l.transport
	t.limit, t.host, t.insecure = limit, to.Host, to.Scheme == "http"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return answer{}, fmt.Errorf("request: %w: %s", ErrCorrupt, plain(withoutURL(err)))
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	said := answer{status: resp.StatusCode, header: resp.Header}
	if refused := newResponseError(said.status, nil); errors.Is(refused, ErrUnavailable) || errors.Is(refused, ErrRateLimited) {
		discard(resp)
		return answer{}, fmt.Errorf("GET %s: %w", to.Path, refused)
	}
	raw, err := readAll(resp, limit)
	switch {
	case err == nil:
		said.body = raw
	case !errors.Is(err, ErrTooLarge):
		return answer{}, fmt.Errorf("GET %s: reading the answer: %w", to.Path, err)
	}
	return said, nil
}

// byHeader knows the servers that name themselves in each answer.
func (a answer) byHeader() (finding, bool) {
	login := a.challenge()
	server := a.header.Get("Server")
	version := cmp.Or(a.header.Get("X-Jfrog-Version"), server)
	switch {
	case strings.HasPrefix(version, "Artifactory/"):
		return finding{KindArtifactory, fmt.Sprintf("it calls itself %q", plain(version))}, true
	case a.header.Get("X-Artifactory-Id") != "":
		return finding{KindArtifactory, "its answers have an X-Artifactory-Id"}, true
	case strings.HasPrefix(server, "Nexus/"):
		return finding{KindNexus, fmt.Sprintf("it calls itself %q", plain(server))}, true
	case login.realm == "Sonatype Nexus Repository Manager":
		return finding{KindNexus, fmt.Sprintf("its login is for %q", login.realm)}, true
	case login.service == "container_registry" && login.path() == "/jwt/auth":
		return finding{KindGitLab, `its tokens are for "container_registry", from /jwt/auth`}, true
	}
	return finding{}, false
}

// A challenge is how a server wants to be logged in to.
type challenge struct{ realm, service string }

var challengeParameter = regexp.MustCompile(`(?i)\b(realm|service)="([^"]*)"`)

func (a answer) challenge() challenge {
	var c challenge
	for _, header := range a.header.Values("Www-Authenticate") {
		for _, parameter := range challengeParameter.FindAllStringSubmatch(header, -1) {
			if strings.EqualFold(parameter[1], "realm") {
				c.realm = cmp.Or(c.realm, parameter[2])
			} else {
				c.service = cmp.Or(c.service, parameter[2])
			}
		}
	}
	return c
}

// path is that of the token server.
func (c challenge) path() string {
	u, err := url.Parse(c.realm)
	if err != nil {
		return ""
	}
	return u.Path
}

// own returns the URL of a path of the registry's own API.
func (l looker) own(suffix, path string) (*url.URL, error) {
	cfg := l.config
	cfg.API = strings.TrimSuffix(strings.TrimRight(cfg.API, "/"), suffix)
	base, err := apiURL(cfg, l.scheme+"://"+l.host.RegistryStr())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	base.Path += suffix + path
	return base, nil
}

// harbor asks who issues tokens as Harbor does whether its API is there, too.
func (l looker) harbor(ctx context.Context, login challenge) (finding, bool, error) {
	if login.service != "harbor-registry" {
		return finding{}, false, nil
	}
	ping, err := l.own(harborPath, "/ping")
	if err != nil {
		return finding{}, false, err
	}
	said, err := l.ask(ctx, ping, maxErrorBody)
	if err != nil || said.status != http.StatusOK || strings.TrimSpace(string(said.body)) != "Pong" {
		return finding{}, false, err
	}
	return finding{KindHarbor, `its tokens are for "harbor-registry", and ` + ping.Path + " answers"}, true, nil
}

// quay asks who has Quay's token server for the description of its API.
func (l looker) quay(ctx context.Context, login challenge) (finding, bool, error) {
	if login.path() != "/v2/auth" {
		return finding{}, false, nil
	}
	discovery, err := l.own(quayPath, "/discovery")
	if err != nil {
		return finding{}, false, err
	}
	said, err := l.ask(ctx, discovery, maxDiscovery)
	if err != nil || said.status != http.StatusOK {
		return finding{}, false, err
	}
	var api struct {
		Info struct {
			Title string `json:"title"`
		} `json:"info"`
	}
	if json.Unmarshal(said.body, &api) != nil || !strings.HasPrefix(api.Info.Title, "Quay") {
		return finding{}, false, nil
	}
	return finding{KindQuay, fmt.Sprintf("%s describes the API of %q", discovery.Path, plain(api.Info.Title))}, true, nil
}

// zot looks for zot's extensions in the list that the distribution specification
// has for them. A zot with users shows it to them alone.
func (l looker) zot(ctx context.Context, _ challenge) (finding, bool, error) {
	const path = "/v2/_oci/ext/discover"
	raw, _, err := l.read(ctx, call{ //nolint:bodyclose // read has closed it
		method: http.MethodGet, url: l.url(path, nil), scope: catalogScope, limit: maxTokenBody,
	})
	for _, no := range []error{ErrNotFound, ErrForbidden, ErrUnsupported, ErrRejected, ErrTooLarge} {
		if errors.Is(err, no) {
			return finding{}, false, nil
		}
	}
	if err != nil {
		return finding{}, false, fmt.Errorf("GET %s: %w", path, err)
	}
	var list struct {
		Extensions []struct {
			Name string `json:"name"`
		} `json:"extensions"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return finding{}, false, nil
	}
	for _, e := range list.Extensions {
		if e.Name == "_zot" {
			return finding{KindZot, path + " lists the extension _zot"}, true, nil
		}
	}
	return finding{}, false, nil
}
