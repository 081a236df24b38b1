package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/matcher"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// The documentation is executed. Every fenced block of the languages console,
// sh and yaml says in its info string what is done with it:
//
//	console NAME      what follows "$ ", and "> " on further lines, is run in the
//	                  order of the file, by one shell for each NAME; what it
//	                  prints must be what comes next. "…" stands for anything,
//	                  alone on a line for any lines; "[exit 1]" for an exit code
//	                  that is not 0.
//	yaml NAME FILE    is written to FILE for the shell NAME, and must be a valid
//	                  configuration.
//	yaml config       must be a valid configuration when what it leaves out is
//	                  added.
//	LANGUAGE elsewhere  needs programs that are not here: make interop runs them.
//
// A comment <!-- run NAME: COMMAND --> is run without being shown; its command
// prepare takes the steps of the README's tour up to the configuration. The
// shells reach the registry https://registry.example.com, which is in this
// process.
const (
	wordConfig    = "config"
	wordElsewhere = "elsewhere"
)

// root is the repository.
const root = "../.."

// A block is a fenced block or a hidden command of a document.
type block struct {
	file  string
	line  int
	words []string // of the info string; "run" and the shell's name of a hidden command
	body  string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

func (b block) word(i int) string {
	if i < len(b.words) {
		return b.words[i]
	}
	return ""
}

var hiddenRE = regexp.MustCompile(`^<!-- run ([a-z0-9-]+): (.+) -->$`)

// blocksOf returns what is fenced or hidden in a document.
func blocksOf(t *testing.T, file string) []block {
	t.Helper()
	var blocks []block
	var open *block
	for i, line := range strings.SplitAfter(readDoc(t, file), "\n") {
		text := strings.TrimSpace(line)
		switch info, fence := strings.CutPrefix(text, "```"); {
		case fence && open == nil:
			open = &block{file: file, line: i + 1, words: strings.Fields(info)}
		case fence:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.body += line
		default:
			if m := hiddenRE.FindStringSubmatch(text); m != nil {
				blocks = append(blocks, block{file, i + 1, []string{"run", m[1]}, "$ " + m[2] + "\n"})
			}
		}
	}
	if open != nil {
		t.Fatalf("%s: the block is not closed", open)
	}
	return blocks
}

func readDoc(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents returns the Markdown files below dir, relative to the repository.
func documents(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".md"):
			path, err = filepath.Rel(root, path)
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestDocumentation does what the documents say.
func TestDocumentation(t *testing.T) {
	for _, file := range append(documents(t, "docs"), "README.md", "CONTRIBUTING.md", "SECURITY.md") {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			shells := map[string]*shell{}
			for _, b := range blocksOf(t, file) {
				documented(t, b, shells)
			}
		})
	}
}

func documented(t *testing.T, b block, shells map[string]*shell) {
	t.Helper()
	language, name := b.word(0), b.word(1)
	switch {
	case !slices.Contains([]string{"console", "sh", "yaml", "run"}, language), name == wordElsewhere:
		return
	case name == "":
		t.Errorf("%s: a block of %s that nothing is done with", b, language)
		return
	case language == "yaml":
		parseDocumented(t, b)
	}
	if name == wordConfig {
		return
	}
	s := shells[name]
	if s == nil {
		s = newShell(t)
		shells[name] = s
	}
	if language != "yaml" {
		s.follow(t, b)
		return
	}
	if err := os.WriteFile(filepath.Join(s.dir, b.word(2)), []byte(b.body), 0o600); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
}

// missing is what is added to fragments of configurations.
var missing = map[string]string{
	"registries": "registries: [{name: prod, host: registry.example.com}, {name: mirror, host: mirror.example.com}]\n",
	"keys":       "keys: [{name: release, uri: \"file:release.key\"}, {name: archive, uri: \"file:archive.key\"}]\n",
	"policies":   "policies: [{name: missing, registry: prod, trigger: {type: manual}, scope: [{repositories: \"**\", tags: \"**\"}], key: release}]\n",
}

