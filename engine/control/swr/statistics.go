package swr

import (
	"context"

	"go.uber.org/zap"
)

// A summary is what an instance holds, of what the caller sees.
type summary struct {
	Namespaces *int `json:"total_namespace_count,omitempty"`
	Images     *int `json:"total_image_count,omitempty"` // repositories
	Quota      int  `json:"sign_policy_quota"`
	Policies   int  `json:"sign_policy_count"`
}

func (a *API) statistics(ctx context.Context, c *call) (any, error) {
	list, err := a.policies(ctx, c)
	if err != nil {
		return nil, err
	}
	s := summary{Quota: a.Engine.StoredQuota(), Policies: len(list)}
	counting, cancel := context.WithTimeout(ctx, a.limits.countTime)
	defer cancel()
	all, err := a.occupied(counting, c)
	if err != nil {
		a.Log.Warn("namespaces not counted", zap.String("request", c.id), zap.Error(err))
		return s, nil
	}
	namespaces, images := len(all), 0
	for _, n := range all {
		images += n
	}
	s.Namespaces, s.Images = &namespaces, &images
	return s, nil
}
