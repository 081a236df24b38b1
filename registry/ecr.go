package registry

import (
	"context"
	"fmt"
	"iter"
)

// An ecrLister lists Amazon ECR by its own API: the distribution API lists tags
// alone there, and pages of 1000 with their digests cost far less.
type ecrLister struct {
	api *ecrClient
}

// openECR returns the listing of a registry of kind ecr. Where no credentials
// are configured for the registry, AWS's are exchanged for those.
func openECR(client *Client, cfg Config) (manifestLister, error) {
	api, err := newECRClient(client, cfg)
	if err != nil {
		return nil, err
	}
	if anonymous(cfg.Keychain) {
		client.auth.keychain = newCloudKeychain(api.login.name()+", exchanged for a password of the registry", api.registryLogin)
	}
	return &ecrLister{api}, nil
}

func (l *ecrLister) untagged() string { return "" }

func (l *ecrLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range tokenPages(ctx, "", l.repositoryPage) {
			if err != nil {
				yield("", fmt.Errorf("listing the repositories of %s: %w", l.api.client.said, err))
				return
			}
			for _, name := range page.items {
				if !yield(name, checkRepository(name)) {
					return
				}
			}
		}
	}
}

// An ecrListing is what asks for a page of any listing.
type ecrListing struct {
	RegistryID string     `json:"registryId,omitempty"`
	Repository string     `json:"repositoryName,omitempty"`
	MaxResults int        `json:"maxResults"`
	NextToken  string     `json:"nextToken,omitempty"`
	Filter     *ecrFilter `json:"filter,omitempty"`
}

type ecrFilter struct {
	TagStatus string `json:"tagStatus"`
}

func (l *ecrLister) repositoryPage(ctx context.Context, token string) (names []string, next string, err error) {
	var answer struct {
		Repositories []struct {
			Name string `json:"repositoryName"`
		} `json:"repositories"`
		NextToken string `json:"nextToken"`
	}
	in := ecrListing{RegistryID: l.api.account, MaxResults: l.api.pageSize, NextToken: token}
	if err := l.api.call(ctx, "DescribeRepositories", in, &answer); err != nil {
		return nil, "", err
	}
	for _, r := range answer.Repositories {
		if r.Name == "" {
			return nil, "", fmt.Errorf("repository without a name: %w", ErrCorrupt)
		}
		names = append(names, r.Name)
	}
	return names, answer.NextToken, nil
}

// manifests yields the manifests in the order of ECR, which is its own. Images
// in ECR's archive are not among them: they can not be read.
func (l *ecrLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		if err := checkRepository(repository); err != nil {
			yield(listedManifest{}, err)
			return
		}
		fetch := func(ctx context.Context, token string) ([]listedEntry, string, error) {
			return l.imagePage(ctx, repository, token)
		}
		for m, err := range tokenManifests(ctx, after, fetch) {
			if err != nil {
				err = fmt.Errorf("listing the images of %s/%s: %w", l.api.client.said, repository, err)
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

func (l *ecrLister) imagePage(ctx context.Context, repository, token string) ([]listedEntry, string, error) {
	var answer struct {
		Images []struct {
			Digest       string   `json:"imageDigest"`
			Tags         []string `json:"imageTags"`
			MediaType    string   `json:"imageManifestMediaType"`
			ArtifactType string   `json:"artifactMediaType"`
		} `json:"imageDetails"`
		NextToken string `json:"nextToken"`
	}
	in := ecrListing{
		RegistryID: l.api.account, Repository: repository, MaxResults: l.api.pageSize, NextToken: token,
		Filter: &ecrFilter{TagStatus: "ANY"},
	}
	if err := l.api.call(ctx, "DescribeImages", in, &answer); err != nil {
		return nil, "", err
	}
	list := make([]listedEntry, 0, len(answer.Images))
	for _, i := range answer.Images {
		list = append(list, newListedEntry(i.Digest, i.MediaType, i.ArtifactType, i.Tags))
	}
	return list, answer.NextToken, nil
}