func parseDocumented(t *testing.T, b block) {
	t.Helper()
	text := b.body
	for section, yaml := range missing {
		if b.word(1) == wordConfig && !strings.Contains("\n"+text, "\n"+section+":") {
			text += yaml
		}
	}
	if _, err := configs.Parse(b.String(), strings.NewReader(text)); err != nil {
		t.Errorf("%s: %v", b, err)
	}
}

// A shell is what a reader types into.
type shell struct {
	dir string
	in  io.Writer
	out *bufio.Scanner
}

// endMark is printed after each command, with its exit code.
const endMark = "--- the command has ended: "

// newShell starts a shell in a new directory, logged in to a registry with a
// small estate.
func newShell(t *testing.T) *shell {
	t.Helper()
	home := t.TempDir()
	dir := filepath.Join(home, "desk")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(filepath.Join(home, ".docker"), 0o700)); err != nil {
		t.Fatal(err)
	}
	proxy, ca := documentedRegistry(t)
	auth := base64.StdEncoding.EncodeToString([]byte(documentedUser + ":" + documentedPassword))
	for name, content := range map[string]string{
		"ca.pem":              ca,
		".docker/config.json": `{"auths": {"registry.example.com": {"auth": "` + auth + `"}}}`,
		"tour.yaml":           tourConfig(t),
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a busy machine is slow
	cmd := exec.CommandContext(ctx, "sh")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + t.TempDir(), "LC_ALL=C.UTF-8",
		"HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + filepath.Join(home, "ca.pem")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with what runs in the background
	cmd.Cancel = kill
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	if err := errors.Join(cmd.Start(), write.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		_ = in.Close()
		_ = kill() // whoever is left
		_ = cmd.Wait()
		_ = out.Close()
	})
	s := &shell{dir: dir, in: in, out: bufio.NewScanner(out)}
	s.out.Buffer(nil, 1<<20)
	s.run(t, "prepare() { cp ~/.docker/config.json docker.json && cp ~/tour.yaml sealwright.yaml && sealwright key generate --out release >key.out; }")
	return s
}

// tourConfig returns the configuration of the README's tour.
func tourConfig(t *testing.T) string {
	t.Helper()
	for _, b := range blocksOf(t, "README.md") {
		if b.word(0) == "yaml" && b.word(1) == "tour" {
			return b.body
		}
	}
	t.Fatal("README.md has no configuration for its tour")
	return ""
}

// run runs a command and returns the lines it printed, "[exit N]" among them.
func (s *shell) run(t *testing.T, command string) []string {
	t.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\nprintf '\\n%s%%d\\n' $?\n", command, endMark); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	var lines []string
	for s.out.Scan() {
		code, ended := strings.CutPrefix(s.out.Text(), endMark)
		if !ended {
			lines = append(lines, s.out.Text())
			continue
		}
		for len(lines) > 0 && lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		if code != "0" {
			lines = append(lines, "[exit "+code+"]")
		}
		return lines
	}
	t.Fatalf("%s: the shell ended: %v\n%s", command, s.out.Err(), strings.Join(lines, "\n"))
	return nil
}

