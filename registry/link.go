package registry

import "strings"

// nextLink returns the target of the first link with relation "next" in Link
// headers (RFC 8288).
func nextLink(headers []string) (target string, found bool) {
	for _, header := range headers {
		for rest := header; rest != ""; {
			var relations string
			target, relations, rest = cutLink(rest)
			for relation := range strings.FieldsSeq(relations) {
				if target != "" && strings.EqualFold(relation, "next") {
					return target, true
				}
			}
		}
	}
	return "", false
}

// cutLink splits the first link off a header: its target and the relations in
// its rel parameter. What is no link is skipped.
func cutLink(header string) (target, relations, rest string) {
	_, header, found := strings.Cut(header, "<")
	if !found {
		return "", "", ""
	}
	target, header, found = strings.Cut(header, ">")
	if !found {
		return "", "", ""
	}
	seen := false
	for {
		header = strings.TrimLeft(header, " \t")
		if header, found = strings.CutPrefix(header, ";"); !found {
			break
		}
		var key, value string
		key, value, header = cutParameter(header)
		if strings.EqualFold(key, "rel") && !seen { // only the first counts
			relations, seen = value, true
		}
	}
	_, rest, _ = strings.Cut(header, ",")
	return target, relations, rest
}

// cutParameter splits key=value or key="value" off the start of s.
func cutParameter(s string) (key, value, rest string) {
	end := strings.IndexAny(s, "=;,")
	if end < 0 {
		return strings.TrimSpace(s), "", ""
	}
	key, rest = strings.TrimSpace(s[:end]), s[end:]
	rest, found := strings.CutPrefix(rest, "=")
	if !found {
		return key, "", rest
	}
	rest = strings.TrimLeft(rest, " \t")
	if quoted, found := strings.CutPrefix(rest, `"`); found {
		value, rest = cutQuoted(quoted)
		return key, value, rest
	}
	end = strings.IndexAny(rest, ";,")
	if end < 0 {
		end = len(rest)
	}
	return key, strings.TrimSpace(rest[:end]), rest[end:]
}

// cutQuoted reads up to the closing quote, with backslash escapes.
func cutQuoted(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
