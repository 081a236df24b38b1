package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Catalog yields the registry's repositories as its _catalog lists them. An
// error with a name concerns only that name, which is not valid and can not be
// used; after any other error it ends.
func (c *Client) Catalog(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		l := listing{scope: catalogScope, field: "repositories", path: "/v2/_catalog", size: c.pageSize}
		for repository, err := range c.names(ctx, l, c.page) {
			switch {
			case errors.Is(err, ErrNotFound), errors.Is(err, ErrUnsupported):
				err = fmt.Errorf("%s does not list its repositories (/v2/_catalog), so no policy can cover it: %w: %w",
					c.said, ErrUnsupported, err)
			case err != nil:
				err = fmt.Errorf("listing the repositories of %s: %w", c.said, err)
			default:
				err = checkRepository(repository)
			}
			if !yield(repository, err) {
				return
			}
		}
	}
}