// follow types a block's commands and compares what they print.
func (s *shell) follow(t *testing.T, b block) {
	t.Helper()
	lines := strings.Split(strings.TrimRight(b.body, "\n"), "\n")
	for i := 0; i < len(lines); {
		command, ok := strings.CutPrefix(lines[i], "$ ")
		if !ok {
			t.Fatalf("%s: line %q of the block is neither a command nor its output", b, lines[i])
		}
		for i++; i < len(lines) && strings.HasPrefix(lines[i], "> "); i++ {
			command += "\n" + strings.TrimPrefix(lines[i], "> ")
		}
		start := i
		for i < len(lines) && !strings.HasPrefix(lines[i], "$ ") {
			i++
		}
		got := s.run(t, command)
		if want := lines[start:i]; b.word(0) != "run" && !printed(want, got) || b.word(0) == "run" && slices.ContainsFunc(got, isExit) {
			t.Errorf("%s: $ %s\nprints\n%s\n\nbut the document says\n%s", b, command, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func isExit(line string) bool { return strings.HasPrefix(line, "[exit ") }

// What differs from run to run, and how it is spelt for comparison.
var variable = []struct {
	re *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`\b[0-9a-f]{12,64}(?:\b|…)`), "HEX"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b\d+(?:\.\d+)?(?:µs|ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`"(seconds|pid|watchdog)": ?[\d.]+`), `"$1":N`},
	{regexp.MustCompile(`\(pid \d+\)`), "(pid N)"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "LOOPBACK"},
	{regexp.MustCompile(`/\S*?/desk/`), ""},
	{regexp.MustCompile(`/\S*sealwright-demo-\d+`), "DEMO"},
	{regexp.MustCompile(`sealwright \S+ go\S+ \S+`), "VERSION"},
	{regexp.MustCompile(`[A-Za-z0-9+/]{60,}={0,2}(?:…|\b|$)`), "BASE64"},
	{regexp.MustCompile(`\s+`), " "},
}

func comparable(line string) string {
	for _, v := range variable {
		line = v.re.ReplaceAllString(line, v.as)
	}
	return strings.TrimSpace(line)
}

// printed reports whether got is what a document says is printed.
func printed(want, got []string) bool {
	var re strings.Builder
	for i, line := range want {
		if line = comparable(line); line == "…" {
			re.WriteString(`(?:.*\n)*?`)
			continue
		}
		if line == "" && i == len(want)-1 {
			continue
		}
		re.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`)
	}
	var text strings.Builder
	for _, line := range got {
		text.WriteString(comparable(line) + "\n")
	}
	return regexp.MustCompile(`\A` + re.String() + `\z`).MatchString(text.String())
}

const documentedUser, documentedPassword = "robot", "correct-horse"

// documentedRegistry starts a registry with a small estate behind TLS and a
// login, and a proxy by which it can be reached as registry.example.com.
func documentedRegistry(t *testing.T) (proxy, ca string) {
	t.Helper()
	inner := registrytest.Distribution(t)
	index := registrytest.Index(t, registrytest.Image(t), registrytest.Image(t))
	inner.Push(t, "library/web:v1.0.0", index)
	inner.Tag(t, "library/web:latest", index)
	for _, ref := range []string{"library/api:v1.0.0", "library/api:v1.1.0", "library/api:dev", "team-a/worker:v1"} {
		inner.Push(t, ref, registrytest.Image(t))
	}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != documentedUser || password != documentedPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="docs"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it are part of the test
	secure.StartTLS()
	t.Cleanup(secure.Close)
	tunnel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "registry.example.com:443" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		connect(w, secure.Listener.Addr().String())
	}))
	t.Cleanup(tunnel.Close)
	return tunnel.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
}

// connect joins a client's connection to the server at address.
func connect(w http.ResponseWriter, address string) {
	server, err := net.Dial("tcp", address)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = server.Close() }()
	client, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = client.Close() }()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
}

// TestDocumentedRegistryWantsTLSAndLogin keeps the shells honest: without
// certificate or login they would reach nothing.
func TestDocumentedRegistryWantsTLSAndLogin(t *testing.T) {
	s := newShell(t)
	for _, step := range []struct{ command, want string }{
		{"sealwright key generate --out k >/dev/null && sealwright verify --key k.pub registry.example.com/library/api:v1.0.0", "no signature that the key verifies"},
		{"echo '{}' >docker.json && sealwright verify --docker-config docker.json --key k.pub registry.example.com/library/api:v1.0.0", "not authenticated"},
		{"SSL_CERT_FILE=/dev/null sealwright verify --key k.pub registry.example.com/library/api:v1.0.0", "certificate"},
	} {
		if got := strings.Join(s.run(t, step.command), "\n"); !strings.Contains(got, step.want) || !strings.Contains(got, "[exit 1]") {
			t.Errorf("$ %s\nprints\n%s\nwant %q and exit 1", step.command, got, step.want)
		}
	}
}

// TestPrinted tests the comparison itself: it must be able to fail.
func TestPrinted(t *testing.T) {
	got := []string{"a  1.5s", "sha256:" + strings.Repeat("ab", 32), "c", "[exit 1]"}
	for _, tt := range []struct {
		want string
		ok   bool
	}{
		{"a 20ms\nsha256:abababababab…\nc\n[exit 1]", true},
		{"a 20ms\n…\n[exit 1]", true},
		{"…\nc\n[exit 1]", true},
		{"a …\n…\nc\n[exit 1]", true},
		{"a 20ms\nsha256:abababababab…\nc", false},
		{"a 20ms\n…\nd\n[exit 1]", false},
		{"b …\n…", false},
		{"", false},
	} {
		if printed(strings.Split(tt.want, "\n"), got) != tt.ok {
			t.Errorf("%q is accepted: %t, want %t", tt.want, !tt.ok, tt.ok)
		}
	}
}

var (
	linkRE    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	headingRE = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	fencedRE  = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	slugRE    = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the names that a document's headings can be linked by.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range headingRE.FindAllStringSubmatch(fencedRE.ReplaceAllString(text, ""), -1) {
		slug := strings.ReplaceAll(slugRE.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		for n, base := 1, slug; out[slug]; n++ {
			slug = base + "-" + strconv.Itoa(n)
		}
		out[slug] = true
	}
	return out
}

// TestDocumentLinks follows every link inside the repository.
func TestDocumentLinks(t *testing.T) {
	for _, file := range documents(t, ".") {
		for _, m := range linkRE.FindAllStringSubmatch(fencedRE.ReplaceAllString(readDoc(t, file), ""), -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(target, "#")
			path = filepath.Join(filepath.Dir(file), path)
			if path == filepath.Dir(file) {
				path = file
			}
			info, err := os.Stat(filepath.Join(root, path))
			switch {
			case err != nil:
				t.Errorf("%s: link to %s: %v", file, target, err)
			case anchor != "" && (info.IsDir() || !anchors(readDoc(t, path))[anchor]):
				t.Errorf("%s: link to %s: there is no such heading", file, target)
			}
		}
	}
}

// TestEveryCommandIsDocumented finds a heading for each command, and below it
// each of its flags.
func TestEveryCommandIsDocumented(t *testing.T) {
	sections := map[string]string{}
	for _, part := range strings.Split(readDoc(t, "docs/commands.md"), "\n## ")[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		sections[strings.Trim(heading, "` ")] = text
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if c.HasSubCommands() || c.Name() == "help" {
			return
		}
		text, ok := sections[c.CommandPath()]
		if !ok {
			t.Errorf("docs/commands.md has no section %q", c.CommandPath())
		}
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(text, "`--"+f.Name) {
				t.Errorf("docs/commands.md: %s does not tell of --%s", c.CommandPath(), f.Name)
			}
		})
	}
	visit((&app{}).rootCommand())
}

