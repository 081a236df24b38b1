package registry

import (
	"context"
	"fmt"
	"iter"
)

// Tags yields the tags of a repository, from the one after the given name on
// ("": from the first), also of registries that do not know how to begin
// there. An error with a tag concerns only that tag, which is not valid and
// can not be used; after any other error it ends.
func (c *Client) Tags(ctx context.Context, repository, after string) iter.Seq2[string, error] {
	if after == "" {
		return c.tags(ctx, repository, "", c.page)
	}
	return c.tagsAfter(ctx, repository, after)
}

func (c *Client) tags(ctx context.Context, repository, after string, fetch fetchPage) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := checkRepository(repository); err != nil {
			yield("", err)
			return
		}
		l := listing{
			scope: repository, field: "tags", path: "/v2/" + repository + "/tags/list",
			size: c.pageSize, after: after,
		}
		for tag, err := range c.names(ctx, l, fetch) {
			if err != nil {
				err = fmt.Errorf("listing the tags of %s/%s: %w", c.said, repository, err)
			} else {
				err = checkTag(tag)
			}
			if !yield(tag, err) {
				return
			}
		}
	}
}
