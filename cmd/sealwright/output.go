package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// print writes v as JSON, or calls text for people.
func (a *app) print(v any, text func(io.Writer)) error {
	if a.output == "json" {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	text(a.out)
	return nil
}

// table writes rows of tab-separated cells in aligned columns.
func table(w io.Writer, rows func(row func(format string, cells ...any))) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	rows(func(format string, cells ...any) { fmt.Fprintf(tw, format+"\n", cells...) })
	_ = tw.Flush() // the stream's own errors have no reader left to be told
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// stamp writes a time for people: UTC, to the second; "-" if there is none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// short cuts a digest to what people compare.
func short(digest string) string {
	if len(digest) > 19 {
		return digest[:19]
	}
	return digest
}
