package kms

import (
	"fmt"
	"slices"

	"github.com/sealwright/sealwright/engine/policy"
)

// vendorName is what a store calls alg, of the names it has.
func vendorName[N any](store string, names map[policy.Algorithm]N, alg policy.Algorithm) (N, error) {
	name, ok := names[alg]
	if !ok {
		return name, fmt.Errorf("algorithm %s is %w; %s has: %s", shorten(string(alg)), ErrUnsupported, store, algorithmNames(names))
	}
	return name, nil
}

// algorithmNames lists the algorithms that a store has a name for, in the
// order of policy.Algorithms.
func algorithmNames[N any](names map[policy.Algorithm]N) string {
	return oneOf(slices.DeleteFunc(slices.Clone(policy.Algorithms), func(alg string) bool {
		_, ok := names[policy.Algorithm(alg)]
		return !ok
	}))
}
