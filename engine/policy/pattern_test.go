package policy

import (
	"strings"
	"testing"
)

func TestCheckPattern(t *testing.T) {
	for _, tt := range []struct{ name, pattern, want string }{
		{"one character", "*", ""},
		{"everything", "a/**/[!b-d]{e,{f,g}}?\\*", ""},
		{"longest", strings.Repeat("é", MaxPattern), ""},
		{"empty alternative", "{,a}", ""},
		{"braces in a class", "[{}]", ""},
		{"many alternatives", "{" + strings.Repeat("a,", 200) + "a}", ""},
		{"1024 alternatives", strings.Repeat("{a,b}", 10), ""},
		{"escaped braces", strings.Repeat(`\{a,a\}`, 50), ""},
		{"commas outside of braces", strings.Repeat("a,", 200), ""},
		{"empty", "", "is empty"},
		{"too long", strings.Repeat("é", MaxPattern+1), "has 513 characters"},
		{"not UTF-8", "a\xff", "is not valid UTF-8"},
		{"open brace", "{a", `"{a" is malformed`},
		{"open class", "[a", `"[a" is malformed`},
		{"empty class", "[]", `"[]" is malformed`},
		{"closing brace", "a}", `"a}" is malformed`},
		{"trailing backslash", `a\`, `"a\\" is malformed`},
		{"2048 alternatives", strings.Repeat("{a,b}", 11), "stands for more than 1024 alternatives"},
		{"exponential", strings.Repeat("{a,a}", 100), "stands for more than 1024 alternatives"},
		{"exponential behind commas", strings.Repeat("{a,a},", 80), "stands for more than 1024 alternatives"},
		{"exponential and nested", "{" + strings.Repeat("{a,a}", 90) + ",b}", "stands for more than 1024 alternatives"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := CheckPattern(tt.pattern); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("CheckPattern(%q) = %q, want %q", tt.pattern, got, tt.want)
			}
		})
	}
}

func TestAlternatives(t *testing.T) {
	for pattern, want := range map[string]int{
		"":                   1,
		"a":                  1,
		"a,b":                1,
		"{a}":                1,
		"{}":                 1,
		"{a,b}":              2,
		"{a,b}{c,d,e}":       6,
		"{a,{b,c}{d,e}}":     5,
		"{a,b},{c,d}":        4,
		"[{,]{a,b}":          2,
		`\{{a,b}`:            2,
		`{a,[,}]\,}`:         2,
		"x{a,b}y{c,{d,e}f}z": 6,
	} {
		if got := alternatives(pattern); got != want {
			t.Errorf("%q stands for %d patterns, want %d", pattern, got, want)
		}
	}
}
