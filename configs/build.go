package configs

import (
	"slices"
	"strings"
)

// What a configuration may name, and what of it works in this build. A word
// that is known but does not work is refused, because a setting that does
// nothing is worse than an error.

func kinds() []Kind {
	return []Kind{Generic, Auto, Distribution, Harbor, Zot, Quay, GAR, ECR, ACR, OCIR, SWR, TCR, Nexus, Artifactory, GitLab, OCILayout}
}

// schemes are how the URIs of keys begin.
func schemes() []string {
	return []string{
		"file:", "awskms://", "azurekms://", "gcpkms://", "hashivault://", "openbao://", "pkcs11:",
		"huaweikms://", "tencentkms://", "ocikms://", "alikms://", "plugin:",
	}
}

func roles() []Role { return []Role{Viewer, Operator, Admin} }

const notInBuild = "is not in this build"

// wordProblem says what is wrong with a word that must be one of known and
// should be one of working.
func wordProblem[T ~string](word T, known, working []T) (problem, allowed string) {
	switch {
	case slices.Contains(working, word):
		return "", ""
	case word == "":
		return "is required", join(working)
	case slices.Contains(known, word):
		return quote(string(word)) + " " + notInBuild, join(working)
	}
	return quote(string(word)) + " is not allowed", join(known)
}

func join[T ~string](words []T) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	return strings.Join(list, ", ")
}
