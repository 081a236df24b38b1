package journal

import (
	"encoding/json"
	"slices"
	"time"
)

// micros is how times are stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// union returns the sorted tags of both.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// toJSON writes a list; a list of strings cannot fail to be written.
func toJSON(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	b, _ := json.Marshal(list)
	return string(b)
}

// fromJSON reads a list; an empty one is nil.
func fromJSON(s string) ([]string, error) {
	var list []string
	err := json.Unmarshal([]byte(s), &list)
	if len(list) == 0 {
		list = nil
	}
	return list, err
}
