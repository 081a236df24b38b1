package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/configs"
)

// What is wrong with events is said when the configuration is read, where file
// and line can be named: what passes there opens.
func TestEventsThatPassOpen(t *testing.T) {
	texts := []string{
		`{host: docker.io, events: {source: dockerhub, secret_file: s}}`,
		`{host: "index.docker.io:443", events: {source: dockerhub, secret_file: s}}`,
		`{host: proxy.example.com, events: {source: dockerhub, secret_file: s, hosts: [Registry-1.docker.io]}}`,
		`{host: "[fe80::1%eth0]:5000", events: {source: zot, secret_file: s, hosts: ["[::1]", "::1"]}}`,
		`{host: r.example.com, events: {source: nexus, secret_file: s}, kind: nexus, cloud: {project: k}}`,
		`{host: r.example.com, events: {source: nexus, secret_file: s, username: u}, kind: nexus, cloud: {project: k}}`,
		`{host: r.example.com, events: {source: nexus, secret_file: s, header: h}, kind: nexus, cloud: {project: k}}`,
		`{host: r.example.com, events: {source: artifactory, secret_file: s, username: u, header: h}, kind: artifactory, cloud: {project: k}}`,
		`{host: r.example.com, events: {source: artifactory, secret_file: s}}`,
		`{host: r.example.com, events: {source: ecr, topic: foo}}`,
		`{host: r.example.com, events: {source: ecr, topic: "arn:aws-cn:sns:cn-north-1:123456789012:x.fifo"}}`,
		`{host: r.example.com, events: {source: ecr, topic: "arn:aws:sns:eu-west-1:123456789012:x", header: h}}`,
		`{host: r.example.com, events: {source: gar, audience: a, service_account: s@example.com}}`,
		`{host: "oci-layout:/srv", kind: oci-layout, events: {source: zot, secret_file: s}}`,
		`{host: "oci-layout:/srv", kind: oci-layout, events: {secret_file: s}}`,
	}
	for c := '!'; c <= '~'; c++ {
		texts = append(texts, fmt.Sprintf(`{host: r.example.com, events: {source: harbor, secret_file: s, header: %q}}`, "X"+string(c)))
	}
	passed := 0
	for _, text := range texts {
		c, err := configs.Parse("sealwright.yaml", strings.NewReader("registries: ["+strings.Replace(text, "{", "{name: r, ", 1)+"]\n"))
		if err != nil {
			if !strings.Contains(err.Error(), "sealwright.yaml:1: registries[0].") {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		passed++
		if _, err := new(opener).receivers(c); err != nil {
			t.Errorf("%s passed, and is then refused: %v", text, err)
		}
	}
	if passed < len(texts)/2 {
		t.Errorf("%d of %d pass", passed, len(texts))
	}
}
