package registrytest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// cloudPage returns at most n entries behind the one that token stands for, in
// the order of their keys, and the token of what follows; "" if nothing does.
// False is a token that was never given out.
func cloudPage[T any](list []T, key func(T) string, token string, n int) (page []T, next string, ok bool) {
	after, ok := cloudTokenKey(token)
	if !ok {
		return nil, "", false
	}
	page, more := behind(list, key, after, n)
	if !more {
		return page, "", true
	}
	return page, base64.StdEncoding.EncodeToString([]byte(cloudTokenMark + key(page[n-1]))), true
}

// behind returns the first n entries whose keys are behind one, in their order,
// and whether there are more. It does not sort the list, which may be long.
func behind[T any](list []T, key func(T) string, after string, n int) (page []T, more bool) {
	for _, e := range list {
		k := key(e)
		if k <= after || len(page) > n && k > key(page[n]) {
			continue
		}
		i := sort.Search(len(page), func(i int) bool { return key(page[i]) > k })
		page = slices.Insert(page[:min(len(page), n)], min(i, n), e)
	}
	if len(page) > n {
		return page[:n], true
	}
	return page, false
}

const cloudTokenMark = "behind "

func cloudTokenKey(token string) (key string, ok bool) {
	if token == "" {
		return "", true
	}
	raw, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return "", false
	}
	return strings.CutPrefix(string(raw), cloudTokenMark)
}

// shuffled is a key that brings digests into an order that is no one's else.
func shuffled(m Manifest) string { return m.Digest.Hex[32:] }

func cloudAnswer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// tickets are secrets that are good for a while. The zero value is ready.
type tickets struct {
	mu   sync.Mutex
	ends map[string]time.Time
	n    int
}

// issue returns a new one.
func (t *tickets) issue(prefix string, lifetime time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ends == nil {
		t.ends = map[string]time.Time{}
	}
	t.n++
	ticket := prefix + "-" + strings.Repeat("x", t.n)
	t.ends[ticket] = time.Now().Add(lifetime)
	return ticket
}

func (t *tickets) known(ticket string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.ends[ticket]
	return ok
}

func (t *tickets) good(ticket string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.ends[ticket])
}

// revoke ends all that are out, and forgets them.
func (t *tickets) revoke() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.ends)
}

// issued returns how many were given out.
func (t *tickets) issued() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// A cloudFiller writes past the door of a registry.
type cloudFiller struct {
	registry http.Handler
	contents *Contents
	prefix   string
}

// Fill writes n tags to one repository, each a manifest of its own.
func (f cloudFiller) Fill(t *testing.T, n int) Filled {
	t.Helper()
	s := &Server{handler: f.registry}
	repository := f.prefix + "team/many"
	for i := range n {
		s.put(t, repository, fmt.Sprintf("t%05d", i), encode(t, map[string]any{
			"schemaVersion": 2, "mediaType": mediaManifest, "layers": []any{},
			"config":      descriptor{MediaType: mediaConfig, Digest: "sha256:" + sigV4Digest(nil)},
			"annotations": map[string]string{"n": fmt.Sprint(i)},
		}))
	}
	return Filled{Repository: repository, Tags: f.contents.Tags(repository)}
}
