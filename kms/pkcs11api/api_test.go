package pkcs11api

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSelectorSurvivesItsQuery(t *testing.T) {
	for _, want := range []Selector{
		{Object: "signing"},
		{ID: "00ff"},
		{Token: "a b", Manufacturer: "m&n", Model: "x;y", Serial: "#1", Object: "größe %", ID: "01", PublicKeySHA256: "ab"},
	} {
		q, err := url.ParseQuery(want.Query().Encode())
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseQuery(q)
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestParseQueryRefuses(t *testing.T) {
	for query, want := range map[string]string{
		"token=a":                            "no key is named",
		"":                                   "no key is named",
		"object=a&object=b":                  "given 2 times",
		"object=a&pin-value=1":               "1 unknown parameters; allowed: token",
		"id=zz":                              "not hex",
		"id=123":                             "not hex",
		"object=" + strings.Repeat("a", 513): "513 bytes; allowed: at most 512",
		"object=a&serial=" + strings.Repeat("1", 600): "serial has 600 bytes",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseQuery(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: error %v, want %q", query, err, want)
		}
	}
}
