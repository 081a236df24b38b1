package policy

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// MaxPattern is the longest selector pattern, in characters.
const MaxPattern = 512

// MaxAlternatives is how many brace-free patterns a pattern may stand for.
// Matching tries them one by one, so a short pattern with many groups could
// otherwise keep a processor busy for years.
const MaxAlternatives = 1024

// PatternAllowed says what a selector pattern looks like, for error messages.
const PatternAllowed = "a doublestar pattern of 1 to 512 characters: * ** ? [a-z] {a,b}"

// CheckPattern says why a selector pattern is refused, as a predicate: "is
// empty". After nil, matching the pattern cannot fail.
func CheckPattern(pattern string) error {
	switch n := utf8.RuneCountInString(pattern); {
	case pattern == "":
		return errors.New("is empty")
	case !utf8.ValidString(pattern):
		return errors.New("is not valid UTF-8")
	case n > MaxPattern:
		return fmt.Errorf("has %d characters", n)
	case !doublestar.ValidatePattern(pattern):
		return fmt.Errorf("%q is malformed", pattern)
	case alternatives(pattern) > MaxAlternatives:
		return fmt.Errorf("stands for more than %d alternatives", MaxAlternatives)
	}
	return nil
}

// alternatives counts the brace-free patterns that a valid pattern stands for,
// not beyond MaxAlternatives+1.
func alternatives(pattern string) int {
	type group struct{ sum, product int }
	capped := func(n int) int { return min(n, MaxAlternatives+1) }
	stack := []group{{product: 1}}
	for i := 0; i < len(pattern); i++ {
		top := &stack[len(stack)-1]
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '[':
			i = classEnd(pattern, i)
		case c == '{':
			stack = append(stack, group{product: 1})
		case len(stack) == 1:
			// Outside of braces ',' stands for itself.
		case c == ',':
			top.sum, top.product = capped(top.sum+top.product), 1
		case c == '}':
			n := capped(top.sum + top.product)
			stack = stack[:len(stack)-1]
			outer := &stack[len(stack)-1]
			outer.product = capped(outer.product * n)
		}
	}
	return stack[0].product
}

// classEnd returns the index of the ']' that closes the class opened at i.
func classEnd(pattern string, i int) int {
	for i++; i < len(pattern) && pattern[i] != ']'; i++ {
		if pattern[i] == '\\' {
			i++
		}
	}
	return i
}
