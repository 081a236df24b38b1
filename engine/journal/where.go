package journal

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// A View is what a reader may see. The zero View is everything.
type View struct {
	// Registries are those that are seen. Empty: all.
	Registries []string
	// Namespaces are those that are seen in these registries, with what is below
	// them. Empty: all.
	Namespaces []string
	// Policies are those whose executions are seen if there are Namespaces.
	Policies []string
}

// where collects conditions on columns that the code names and values that it
// does not.
type where struct {
	conditions []string
	args       []any
}

func (w *where) add(condition string, v any) {
	w.conditions = append(w.conditions, condition+" "+w.arg(v))
}

func (w *where) equal(column, v string) {
	if v != "" {
		w.add(column+" =", v)
	}
}

func (w *where) equalID(column string, v int64) {
	if v != 0 {
		w.add(column+" =", v)
	}
}

func (w *where) cursor(condition string, v int64) {
	if v != 0 {
		w.add(condition, v)
	}
}

func (w *where) sql() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

// in adds that the column has one of the values, if there are any.
func (w *where) in(column string, values []string) {
	if len(values) > 0 {
		w.conditions = append(w.conditions, column+" IN "+w.list(values))
	}
}

func (w *where) list(values []string) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = w.arg(v)
	}
	return "(" + strings.Join(names, ", ") + ")"
}

func (w *where) arg(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

// within adds that the repository is of one of the namespaces, if there are any.
func (w *where) within(namespaces []string) {
	if len(namespaces) > 0 {
		w.conditions = append(w.conditions, w.below("repository", namespaces))
	}
}

// below is not written with LIKE, to which characters of names mean something, and
// which has its own mind about case in SQLite.
func (w *where) below(column string, namespaces []string) string {
	parts := make([]string, len(namespaces))
	for i, n := range namespaces {
		length := strconv.Itoa(utf8.RuneCountInString(n) + 1)
		parts[i] = column + " = " + w.arg(n) + " OR substr(" + column + ", 1, " + length + ") = " + w.arg(n+"/")
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}

// executions adds that an execution is in view: its policy is, and so is all that
// it came by. A policy's name may have been another's before.
func (w *where) executions(v View) {
	w.in("registry", v.Registries)
	if len(v.Namespaces) == 0 {
		return
	}
	if len(v.Policies) == 0 {
		w.conditions = append(w.conditions, "1 = 0")
		return
	}
	w.in("policy", v.Policies)
	w.conditions = append(w.conditions, "NOT EXISTS (SELECT 1 FROM tasks t WHERE t.execution_id = executions.id AND NOT "+
		w.below("t.repository", v.Namespaces)+")")
}

// afterAll is greater than what any name has in its place.
const afterAll = "\U0010FFFF"

// prefix demands a beginning. The column is compared by bytes.
func (w *where) prefix(column, beginning string) {
	w.conditions = append(w.conditions, column+" >= "+w.arg(beginning), column+" < "+w.arg(beginning+afterAll))
}
