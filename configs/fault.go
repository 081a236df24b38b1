package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Fault is one thing that is wrong, or doubtful, in a configuration.
type Fault struct {
	// File is the file's path as it was given, and empty when there is none.
	File string `json:"file,omitempty"`
	// Line and Column are counted from 1, and 0 when unknown. A fault about a
	// missing field has the place of what it is missing from.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Field is the path of the value: "policies[0].trigger.cron". Empty means
	// the file as a whole.
	Field string `json:"field,omitempty"`
	// Problem says what is wrong, as a predicate: "is required".
	Problem string `json:"problem"`
	// Allowed says what would be right; empty when Problem says it.
	Allowed string `json:"allowed,omitempty"`
}

// Error returns the fault in one line: "file:line: field: problem; allowed: …".
func (f Fault) Error() string {
	var b strings.Builder
	switch {
	case f.File != "" && f.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", f.File, f.Line)
	case f.File != "":
		b.WriteString(f.File + ": ")
	case f.Line > 0:
		fmt.Fprintf(&b, "line %d: ", f.Line)
	}
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Problem)
	if f.Allowed != "" {
		b.WriteString("; allowed: " + f.Allowed)
	}
	return b.String()
}

// Errors is everything that is wrong with a configuration, sorted by file and
// line. It is never empty when returned as an error.
type Errors []Fault

// Error returns one line for each fault.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the faults by file, line and column, or nil.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// asError returns the sorted faults, or a nil error when there are none.
func (e Errors) asError() error {
	if len(e) == 0 {
		return nil
	}
	return e.sorted()
}

// A mark is a line and a column, counted from 1.
type mark struct{ line, column int }

// A document remembers where the values of one file stand.
type document struct {
	file  string
	marks map[string]mark // by field path; "" is the whole
}

// at returns the mark of the value at path or, when that is missing, of the
// nearest value around it.
func (d *document) at(path string) mark {
	for ; path != ""; path = parent(path) {
		if m, ok := d.marks[path]; ok {
			return m
		}
		// A selector may be written without the word "matches".
		if i := strings.LastIndex(path, ".matches"); i >= 0 {
			if m, ok := d.marks[path[:i]+path[i+len(".matches"):]]; ok {
				return m
			}
		}
	}
	return d.marks[""]
}

// parent cuts the last element off a field path.
func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// A place is a value in a document. The zero place is that of a Config that
// was not read from a file.
type place struct {
	doc  *document
	path string
}

// in returns the place of a field or element inside p: "name", "[3]", or a path
// of them.
func (p place) in(field string) place {
	if p.path != "" && field != "" && field[0] != '[' {
		field = "." + field
	}
	return place{p.doc, p.path + field}
}

// item returns the place of element i of the list field inside p.
func (p place) item(field string, i int) place { return p.in(fmt.Sprintf("%s[%d]", field, i)) }

// given reports whether the file spells the value out.
func (p place) given() bool {
	if p.doc == nil {
		return false
	}
	_, ok := p.doc.marks[p.path]
	return ok
}

func (p place) fault(problem, allowed string) Fault {
	f := Fault{Field: p.path, Problem: problem, Allowed: allowed}
	if p.doc != nil {
		m := p.doc.at(p.path)
		f.File, f.Line, f.Column = p.doc.file, m.line, m.column
	}
	return f
}

// String says where p is, for messages about another place.
func (p place) String() string {
	if p.doc == nil {
		return p.path
	}
	return fmt.Sprintf("%s:%d", p.doc.file, p.doc.at(p.path).line)
}
