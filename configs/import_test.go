package configs

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/policy"
)

type importFunc func(io.Reader) ([]byte, []Fault, error)

func importerOf(name string) importFunc {
	if strings.HasPrefix(filepath.Base(name), "tcr") {
		return ImportTCR
	}
	return ImportSWR
}

// loadImported loads imported policies as a user would: as a policy file of a
// configuration that declares what they name.
func loadImported(t *testing.T, text []byte) []policy.Policy {
	t.Helper()
	dir := t.TempDir()
	main := "policy_files: [imported.yaml]\n" +
		"registries:\n- {name: tcr-f7g1ir99, host: tcr.example.com}\n- {name: to-complete, host: to-complete.example.com}\n" +
		"keys:\n- name: release\n  uri: file:release.key\n  algorithm: RSA_PKCS1_SHA_256\n" +
		"  aliases: [08408a30-0416-11ed-abdc-52540036b432, key-123456, other]\n- {name: to-complete, uri: 'file:b.key'}\n"
	for name, content := range map[string]string{"main.yaml": main, "imported.yaml": string(text)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "main.yaml"))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c.Policies
}

func TestImport(t *testing.T) {
	one := func(patterns ...string) policy.Selector { return policy.Selector{Matches: patterns} }
	all := []policy.ScopeRule{{Repositories: one("**"), Tags: one("**")}}
	off := new(bool)
	manual, onPush := policy.Trigger{Type: policy.Manual}, policy.Trigger{Type: policy.EventBased}
	for _, tt := range []struct {
		file  string
		want  []policy.Policy
		notes []string
	}{
		{
			"tcr-request.json",
			[]policy.Policy{{Name: "library signing", Registry: "tcr-f7g1ir99", Namespace: "library", Trigger: onPush, Scope: all, Key: "release"}},
			[]string{"signatures that TCR made itself are not read; images get new ones"},
		},
		{
			"tcr-metadata.json",
			[]policy.Policy{{Name: "library signing", Enabled: off, Registry: "to-complete", Namespace: "to-complete", Trigger: onPush, Scope: all, Key: "release", Domain: "images.example.com"}},
			[]string{
				"registry is not in this JSON; the policy is disabled until it is completed",
				"namespace is not in this JSON; the policy is disabled until it is completed",
				"signatures that TCR made itself are not read; images get new ones",
			},
		},
		{
			"tcr-namespaces.json",
			[]policy.Policy{
				{Name: "library signing", Enabled: off, Registry: "to-complete", Namespace: "library", Trigger: onPush, Scope: all, Key: "release"},
				{Name: "library signing-2", Enabled: off, Registry: "to-complete", Namespace: "team", Trigger: onPush, Scope: all, Key: "release"},
			},
			[]string{
				"NamespaceList[0].Metadata[1].Value: registry is not in this JSON; the policy is disabled until it is completed",
				"NamespaceList[0].Metadata[1].Value: signatures that TCR made itself are not read; images get new ones",
				"NamespaceList[2].Metadata[0].Value: registry is not in this JSON; the policy is disabled until it is completed",
				"NamespaceList[2].Metadata[0].Value: signatures that TCR made itself are not read; images get new ones",
				`NamespaceList[2].Metadata[0].Value: "library signing" is called "library signing-2"`,
			},
		},
		{
			"swr-create.json",
			[]policy.Policy{{Name: "aaa", Enabled: off, Registry: "to-complete", Namespace: "to-complete", Trigger: manual, Scope: []policy.ScopeRule{{Repositories: one("{repo}"), Tags: one("**")}}, Key: "release"}},
			[]string{
				"namespace_name: is missing; the policy is disabled until its namespace is completed",
				"registry: the instance is not in this JSON; name the registry",
			},
		},
		{
			"swr-create-untagged.json",
			[]policy.Policy{{Name: "aaa", Enabled: off, Registry: "to-complete", Namespace: "to-complete", Trigger: manual, Scope: []policy.ScopeRule{{Repositories: one("{repo}"), Tags: one("**"), Untagged: true}}, Key: "release"}},
			[]string{
				"namespace_name: is missing; the policy is disabled until its namespace is completed",
				"registry: the instance is not in this JSON; name the registry",
			},
		},
		{
			"swr-list.json",
			[]policy.Policy{{Name: "test-abc", Enabled: off, Registry: "to-complete", Namespace: "to-complete", Trigger: manual, Scope: all, Key: "to-complete"}},
			[]string{
				"policies[0].namespace_name: is missing; the policy is disabled until its namespace is completed",
				"policies[0].signature_key: is missing; the policy is disabled until its key is completed",
				"policies[0].signature_algorithm: is missing; declare the key with the algorithm that is wanted",
				"policies[0].registry: the instance is not in this JSON; name the registry",
				"total: says 2 policies, but 1 are here: the other pages are missing",
			},
		},
		{
			"swr-detail.json",
			[]policy.Policy{{
				Name: "release", Description: "every release image", Registry: "to-complete", Namespace: "library",
				Trigger: policy.Trigger{Type: policy.Scheduled, Cron: "0 0 2 * * *"},
				Scope: []policy.ScopeRule{
					{Repositories: policy.Selector{Excludes: []string{"test/**"}}, Tags: policy.Selector{Excludes: []string{"*-rc*"}}},
					{Repositories: one("{a,b}"), Tags: one("v[!0]*"), Untagged: true},
				},
				Key: "release",
			}},
			[]string{
				"registry: the instance is not in this JSON; name the registry",
				`scope_rules[0].scope_selectors.repository[0].pattern: "test/**" also matches what stands before /**, without anything below it`,
				`scope_rules[1].tag_selectors[0].pattern: "v[!0]*" matches what is not in [!...], and not the character '!'`,
				`scope_rules[1].tag_selectors[0].extras: "x" is unknown and was ignored`,
				`name: "发布/release_" is called "release"`,
			},
		},
	} {
		t.Run(tt.file, func(t *testing.T) {
			f, err := os.Open(filepath.Join("testdata", "import", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }() // only read
			text, faults, err := importerOf(tt.file)(f)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, loadImported(t, text)); diff != "" {
				t.Errorf("policies (-want +got):\n%s", diff)
			}
			var notes []string
			for _, n := range faults {
				notes = append(notes, n.Error())
			}
			if diff := cmp.Diff(tt.notes, notes); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestImportSaysHowToDeclare(t *testing.T) {
	for file, want := range map[string]string{
		"tcr-request.json":  "algorithm RSA_PKCS1_SHA_256",
		"tcr-metadata.json": `KMS region "ap-guangzhou"`,
		"swr-create.json":   "# Declare the key with algorithm ECDSA_SHA_256.",
		"swr-detail.json":   "# Declare the key with algorithm SM2DSA_SM3.",
		"swr-list.json":     "# Complete the key, then set enabled to true.",
	} {
		f, err := os.Open(filepath.Join("testdata", "import", file))
		if err != nil {
			t.Fatal(err)
		}
		text, _, err := importerOf(file)(f)
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, and no %q in\n%s", file, err, want, text)
		}
		_ = f.Close()
	}
}

func TestImportRefuses(t *testing.T) {
	swr, err := os.ReadFile("testdata/import/swr-create.json")
	if err != nil {
		t.Fatal(err)
	}
	edited := func(old, replacement string) string {
		if !strings.Contains(string(swr), old) {
			t.Fatalf("no %q to replace", old)
		}
		return strings.Replace(string(swr), old, replacement, 1)
	}
	for _, tt := range []struct {
		name, text string
		read       importFunc
		want       string
	}{
		{"not JSON", "{\n  \"Name\": x\n}", ImportTCR, "line 2: is not JSON: invalid character 'x' looking for beginning of value"},
		{"empty", "", ImportSWR, "line 1: is not JSON: unexpected end of JSON input"},
		{"too large", strings.Repeat(" ", MaxFile+1), ImportTCR, "is larger than 4 MiB; allowed: at most 4194304 bytes"},
		{"a list", "[]", ImportTCR, "is not an object"},
		{"null", "null", ImportSWR, "is not an object"},
		{"TCR without anything", "{}", ImportTCR, "RegistryId: is required\nName: is required\nNamespaceName: is required\nKmsId: is required"},
		{"TCR field in another case", `{"registryid":"a","Name":"b","NamespaceName":"c","KmsId":"d"}`, ImportTCR, "RegistryId: is required"},
		{"TCR wrong type", `{"RegistryId":"a","Name":"b","NamespaceName":"c","KmsId":"d","Disabled":"no"}`, ImportTCR, "Disabled: is a JSON string; allowed: the type that the vendor documents"},
		{"TCR metadata of the wrong type", `{"name":"a","kms_id":"d","disabled":"no","create_at":7}`, ImportTCR, "disabled: is a JSON string; allowed: the type that the vendor documents"},
		{"TCR namespace", `{"RegistryId":"a","Name":"b","NamespaceName":"C","KmsId":"d"}`, ImportTCR, `cannot be imported: namespace: "C" is not allowed; allowed: a repository name prefix without leading or trailing '/': lower-case letters, digits, single '.', '_', '-' and '/' between them`},
		{"TCR metadata", `{"Metadata":[{"Key":"kms_sign","Value":"{"}]}`, ImportTCR, "Metadata[0].Value: is not an object"},
		{"TCR no key", `{"name":"a","kms_id":""}`, ImportTCR, "kms_id: is required"},
		{"extras", edited(`"extras" : ""`, `"extras" : "{untagged:true}"`), ImportSWR, `scope_rules[0].tag_selectors[0].extras: "{untagged:true}" is not a JSON object; allowed: empty, {"untagged":true} or {"untagged":false}`},
		{"untagged", edited(`"extras" : ""`, `"extras" : "{\"untagged\":\"yes\"}"`), ImportSWR, `scope_rules[0].tag_selectors[0].extras: untagged is not a truth value; allowed: empty, {"untagged":true} or {"untagged":false}`},
		{"decoration", edited(`"matches"`, `"repoMatches"`), ImportSWR, `scope_rules[0].tag_selectors[0].decoration: "repoMatches" is not known; allowed: matches, excludes`},
		{"kind", edited(`"doublestar"`, `"regex"`), ImportSWR, `scope_rules[0].tag_selectors[0].kind: "regex" is not known; allowed: doublestar`},
		{"pattern", edited(`"{repo}"`, `"{repo"`), ImportSWR, `scope_rules[0].scope_selectors.repository[0].pattern: "{repo" is malformed; allowed: ` + policy.PatternAllowed},
		{"empty pattern", edited(`"{repo}"`, `""`), ImportSWR, `scope_rules[0].scope_selectors.repository[0].pattern: is empty; allowed: ` + policy.PatternAllowed},
		{"scope selector", edited(`"repository"`, `"project"`), ImportSWR, "scope_rules[0].scope_selectors.project: is not known; allowed: repository\nscope_rules[0].scope_selectors.repository: has 0 selectors; allowed: one selector"},
		{"mode", edited(`"selection"`, `"all"`), ImportSWR, `scope_rules[0].repo_scope_mode: "all" is not known; allowed: regular, selection`},
		{"method", edited(`"KMS"`, `"cosign"`), ImportSWR, `signature_method: "cosign" is not known; allowed: KMS`},
		{"algorithm", edited(`"ECDSA_SHA_256"`, `"RSA"`), ImportSWR, `signature_algorithm: "RSA" is not known; allowed: ECDSA_SHA_256, ECDSA_SHA_384, SM2DSA_SM3`},
		{"trigger", edited(`"manual"`, `"daily"`), ImportSWR, `cannot be imported: trigger.type: "daily" is not allowed; allowed: manual, scheduled, event_based`},
		{"cron", edited(`"manual"`, `"scheduled"`), ImportSWR, "cannot be imported: trigger.cron: is required for a scheduled trigger; allowed: " + policy.CronFields},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, _, err := tt.read(strings.NewReader(tt.text))
			if err == nil {
				t.Fatalf("imported as\n%s", text)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzImport proves that whatever is imported can be loaded.
func FuzzImport(f *testing.F) {
	paths, err := filepath.Glob("testdata/import/*.json")
	if err != nil || len(paths) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, read := range []importFunc{ImportTCR, ImportSWR} {
			out, _, err := read(strings.NewReader(string(text)))
			if err != nil {
				continue
			}
			_, err = parse("imported.yaml", strings.NewReader(string(out)), files{})
			for line := range strings.Lines(errorText(err)) {
				if !strings.Contains(line, "is not declared under") {
					t.Errorf("imported, but refused: %s\n%s", line, out)
				}
			}
		}
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