// TestEveryReasonIsDocumented finds a heading for each named reason.
func TestEveryReasonIsDocumented(t *testing.T) {
	known := anchors(readDoc(t, "docs/troubleshooting.md"))
	for _, source := range []string{"engine/reason.go", "engine/journal/journal.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, source), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		ast.Inspect(file, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(v.Names[0].Name, "Reason") {
				return true
			}
			found++
			if reason, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value); err != nil || !known[reason] {
				t.Errorf("docs/troubleshooting.md has no heading for %s %q of %s", v.Names[0].Name, reason, source)
			}
			return true
		})
		if found == 0 {
			t.Errorf("%s names no reasons: the test looks in the wrong place", source)
		}
	}
}

// TestEveryFieldIsDocumented finds each field of the configuration.
func TestEveryFieldIsDocumented(t *testing.T) {
	text := readDoc(t, "docs/configuration.md")
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(typ reflect.Type) {
		for slices.Contains([]reflect.Kind{reflect.Slice, reflect.Pointer, reflect.Map}, typ.Kind()) {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ",")
			if name != "" && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("docs/configuration.md does not tell of %s of %s", name, typ)
			}
			visit(typ.Field(i).Type)
		}
	}
	visit(reflect.TypeFor[configs.Config]())
}

var (
	patternRE = regexp.MustCompile("(?m)^\\| `(.+?)` \\| `(.+?)` \\| (yes|no) \\|$")
	cronRE    = regexp.MustCompile("(?m)^\\| `(.+?)` \\| (refused|[0-9]|every)")
)

