package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

func quayConfig(q *registrytest.Quay) Config {
	cfg := config(q.Host)
	cfg.Kind, cfg.Keychain = KindQuay, Static(registrytest.QuayRobot, registrytest.QuayPassword)
	cfg.Cloud.Secret = func() ([]byte, error) { return []byte(registrytest.QuayToken + "\n"), nil }
	return cfg
}

func TestSuiteQuay(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		q := registrytest.NewQuay(t)
		q.RepositoryPage = 3
		cfg := quayConfig(q)
		small := open(t, cfg)
		small.(*listed).lister.(*quayLister).size = 7
		target := suiteTarget(small, q.Server)
		target.PageSize, target.NoMediaTypes = 7, true
		target.Usual, target.UsualPage = suiteInventory{open(t, cfg)}, quayPage*9/10 // pages overlap
		target.Fill, target.Refuse = q.Fill, registrytest.QuayForbids
		return target
	})
}

func TestQuayRepositories(t *testing.T) {
	q := registrytest.NewQuay(t)
	cfg := quayConfig(q)
	r := open(t, cfg)
	for _, name := range []string{"team/a", "other/b", "third/deep/c", "elsewhere/d"} {
		pushImage(t, r, name, "v1", name)
	}
	list := func(r Registry) (names []string) {
		for name, err := range r.Repositories(t.Context()) {
			if err != nil {
				name += ": " + err.Error()
			}
			names = append(names, name)
		}
		return names
	}
	want(t, list(r), []string{"other/b", "team/a", "third/deep/c"}, "repositories of the token's user")
	cfg.Cloud.Project, cfg.API = "elsewhere", "http://"+q.Host+"/api/v1/"
	want(t, list(open(t, cfg)), []string{"elsewhere/d"}, "repositories of a namespace")
	q.Intercept(func(api http.Handler) http.Handler {
		return instead(api, 1<<30, func(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "namespace=other") }, registrytest.QuayForbids)
	})
	names := list(r)
	if len(names) != 3 || !strings.HasPrefix(names[0], "other: ") || !strings.Contains(names[0], ErrForbidden.Error()) {
		t.Errorf("with a namespace that is forbidden: %q", names)
	}
	q.Intercept(func(http.Handler) http.Handler { return status(http.StatusUnauthorized) })
	for name, err := range r.Repositories(t.Context()) {
		wants(t, err, ErrUnauthorized, "a token that has ended")
		want(t, name, "", "what that concerns")
	}
}

func TestQuayConfiguration(t *testing.T) {
	good := Config{Name: "q", Host: "quay.io", Kind: KindQuay, Cloud: Cloud{Secret: func() ([]byte, error) { return []byte("x"), nil }}}
	if _, err := Open(good); err != nil {
		t.Fatal(err)
	}
	for text, change := range map[string]func(*Config){
		"cloud.secret_file": func(cfg *Config) { cfg.Cloud.Secret = nil },
		"cloud.project":     func(cfg *Config) { cfg.Cloud.Project = "a/b" },
		"api: ":             func(cfg *Config) { cfg.API = "http://quay.example.com" },
	} {
		cfg := good
		change(&cfg)
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("want an error about %s, got %v", text, err)
		}
	}
	cfg := config("quay.example.com")
	cfg.Kind, cfg.Cloud.Secret = KindQuay, func() ([]byte, error) { return nil, errors.New("no such file") }
	for _, err := range open(t, cfg).Artifacts(t.Context(), Query{Repository: "team/app", Tags: always}) {
		wants(t, err, ErrUnauthorized, "a token that cannot be read")
	}
}

func TestQuayBadAnswers(t *testing.T) {
	tag := func(name string, start int64) string {
		return fmt.Sprintf(`{"name":%q,"manifest_digest":"%s","start_ts":%d}`, name, sum([]byte(name)), start)
	}
	page := func(more bool, tags ...string) http.HandlerFunc {
		return jsonBody(fmt.Sprintf(`{"tags":[%s],"has_additional":%t}`, strings.Join(tags, ","), more))
	}
	many := make([]string, quayPage+1)
	for i := range many {
		many[i] = tag(fmt.Sprint("t", i), 1)
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"no JSON":             {jsonBody(`<html>`), ErrCorrupt},
		"oldest first":        {page(false, tag("a", 1), tag("b", 2)), ErrCorrupt},
		"too many":            {page(false, many...), ErrCorrupt},
		"always the same":     {page(true, tag("a", 2), tag("b", 1)), ErrCorrupt},
		"empty, but not last": {page(true), ErrCorrupt},
		"forbidden":           {registrytest.QuayForbids, ErrForbidden},
		"a bad digest":        {page(false, `{"name":"a","manifest_digest":"sha256:x"}`), ErrCorrupt},
		"a bad name":          {page(false, tag("a b", 1)), ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(serve(t, test.answer))
			cfg.Kind, cfg.Cloud.Secret = KindQuay, func() ([]byte, error) { return []byte("token"), nil }
			var last error
			for _, err := range open(t, cfg).Artifacts(t.Context(), Query{Repository: "team/app", Tags: always}) {
				last = err
			}
			wants(t, last, test.want, "error")
		})
	}
}

