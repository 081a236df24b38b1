package tcr

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// FuzzParams: whatever is sent is read, or refused by one of Tencent's codes; what is
// read is what it says.
func FuzzParams(f *testing.F) {
	for _, seed := range []string{`{"RegistryId":"tcr-f7g1ir99","Name":"library signing","Limit":20,"All":true}`, `{"a":1,"a":2}`, `{}`, ``, `null`,
		`{"Filters":[{"Name":"Tags","Values":["k:v"]}],"Registryids":["a"]}`, `{"RegistryId":"\ud800","Limit":1e9}`, `{"Limit":-0}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parseParams(body)
		if err == nil {
			_, _, _, _ = p.text("RegistryId"), p.optional("Name"), p.flag("All"), p.number("Limit", 20, 100)
			_, _, _ = p.texts("Registryids"), p.filters("Tags"), pageOf(p)
			err = p.end()
		}
		if err == nil {
			if !json.Valid(body) && len(bytes.TrimSpace(body)) > 0 {
				t.Errorf("%q was read", body)
			}
			return
		}
		if told := (*apiError)(nil); !errors.As(err, &told) || told.code == "" || len(told.message) > 1000 {
			t.Errorf("%q: %v", body, err)
		}
	})
}
