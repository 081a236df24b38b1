package swr

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzChoice: of some words one is chosen, once and as it is spelt, or none is there; any
// other is refused by its name, and the words are told.
func FuzzChoice(f *testing.F) {
	words := map[string][]string{"order_column": {"updated_at"}, "order_type": {"desc", "asc"}, "type": {"IMAGE", "CHART"}}
	for _, query := range []string{"", "order_column=updated_at&order_type=desc", "order_type=ASC", "order_type=asc&order_type=asc", "type=IMAGE", "type=", "type=CHART&Type=IMAGE", "order_type=asc%00", "type=%ff", "type=IMAGE;CHART"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		c := &call{query: values}
		for name, allowed := range words {
			chosen, err := c.choice(name, allowed...)
			sent := values[name]
			want := len(sent) == 0 || len(sent) == 1 && (sent[0] == "" || slices.Contains(allowed, sent[0]))
			if (err == nil) != want {
				t.Errorf("%q: %s is %q, %v", query, name, chosen, err)
			}
			if err == nil {
				if len(sent) > 0 && chosen != sent[0] || len(sent) == 0 && chosen != "" {
					t.Errorf("%q: %s is %q", query, name, chosen)
				}
				continue
			}
			var told *failure
			if !errors.As(err, &told) || told.status != http.StatusBadRequest || chosen != "" || !strings.Contains(told.text, name+": ") || len(told.text) > 1000 ||
				len(sent) == 1 && !strings.Contains(told.text, "allowed: "+strings.Join(allowed, ", ")) {
				t.Errorf("%q: %s is %q, %v", query, name, chosen, err)
			}
		}
	})
}
