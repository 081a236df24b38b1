package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/configs"
)

// cloudEnvironment gives what the clouds' tools have, so that what is refused is
// refused for the configuration alone. It returns a file with a secret and one of
// Oracle's tools.
func cloudEnvironment(t *testing.T) (secret, oci string) {
	t.Helper()
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	keyFile := write("oci.pem", string(pemKey))
	secret = write("secret", "geheim")
	oci = write("oci", "[DEFAULT]\ntenancy=t\nuser=u\nfingerprint=f\nkey_file="+keyFile+"\n")
	for name, value := range map[string]string{
		"HUAWEICLOUD_SDK_AK": "ak", "HUAWEICLOUD_SDK_SK": "sk", "HUAWEICLOUD_SDK_PROJECT_ID": "p",
		"TENCENTCLOUD_SECRET_ID": "id", "TENCENTCLOUD_SECRET_KEY": "key", "TENCENTCLOUD_REGION": "ap-guangzhou",
		"OCI_CLI_CONFIG_FILE": oci,
	} {
		t.Setenv(name, value)
	}
	return secret, oci
}

// oneRegistry is a configuration with a policy that wants untagged artifacts.
func oneRegistry(fields string) string {
	return "registries: [{name: r, " + fields + "}]\nkeys: [{name: k, uri: 'file:/k'}]\n" +
		"policies: [{name: p, registry: r, key: k, domain: d.example.com, trigger: {type: manual}, scope: [{repositories: a, untagged: true}]}]\n"
}

