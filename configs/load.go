package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sealwright/sealwright/engine/policy"
)

// MaxFile is the largest configuration file that is read, in bytes.
const MaxFile = 4 << 20

// Load reads the configuration file at path and the policy files it names. When
// anything is wrong with what they say, the error is Errors and holds all of it.
func Load(path string) (*Config, error) {
	f, err := os.Open(path) //nolint:gosec // The file is the user's choice.
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // It was only read.
	return Parse(path, f)
}

// Parse is Load for a main file that is already open. Its name stands in
// faults, and relative paths are resolved against the name's directory.
func Parse(name string, r io.Reader) (*Config, error) {
	return parse(name, r, files{glob: filepath.Glob, open: openFile})
}

func openFile(path string) (io.ReadCloser, error) { return os.Open(path) } //nolint:gosec // Named by the main file.

// files is how policy files are found and read.
type files struct {
	glob func(pattern string) ([]string, error)
	open func(path string) (io.ReadCloser, error)
}

// parse goes through the stages of reading a configuration. Each is tried even
// if an earlier one found faults, so that all can be reported.
func parse(name string, r io.Reader, files files) (*Config, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration %s: %w", name, err)
	}
	directory, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("resolving the directory of %s: %w", name, err)
	}
	c := &Config{}
	c.setDefaults()
	v := &validator{config: c}
	c.root = v.read(name, data, c)
	if c.root.doc == nil { // not YAML: nothing to go on with
		return nil, v.faults.asError()
	}
	for i := range c.Policies {
		c.policies = append(c.policies, c.root.item("policies", i))
	}
	v.policyFiles(files, filepath.Dir(name))
	if v.overflowed {
		return nil, v.faults.asError()
	}
	c.resolvePaths(directory)
	v.validate()
	if err := v.faults.asError(); err != nil {
		return nil, err
	}
	c.resolveAliases()
	return c, nil
}

// read decodes the one document of a file into the struct that to points to,
// and returns where its values stand: nowhere, when the file is no YAML at all.
func (v *validator) read(name string, data []byte, to any) place {
	whole := func(line, column int, problem, allowed string) {
		v.faults = append(v.faults, Fault{File: name, Line: line, Column: column, Problem: problem, Allowed: allowed})
	}
	if len(data) > MaxFile {
		whole(0, 0, "is larger than 4 MiB", "at most 4194304 bytes")
		return place{}
	}
	first, second, err := documents(data)
	switch {
	case err != nil:
		line, column, problem := syntaxProblem(err)
		whole(line, column, problem, "")
		return place{}
	case first == nil:
		whole(1, 1, "is empty", "a configuration")
		return place{}
	case second != nil:
		whole(second.Line, second.Column, "holds a second YAML document", "one document in each file")
	}
	d := &decoder{doc: &document{file: name, marks: map[string]mark{}}}
	d.decode(first, reflect.ValueOf(to).Elem(), "")
	v.decoded(d)
	return place{doc: d.doc}
}

// documents returns the content of the first two documents, nil for one that
// is not there or has no content.
func documents(data []byte) (first, second *yaml.Node, err error) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	next := func() (*yaml.Node, error) {
		var n yaml.Node
		if err := loader.Load(&n); errors.Is(err, io.EOF) || err == nil && len(n.Content) == 0 {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		return n.Content[0], nil
	}
	if first, err = next(); first == nil || err != nil {
		return nil, nil, err
	}
	second, err = next()
	if first.Kind == yaml.ScalarNode && first.ShortTag() == "!!null" && second == nil {
		first = nil
	}
	return first, second, err
}

func syntaxProblem(err error) (line, column int, problem string) {
	problem = strings.TrimPrefix(err.Error(), "yaml: ")
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		problem = e.Message
		if e.ContextMsg != "" {
			problem += " " + e.ContextMsg
		}
		line, column = e.Mark.Line, e.Mark.Column
	}
	return line, column, "is not YAML: " + problem
}

