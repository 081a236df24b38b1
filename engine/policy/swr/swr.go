// Package swr says policies in the words of Huawei Cloud SWR Enterprise Edition,
// and reads them: the signature policies of "Listing Signature Policies" and its
// siblings in SWR's API Reference.
//
// Both ways are without loss. What SWR cannot say is an error, and what a document
// says is either meant or refused.
package swr

import (
	"github.com/sealwright/sealwright/engine/policy"
)

// The values of fields that have few.
const (
	Method     = "KMS"
	Kind       = "doublestar"
	Repository = "repository" // the key of scope selectors

	RepoMatches  = "repoMatches"
	RepoExcludes = "repoExcludes"
	Matches      = "matches"
	Excludes     = "excludes"
)

// Algorithms are those with which SWR signs.
var Algorithms = []string{string(policy.ECDSASHA256), string(policy.ECDSASHA384), string(policy.SM2SM3)}

// Modes are how a console shows a choice of repositories. They change nothing.
var Modes = []string{"regular", "selection"}

// A Document is a policy as SWR's clients create and replace it.
type Document struct {
	Name        string      `json:"name"`
	Description *string     `json:"description,omitempty"`
	Enabled     bool        `json:"enabled"`
	Method      string      `json:"signature_method"`
	Algorithm   string      `json:"signature_algorithm"`
	Key         string      `json:"signature_key"`
	Trigger     Trigger     `json:"trigger"`
	ScopeRules  []ScopeRule `json:"scope_rules"`
}

// A Trigger is what fires a policy.
type Trigger struct {
	Type     string    `json:"type"`
	Settings *Settings `json:"trigger_settings,omitempty"`
}

// Settings are those of a scheduled trigger.
type Settings struct {
	Cron string `json:"cron,omitempty"`
}

// A ScopeRule selects artifacts, by one selector for each of tags and repository.
type ScopeRule struct {
	TagSelectors   []Selector            `json:"tag_selectors"`
	ScopeSelectors map[string][]Selector `json:"scope_selectors"`
	Mode           string                `json:"repo_scope_mode,omitempty"`
}

// A Selector selects by a pattern.
type Selector struct {
	Kind       string  `json:"kind"`
	Decoration string  `json:"decoration"`
	Pattern    string  `json:"pattern"`
	Extras     *string `json:"extras,omitempty"`
}

// cron returns the schedule, "" if there is none.
func (t Trigger) cron() string {
	if t.Settings == nil {
		return ""
	}
	return t.Settings.Cron
}

// extras returns what was sent, "" if nothing was.
func (s Selector) extras() string {
	if s.Extras == nil {
		return ""
	}
	return *s.Extras
}
