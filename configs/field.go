package configs

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// fieldsOf returns the names that the fields of a struct have in a file, by
// index; "" for those that have none.
func fieldsOf(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
	}
	return names
}

var secretRE = regexp.MustCompile(`(?i)pass|secret|token|private|credential`)

// unknown says what is wrong with a field that is not one of fields, and which
// would be right.
func unknown(field string, fields []string) (problem, allowed string) {
	known := slices.DeleteFunc(slices.Clone(fields), func(name string) bool { return name == "" })
	allowed = strings.Join(known, ", ")
	if secretRE.MatchString(field) {
		return "is not a field here: secrets come from files or the environment, never inline", allowed
	}
	best, distance := "", 3
	for _, name := range known {
		if n := edits(field, name); n < distance {
			best, distance = name, n
		}
	}
	if best != "" {
		return fmt.Sprintf("is not a field here; did you mean %s?", best), allowed
	}
	return "is not a field here", allowed
}

// edits counts the characters to insert, delete or replace to make b of a. It
// gives up on what is far too long to be a slip.
func edits(a, b string) int {
	if len(a) > len(b)+3 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
