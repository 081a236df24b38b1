package configs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/policy"
)

// warned parses a configuration with the given registry, key and policy fields,
// beside the usual ones, and returns its warnings without the file.
func warned(t *testing.T, registry, key, fields string) []string {
	t.Helper()
	for _, usual := range []string{"trigger: {type: manual}", "scope: [{repositories: '**', tags: '**'}]"} {
		if word, _, _ := strings.Cut(usual, ":"); !strings.Contains(fields, word+": ") {
			fields = usual + ", " + fields
		}
	}
	c := mustParse(t, "registries: [{name: r, host: r.example.com, "+registry+"}]\n"+
		"keys: [{name: k, uri: 'file:/k', "+key+"}]\n"+
		"policies: [{name: p, registry: r, key: k, "+fields+"}]\n")
	var all []string
	for _, w := range c.Warnings() {
		_, text, _ := strings.Cut(w.Error(), ": ")
		all = append(all, text)
	}
	return all
}

func TestWarnings(t *testing.T) {
	untagged := "scope: [{repositories: a, untagged: true}]"
	for _, tt := range []struct {
		name, registry, key, policy string
		want                        string // "" for none
	}{
		{"none", "", "", "", ""},
		{"P-256", "", "algorithm: ECDSA_SHA_256", "", ""},
		{"PKCS#1", "", "algorithm: RSA_PKCS1_SHA_256", "", ""},
		{"PKCS#1 with SHA-512", "", "algorithm: RSA_PKCS1_SHA_512", "", "policies[0].key: signs with RSA_PKCS1_SHA_512, which the cosign command verifies only when told so; allowed: cosign verify --signature-digest-algorithm=sha512"},
		{"RSA-PSS", "", "algorithm: RSA_PSS_SHA_256", "", "policies[0].key: signs with RSA_PSS_SHA_256, but the cosign command verifies RSA only as PKCS#1; allowed: RSA_PKCS1_SHA_256, or sealwright verify in place of cosign verify"},
		{"SM2", "", "algorithm: SM2DSA_SM3", "formats: [cosign]", "policies[0].key: signs with SM2DSA_SM3, which the cosign command cannot verify; allowed: sealwright verify, or OpenSSL with -pkeyopt distid:1234567812345678"},
		{"P-384", "", "algorithm: ECDSA_SHA_384", "", "policies[0].key: signs with ECDSA_SHA_384, which the cosign command verifies only when told so; allowed: cosign verify --signature-digest-algorithm=sha384"},
		{"disabled key", "", "disabled: true", "", `policies[0].key: "k" is disabled: nothing will be signed; allowed: an enabled key, or enabled: false`},
		{"disabled key of a disabled policy", "", "disabled: true", "enabled: false", ""},
		{"plain HTTP", "insecure: true", "", "", `registries[0].insecure: sends credentials and images over plain HTTP to "r.example.com"; allowed: TLS, or a loopback host`},
		{"untagged", "", "", untagged, `policies[0].scope[0].untagged: untagged artifacts cannot be seen in registry "r": the OCI API does not list them; allowed: a kind that lists them, or no untagged`},
		{"untagged without storage", "kind: distribution", "", untagged, `policies[0].scope[0].untagged: untagged artifacts cannot be seen in registry "r" without storage; allowed: storage: DIRECTORY, or no untagged`},
		{"untagged with storage", "kind: distribution, storage: /srv", "", untagged, ""},
		{"untagged in Harbor", "kind: harbor", "", untagged, ""},
		{"untagged in zot", "kind: zot", "", untagged, `policies[0].scope[0].untagged: untagged artifacts cannot be seen in registry "r" without storage; allowed: storage: DIRECTORY, or no untagged`},
		{"untagged in Quay", "kind: quay, cloud: {secret_file: /s}", "", untagged, `policies[0].scope[0].untagged: untagged artifacts cannot be seen in registry "r": Quay lists tags, and soon deletes what has none; allowed: no untagged`},
		{"untagged, kind not known", "kind: auto", "", untagged, `policies[0].scope[0].untagged: whether untagged artifacts can be seen in registry "r" is not known before it is asked what it is; allowed: the kind that sealwright doctor shows`},
		{"events", "", "", "trigger: {type: event_based}", "policies[0].trigger.type: is event_based, but registry \"r\" has no events: the policy only runs when fired by hand or by reconcile; allowed: events of the registry, and listen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := warned(t, tt.registry, tt.key, tt.policy)
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWarningsOfKnownHosts: a host whose name says its kind is taken for that,
// unless what the kind needs is not set.
func TestWarningsOfKnownHosts(t *testing.T) {
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com": "",
		"europe-west4-docker.pkg.dev":                  "",
		"acme.azurecr.io":                              "",
		"oci-layout:/srv/images":                       `policies[0].domain: is empty: what is signed in the directory of registry "r" is called r/REPOSITORY; allowed: the host that the images will be pulled from`,
		"quay.io": `registries[0].kind: auto lists "quay.io" as generic, because cloud.secret_file is not set; allowed: the settings of kind quay` + "\n" +
			`policies[0].scope[0].untagged: untagged artifacts cannot be seen in registry "r" without cloud.secret_file; allowed: the settings of kind quay, or no untagged`,
	} {
		c := mustParse(t, "registries: [{name: r, host: '"+host+"', kind: auto}]\nkeys: [{name: k, uri: 'file:/k'}]\n"+
			"policies: [{name: p, registry: r, key: k, trigger: {type: manual}, scope: [{repositories: a, untagged: true}]}]\n")
		var got []string
		for _, w := range c.Warnings() {
			_, text, _ := strings.Cut(w.Error(), ": ")
			got = append(got, text)
		}
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", host, diff)
		}
	}
}

func TestLoopbackNeedsNoWarning(t *testing.T) {
	for host, loopback := range map[string]bool{
		"localhost": true, "LOCALHOST:5000": true, "registry.localhost:5000": true, "127.0.0.1:5000": true, "127.9.9.9": true, "[::1]:5000": true,
		"registry.example.com": false, "localhost.example.com": false, "10.0.0.1:5000": false, "[fd00::1]": false, "notlocalhost": false,
	} {
		if got := (&Registry{Host: host}).loopback(); got != loopback {
			t.Errorf("%s is on this machine: %t, want %t", host, got, loopback)
		}
	}
}

// TestWarningsOfABuiltConfig proves that a Config need not come from a file.
func TestWarningsOfABuiltConfig(t *testing.T) {
	c := &Config{Registries: []Registry{{Name: "r", Host: "registry.example.com"}}, Policies: []policy.Policy{{Name: "p", Registry: "r", Trigger: policy.Trigger{Type: policy.EventBased}}}}
	got := c.Warnings()
	if len(got) != 1 || got[0].Field != "policies[0].trigger.type" || got[0].File != "" {
		t.Errorf("warnings %+v", got)
	}
	if got := (&Config{}).Warnings(); len(got) != 1 || got[0].Error() != "holds no policy: nothing will be signed" {
		t.Errorf("warnings %+v", got)
	}
}