// TestKindsInStep: what the configuration accepts and warns of is what the
// registry of the kind accepts and cannot see.
func TestKindsInStep(t *testing.T) {
	secret, oci := cloudEnvironment(t)
	storage := t.TempDir()
	const ocid = "ocid1.compartment.oc1..aaaa"
	for _, fields := range []string{
		"host: r.example.com",
		"host: r.example.com, kind: generic",
		"host: r.example.com, kind: auto",
		"host: r.example.com, kind: distribution",
		"host: r.example.com, kind: distribution, storage: STORAGE",
		"host: r.example.com, kind: harbor",
		"host: r.example.com, kind: harbor, api: 'https://harbor.example.com'",
		"host: r.example.com, kind: zot",
		"host: r.example.com, kind: zot, storage: STORAGE",
		"host: r.example.com, kind: quay",
		"host: r.example.com, kind: quay, cloud: {secret_file: SECRET}",
		"host: r.example.com, kind: quay, cloud: {secret_file: SECRET, project: a/b}",
		"host: r.example.com, kind: nexus",
		"host: r.example.com, kind: nexus, cloud: {project: docker-hosted}",
		"host: r.example.com, kind: nexus, cloud: {project: a/b}",
		"host: r.example.com, kind: artifactory",
		"host: r.example.com, kind: artifactory, cloud: {project: docker-local, secret_file: SECRET}",
		"host: r.example.com, kind: gitlab, cloud: {project: acme}",
		"host: r.example.com, kind: gitlab, api: 'https://gitlab.example.com'",
		"host: r.example.com, kind: gitlab, api: 'https://gitlab.example.com', cloud: {project: acme/team}",
		"host: r.example.com, kind: gitlab, api: 'https://gitlab.example.com', cloud: {project: 'a b'}",
		"host: 'r.example.com:5050', kind: gitlab, cloud: {project: acme}",
		"host: registry.gitlab.com, kind: gitlab, cloud: {project: acme}",
		"host: r.example.com, kind: ecr",
		"host: r.example.com, kind: ecr, cloud: {region: eu-west-1}",
		"host: r.example.com, kind: ecr, api: 'https://ecr.example.com'",
		"host: r.example.com, kind: ecr, api: 'https://ecr.example.com', cloud: {region: eu-west-1}",
		"host: 123456789012.dkr.ecr.eu-west-1.amazonaws.com, kind: ecr",
		"host: 123456789012.dkr.ecr.eu-west-1.amazonaws.com, kind: ecr, cloud: {access_key: AK}",
		"host: 123456789012.dkr.ecr.eu-west-1.amazonaws.com, kind: ecr, cloud: {secret_file: SECRET}",
		"host: 123456789012.dkr.ecr.eu-west-1.amazonaws.com, kind: ecr, cloud: {access_key: AK, secret_file: SECRET}",
		"host: 123456789012.dkr.ecr.eu-west-1.amazonaws.com, kind: ecr, cloud: {access_key: AK, secret_file: SECRET, profile: p}",
		"host: r.example.com, kind: gar",
		"host: r.example.com, kind: gar, cloud: {project: p}",
		"host: r.example.com, kind: gar, cloud: {project: p, region: europe-west4}",
		"host: europe-west4-docker.pkg.dev, kind: gar, cloud: {project: p}",
		"host: eu.gcr.io, kind: gar, cloud: {project: p}",
		"host: r.example.com, kind: acr",
		"host: r.example.com, kind: ocir",
		"host: r.example.com, kind: ocir, cloud: {region: eu-frankfurt-1}",
		"host: r.example.com, kind: ocir, cloud: {compartment: " + ocid + "}",
		"host: r.example.com, kind: ocir, cloud: {compartment: " + ocid + ", region: eu-frankfurt-1}",
		"host: r.example.com, kind: ocir, cloud: {compartment: prod, region: eu-frankfurt-1}",
		"host: r.example.com, kind: ocir, api: 'https://artifacts.example.com', cloud: {compartment: " + ocid + ", config_file: OCI}",
		"host: fra.ocir.io, kind: ocir, cloud: {compartment: " + ocid + "}",
		"host: FRA.ocir.io, kind: ocir, cloud: {compartment: " + ocid + "}",
		"host: r.example.com, kind: swr",
		"host: r.example.com, kind: swr, cloud: {instance: i}",
		"host: r.example.com, kind: swr, cloud: {region: cn-north-4}",
		"host: r.example.com, kind: swr, cloud: {instance: i, region: cn-north-4}",
		"host: r.example.com, kind: swr, cloud: {instance: 'a b', region: cn-north-4}",
		"host: r.example.com, kind: swr, cloud: {instance: i, region: CN}",
		"host: r.example.com, kind: swr, cloud: {instance: i, region: cn-north-4, project: 'a b'}",
		"host: r.example.com, kind: swr, cloud: {instance: i, region: cn-north-4, secret_file: SECRET}",
		"host: r.example.com, kind: swr, api: 'https://swr.example.com', cloud: {instance: i}",
		"host: r.example.com, kind: tcr",
		"host: r.example.com, kind: tcr, cloud: {instance: tcr-1}",
		"host: r.example.com, kind: tcr, cloud: {instance: prod}",
		"host: r.example.com, kind: tcr, cloud: {instance: tcr-1, region: AP}",
		"host: r.example.com, kind: tcr, cloud: {instance: tcr-1, access_key: AK, secret_file: SECRET}",
		"host: 'oci-layout:STORAGE', kind: oci-layout",
		"host: 'oci-layout:STORAGE', kind: auto",
		"host: 123456789012.dkr.ecr.eu-west-1.amazonaws.com, kind: auto",
		"host: europe-west4-docker.pkg.dev, kind: auto",
		"host: acme.azurecr.us, kind: auto",
		"host: fra.ocir.io, kind: auto",
		"host: fra.ocir.io, kind: auto, cloud: {compartment: " + ocid + "}",
		"host: ocir.eu-frankfurt-1.oci.oraclecloud.com, kind: auto, cloud: {compartment: " + ocid + "}",
		"host: x.oci.example.com, kind: auto",
		"host: acme-x1.swr-pro.cn-north-4.myhuaweicloud.com, kind: auto",
		"host: acme-x1.swr-pro.cn-north-4.myhuaweicloud.com, kind: auto, cloud: {instance: i, region: cn-north-4}",
		"host: swr.cn-north-4.myhuaweicloud.com, kind: auto",
		"host: acme.tencentcloudcr.com, kind: auto, cloud: {instance: tcr-1}",
		"host: quay.io, kind: auto",
		"host: QUAY.io, kind: auto, cloud: {secret_file: SECRET}",
		"host: registry.gitlab.com, kind: auto, cloud: {project: acme}",
	} {
		text := strings.NewReplacer("SECRET", secret, "STORAGE", storage, "OCI", oci).Replace(fields)
		c, err := configs.Parse("sealwright.yaml", strings.NewReader(oneRegistry(text)))
		var rc configs.Registry
		if err == nil {
			rc = c.Registries[0]
		} else {
			rc = unchecked(t, text)
		}
		r, openErr := openRegistry(rc, "")
		if (err == nil) != (openErr == nil) {
			t.Errorf("%s\nthe configuration says %v\nthe registry %v", fields, err, openErr)
		}
		if err != nil || openErr != nil {
			continue
		}
		warned := ""
		for _, w := range c.Warnings() {
			if strings.HasSuffix(w.Field, ".untagged") {
				warned = w.Problem
			}
		}
		if (warned != "") != (r.Untagged() != "") {
			t.Errorf("%s\nthe configuration warns %q\nthe registry says %q", fields, warned, r.Untagged())
		}
	}
}

// unchecked reads a registry's fields from a configuration that is refused.
func unchecked(t *testing.T, fields string) configs.Registry {
	t.Helper()
	var rc configs.Registry
	for field, to := range map[string]*string{
		"host: ": &rc.Host, "api: ": &rc.API, "storage: ": &rc.Storage, "region: ": &rc.Cloud.Region, "project: ": &rc.Cloud.Project,
		"instance: ": &rc.Cloud.Instance, "compartment: ": &rc.Cloud.Compartment, "access_key: ": &rc.Cloud.AccessKey,
		"secret_file: ": &rc.Cloud.SecretFile, "config_file: ": &rc.Cloud.ConfigFile, "profile: ": &rc.Cloud.Profile,
	} {
		if _, rest, found := strings.Cut(fields, field); found {
			*to = strings.Trim(strings.FieldsFunc(rest, func(r rune) bool { return r == ',' || r == '}' })[0], "'")
		}
	}
	_, rest, _ := strings.Cut(fields, "kind: ")
	kind, _, _ := strings.Cut(rest, ",")
	rc.Name, rc.Kind = "r", configs.Kind(kind)
	rc.Limits = configs.Limits{RequestsPerSecond: 1, Concurrency: 1}
	if rc.Host == "" || kind == "" {
		t.Fatal(fmt.Errorf("%s: not understood", fields))
	}
	return rc
}