// TestDocumentedPatterns finds the tables of patterns and schedules right.
func TestDocumentedPatterns(t *testing.T) {
	text := readDoc(t, "docs/policies.md")
	patterns := patternRE.FindAllStringSubmatch(text, -1)
	for _, row := range patterns {
		m, err := matcher.New(&policy.Policy{Scope: []policy.ScopeRule{
			{Repositories: policy.Selector{Matches: []string{row[1]}}, Untagged: true}}})
		if err != nil {
			t.Errorf("%s: %v", row[1], err)
		} else if got := m.Untagged(row[2]); got != (row[3] == "yes") {
			t.Errorf("%s matches %s: %t, the document says %s", row[1], row[2], got, row[3])
		}
	}
	_, schedules, _ := strings.Cut(text, "### Schedules")
	crons := cronRE.FindAllStringSubmatch(schedules, -1)
	for _, row := range crons {
		if _, err := policy.ParseCron(row[1]); (err != nil) != (row[2] == "refused") {
			t.Errorf("schedule %s: %v, the document says %s", row[1], err, row[2])
		}
	}
	if len(patterns) < 15 || len(crons) < 9 {
		t.Errorf("%d patterns and %d schedules: the test looks in the wrong place", len(patterns), len(crons))
	}
}

var costRE = regexp.MustCompile(`(?m)^\| (.+?) \| (\d+) HEAD, (\d+) GET, (\d+) POST, (\d+) PUT \|`)

// TestDocumentedCosts counts requests and finds the README's table right.
func TestDocumentedCosts(t *testing.T) {
	readme := readDoc(t, "README.md")
	t.Chdir(t.TempDir())
	s := registrytest.Distribution(t)
	const repositories, images = 3, 5 // in each
	for i := range repositories * images {
		s.Push(t, fmt.Sprintf("library/app%d:v%d", i%repositories, i), registrytest.Image(t))
	}
	if err := os.WriteFile(localConfig, fmt.Appendf(nil, `registries: [{name: r, host: %q, insecure: true, limits: {requests_per_second: 1000}}]
keys: [{name: k, uri: "file:k.key"}]
policies: [{name: p, registry: r, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}], key: k}]
state: state
`, s.Host), 0o600); err != nil {
		t.Fatal(err)
	}
	count := func(args ...string) map[string]int {
		s.Reset()
		if code := execute(append(args, "--config", localConfig, "--log-level", "error"), nil, io.Discard, os.Stderr); code != exitOK {
			t.Fatalf("%v: exit %d", args, code)
		}
		return s.Requests()
	}
	if code := execute([]string{"key", "generate", "--out", "k"}, nil, io.Discard, os.Stderr); code != exitOK {
		t.Fatal("no key")
	}
	costs := map[string][4]int{}
	for _, row := range costRE.FindAllStringSubmatch(readme, -1) {
		var c [4]int
		for i := range c {
			c[i], _ = strconv.Atoi(row[i+2])
		}
		costs[row[1]] = c
	}
	run, repository := costs["a run"], costs["a repository"]
	total := func(name string, extra [4]int) map[string]int {
		c, ok := costs[name]
		if !ok {
			t.Fatalf("README.md has no row %q in its table of costs: %v", name, costs)
		}
		out := map[string]int{}
		for i, verb := range []string{"HEAD", "GET", "POST", "PUT"} {
			if n := run[i] + repositories*(repository[i]+extra[i]) + repositories*images*c[i]; n > 0 {
				out[verb] = n
			}
		}
		return out
	}
	if diff := cmp.Diff(total("a new signature", costs["the first signature in a repository, besides"]), count("run", "--once")); diff != "" {
		t.Errorf("signing (-README +counted):\n%s", diff)
	}
	if diff := cmp.Diff(total("an artifact that was verified not long ago", [4]int{}), count("run", "--once")); diff != "" {
		t.Errorf("signing again (-README +counted):\n%s", diff)
	}
	if diff := cmp.Diff(total("an artifact that is signed already", [4]int{}), count("run", "--once", "--full")); diff != "" {
		t.Errorf("verifying everything (-README +counted):\n%s", diff)
	}
}
