package event

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// hosts are what a registry may be called, in one spelling each.
type hosts map[string]bool

const dockerHub = "docker.io"

const maxHost = 261 // a domain name with a port

var hostName = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+(?:%[a-z0-9._-]+)?\])(?::[0-9]{1,5})?$`)

func newHosts(names []string) (hosts, error) {
	if len(names) == 0 {
		return nil, errors.New("want at least the registry's own")
	}
	h := hosts{}
	for _, name := range names {
		canonical := canonicalHost(name)
		if len(name) > maxHost || !hostName.MatchString(canonical) {
			return nil, fmt.Errorf("%s: want HOST or HOST:PORT", quote(name))
		}
		h[canonical] = true
	}
	return h, nil
}

// canonicalHost returns a host in lower case without a default port. Whether
// HTTP or HTTPS is spoken is not always said, so both defaults go. Docker Hub has three names.
func canonicalHost(host string) string {
	host = strings.ToLower(host)
	if name, port, err := net.SplitHostPort(host); err == nil && (port == "443" || port == "80") {
		host = name
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
	}
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return host
}

// check returns ErrForeign unless host is one of them.
func (h hosts) check(host string) error {
	if !h[canonicalHost(host)] {
		return fmt.Errorf("%w: %s", ErrForeign, quote(host))
	}
	return nil
}

// urlHost returns the host of a URL, "" of one without.
func urlHost(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("is no URL") // the parser's words may hold a password
	}
	return u.Host, nil
}
