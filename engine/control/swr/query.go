package swr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sealwright/sealwright/engine/journal"
)

const (
	defaultLimit = 10
	maxLimit     = 100
)

// one returns a value of the query, "" if there is none. Of several, one reader may
// take the first and another the last.
func (c *call) one(name string) (string, error) {
	switch values := c.query[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", invalid(name, "is in the query more than once", "once")
}

// choice is one, of some words.
func (c *call) choice(name string, allowed ...string) (string, error) {
	value, err := c.one(name)
	if err == nil && value != "" && !slices.Contains(allowed, value) {
		return "", invalid(name, problem(value), strings.Join(allowed, ", "))
	}
	return value, err
}

// page returns which items are wanted. SWR wants whole pages: an offset that is a
// multiple of the limit.
func (c *call) page() (offset, limit int, err error) {
	if limit, err = c.number("limit", defaultLimit, 1, maxLimit); err != nil {
		return 0, 0, err
	}
	if offset, err = c.number("offset", 0, 0, journal.MaxOffset); err != nil {
		return 0, 0, err
	}
	if offset%limit != 0 {
		return 0, 0, invalid("offset", fmt.Sprintf("%d is not a multiple of limit %d", offset, limit), "0 or a multiple of limit")
	}
	return offset, limit, nil
}

func (c *call) number(name string, otherwise, least, most int) (int, error) {
	text, err := c.one(name)
	if err != nil || text == "" && len(c.query[name]) == 0 {
		return otherwise, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most || strconv.Itoa(n) != text {
		return 0, invalid(name, problem(text), fmt.Sprintf("%d to %d", least, most))
	}
	return n, nil
}

// pathID returns a number of the path.
func (c *call) pathID(name string) (int64, error) {
	text := c.path[name]
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 || strconv.FormatInt(id, 10) != text {
		return 0, invalid(name, problem(text), "a positive number")
	}
	return id, nil
}

// paged returns one page of a list.
func paged[T any](list []T, offset, limit int) []T {
	begin := min(offset, len(list))
	return slices.Clip(list[begin:min(begin+limit, len(list))])
}
