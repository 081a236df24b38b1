package registry

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

var (
	garHost = regexp.MustCompile(`^([a-z0-9-]+)-docker\.pkg\.dev$`)
	gcrHost = regexp.MustCompile(`^(?:(us|eu|asia)\.)?gcr\.io$`)
)

// A garPlace is what a host of Google's says of its repositories.
type garPlace struct {
	project    string // configured; "": any
	location   string // "": not known, and the API cannot be asked
	repository string // of Artifact Registry, if the host is one: gcr.io and its kin
}

func newGARPlace(cfg Config) garPlace {
	host := strings.ToLower(cfg.Host)
	place := garPlace{project: cfg.Cloud.Project, location: cfg.Cloud.Region}
	if parts := garHost.FindStringSubmatch(host); parts != nil {
		place.location = cmp.Or(place.location, parts[1])
	}
	if parts := gcrHost.FindStringSubmatch(host); parts != nil {
		place.repository = host
		continent := map[string]string{"": "us", "us": "us", "eu": "europe", "asia": "asia"}[parts[1]]
		place.location = cmp.Or(place.location, continent)
	}
	return place
}

// A garName is the name of an image, taken apart as Artifact Registry does.
type garName struct {
	project    string
	repository string
	image      string // with slashes
}

// parse takes a repository's name apart.
func (p garPlace) parse(name string) (garName, error) {
	var n garName
	first, rest, _ := strings.Cut(name, "/")
	if n.project = first; strings.Contains(first, ".") { // a domain's own project
		var own string
		own, rest, _ = strings.Cut(rest, "/")
		n.project += ":" + own
	}
	if n.repository = p.repository; n.repository == "" {
		n.repository, rest, _ = strings.Cut(rest, "/")
	}
	if n.image = rest; n.image == "" || n.repository == "" {
		return garName{}, fmt.Errorf("%s is no image of Artifact Registry: %w", name, ErrNotFound)
	}
	if p.location == "" {
		return garName{}, fmt.Errorf("the host does not say the location: want cloud.region: %w", ErrUnsupported)
	}
	return n, nil
}

// full is parse's opposite.
func (p garPlace) full(repository, image string) string {
	name := strings.Replace(p.project, ":", "/", 1) + "/"
	if p.repository == "" {
		name += repository + "/"
	}
	return name + image
}