// policyFiles reads every file that policy_files names, once, and appends its
// policies.
func (v *validator) policyFiles(files files, directory string) {
	read := map[string]bool{}
	for i, pattern := range v.config.PolicyFiles {
		at := v.config.root.item("policy_files", i)
		if pattern == "" {
			v.add(at, "", "is empty", "a path or a glob")
			continue
		}
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(directory, pattern)
		}
		paths, err := files.glob(pattern)
		switch {
		case err != nil:
			v.add(at, "", "is not a glob: "+err.Error(), "a path or a glob: * ? [a-z]")
		case len(paths) == 0 && strings.ContainsAny(pattern, `*?[`):
			v.config.notes = append(v.config.notes, at.fault("matches no file", ""))
		case len(paths) == 0:
			v.add(at, "", fmt.Sprintf("%s does not exist", pattern), "a path or a glob")
		}
		for _, path := range paths {
			if !read[path] {
				read[path] = true
				v.policyFile(files, path, at)
			}
		}
	}
}

func (v *validator) policyFile(files files, path string, at place) {
	f, err := files.open(path)
	if err != nil {
		v.add(at, "", "cannot be read: "+err.Error(), "")
		return
	}
	defer f.Close() //nolint:errcheck // It was only read.
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		v.add(at, "", "cannot be read: "+err.Error(), "")
		return
	}
	var content struct {
		Policies []policy.Policy `yaml:"policies"`
	}
	root := v.read(path, data, &content)
	for i := range content.Policies {
		v.config.Policies = append(v.config.Policies, content.Policies[i])
		v.config.policies = append(v.config.policies, root.item("policies", i))
	}
}

// resolveAliases replaces a key's alias in a policy by the key's name, so that
// later every key has one name only.
func (c *Config) resolveAliases() {
	for i := range c.Policies {
		if k, ok := c.Key(c.Policies[i].Key); ok {
			c.Policies[i].Key = k.Name
		}
	}
}

// resolvePaths makes every path in c absolute: relative ones are below
// directory.
func (c *Config) resolvePaths(directory string) {
	resolve := func(paths ...*string) {
		for _, p := range paths {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(directory, *p)
			}
		}
	}
	if c.State != "" && !strings.Contains(c.State, ":") && !strings.Contains(c.State, "=") {
		resolve(&c.State)
	}
	resolve(&c.TLS.CertFile, &c.TLS.KeyFile, &c.Tracing.TokenFile, &c.SignatureKeys.SealKeyFile)
	for i := range c.SignatureKeys.FormerSealKeyFiles {
		resolve(&c.SignatureKeys.FormerSealKeyFiles[i])
	}
	for i := range c.Registries {
		r := &c.Registries[i]
		resolve(&r.Storage, &r.Auth.DockerConfig, &r.Auth.PasswordFile, &r.Cloud.SecretFile, &r.Cloud.ConfigFile, &r.Events.SecretFile)
	}
	for i := range c.KeyStores {
		s := &c.KeyStores[i]
		resolve(&s.CAFile, &s.Helper, &s.Auth.TokenFile, &s.Auth.SecretIDFile, &s.Auth.JWTFile, &s.Auth.SecretKeyFile, &s.Auth.ConfigFile)
	}
	for i := range c.Policies {
		for j := range c.Policies[i].Timestamp {
			resolve(&c.Policies[i].Timestamp[j].CA)
		}
		resolve(&c.Policies[i].TransparencyLogKey)
	}
	for i := range c.Keys {
		k := &c.Keys[i]
		resolve(&k.PasswordFile, &k.CertificateChain, &k.DisableFile)
		k.URI = resolveURI(k.URI, directory)
		for id, uri := range k.Versions {
			k.Versions[id] = resolveURI(uri, directory)
		}
	}
	for i := range c.PublicKeys {
		resolve(&c.PublicKeys[i].PublicKeyFile)
	}
	for i := range c.Access {
		a := &c.Access[i]
		resolve(&a.SecretKeyFile, &a.PublicKeyFile, &a.CertificateFile, &a.TokenFile)
	}
	for i := range c.Sinks {
		s := &c.Sinks[i]
		resolve(&s.Path, &s.CAFile, &s.TokenFile, &s.ConfigFile)
	}
}

// resolveURI makes the path of a file: URI absolute. Others stay as they are.
func resolveURI(uri, directory string) string {
	path, isFile := strings.CutPrefix(uri, "file:")
	if !isFile || path == "" {
		return uri
	}
	if local, ok := strings.CutPrefix(path, "//"); ok {
		if !strings.HasPrefix(local, "/") {
			return uri // names a host; refused by validate
		}
		path = local
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(directory, path)
	}
	return "file:" + filepath.Clean(path)
}