// A quayModel is a listing of tags that changes while it is walked.
type quayModel struct {
	tags []quayTag // newest first
	n    int
}

func (m *quayModel) push(second int64) {
	m.n++
	m.tags = slices.Insert(m.tags, 0, quayTag{Name: fmt.Sprint("t", m.n), Start: second})
}

func (m *quayModel) page(number, limit int) quayTags {
	from := min((number-1)*limit, len(m.tags))
	to := min(from+limit, len(m.tags))
	return quayTags{Tags: slices.Clone(m.tags[from:to]), More: to < len(m.tags)}
}

// Whatever is deleted, pushed and set anew, and wherever the walk is taken up, no
// tag is missed that was there all the time.
func TestQuayWalkMissesNothing(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := &quayModel{}
		perSecond := 1 + r.Int64N(20)
		for i := range 50 + r.Int64N(400) {
			m.push(i / perSecond)
		}
		missing := map[string]bool{}
		for _, tag := range m.tags {
			missing[tag.Name] = true
		}
		size := 50 + r.IntN(51)
		w, asked := newQuayWalk("", size), 0
		for !w.done {
			number, limit := w.window()
			if asked++; limit > size || number < 1 || asked > 2000 {
				t.Fatalf("seed %d: page %d of %d, request %d", seed, number, limit, asked)
			}
			fresh, err := w.turn(m.page(number, limit), number, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, tag := range fresh {
				delete(missing, tag.item.Name)
				if r.IntN(40) == 0 {
					w = newQuayWalk(tag.cursor, size)
					break
				}
			}
			m.change(r, missing)
		}
		if len(missing) > 0 {
			t.Errorf("seed %d: missed %d tags", seed, len(missing))
		}
	}
}

// change lets some tags go, and comes up with others, at times many.
func (m *quayModel) change(r *rand.Rand, missing map[string]bool) {
	for range r.IntN(4) * r.IntN(40) {
		if len(m.tags) == 0 {
			return
		}
		i := r.IntN(len(m.tags))
		delete(missing, m.tags[i].Name)
		m.tags = slices.Delete(m.tags, i, i+1)
	}
	for range r.IntN(2) * r.IntN(10) {
		m.push(1000)
	}
}

func TestQuayWindow(t *testing.T) {
	for _, size := range []int{leastQuayPage, 77, quayPage} {
		for seen := range 200_000 {
			w := quayWalk{size: size, seen: seen}
			number, limit := w.window()
			from := (number - 1) * limit
			if limit < 1 || limit > size || seen > 0 && from >= seen || from+limit <= seen {
				t.Fatalf("size %d, %d seen: page %d of %d", size, seen, number, limit)
			}
		}
	}
}

// FuzzQuayTurn: whatever a page says, a walk takes it or refuses it.
func FuzzQuayTurn(f *testing.F) {
	for _, seed := range []string{
		`{"tags":[{"name":"a","start_ts":1}],"has_additional":true}`, `{}`, `{"tags":null}`,
		`{"tags":[{"name":"","start_ts":-9223372036854775808},{"name":"a"}]}`,
	} {
		f.Add([]byte(seed), "120 1700000000 v1")
	}
	f.Fuzz(func(t *testing.T, raw []byte, after string) {
		var page quayTags
		if json.Unmarshal(raw, &page) != nil {
			return
		}
		w := newQuayWalk(after, leastQuayPage)
		for range 3 {
			number, limit := w.window()
			if number < 1 || limit < 1 {
				t.Fatalf("page %d of %d", number, limit)
			}
			fresh, err := w.turn(page, number, limit)
			if err == nil && len(fresh) > len(page.Tags) {
				t.Fatal("more tags than there are")
			}
		}
	})
}
