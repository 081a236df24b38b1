package door

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	ociScheme = "Signature"
	ociTarget = "(request-target)"
	ociHash   = "x-content-sha256"
)

// OCI returns who sent a request that is signed as Oracle Cloud Infrastructure has it,
// version 1.
func (d *Door) OCI(r *http.Request) (Caller, []byte, error) {
	a, err := parseOCI(r)
	if err != nil {
		return Caller{}, nil, err
	}
	return d.enter(r, claim{scheme: byOCIKey,
		at: a.at, window: d.config.OCIWindow, signature: a.signature, forgettable: reads(r.Method),
		text: func(body []byte) ([]byte, error) { return a.text(r, body) },
		verify: func(k *keyring, text []byte) (*holder, error) {
			return k.verifyRSA(a.keyID, a.signature, sha256.Sum256(text))
		},
	})
}

// An oci is what a request says about its signature.
type oci struct {
	keyID     string
	names     []string
	signature []byte
	at        time.Time
}

func parseOCI(r *http.Request) (oci, error) {
	rest, err := authorization(r, ociScheme)
	if err != nil {
		return oci{}, err
	}
	values, err := quoted(rest)
	if err != nil {
		return oci{}, err
	}
	if values["version"] != "1" || values["algorithm"] != "rsa-sha256" {
		return oci{}, fmt.Errorf(`%w: want version="1" and algorithm="rsa-sha256"`, ErrUnsupported)
	}
	a := oci{keyID: values["keyId"], names: strings.Split(values["headers"], " ")}
	if a.signature, err = base64.StdEncoding.Strict().DecodeString(values["signature"]); err != nil {
		return oci{}, malformed("the signature is not base64")
	}
	if _, _, err := target(r); err != nil {
		return oci{}, err
	}
	if err := a.checkSigned(r.Method); err != nil {
		return oci{}, err
	}
	return a, a.parseTime(r)
}

// quoted reads name="value" parameters, in any order: version, headers, keyId,
// algorithm and signature, each once. Values hold no quotes.
func quoted(text string) (map[string]string, error) {
	known := []string{"version", "headers", "keyId", "algorithm", "signature"}
	values := map[string]string{}
	for rest, more := text, true; more; {
		name, value, ok := strings.Cut(strings.TrimLeft(rest, " "), `="`)
		if !ok || !slices.Contains(known, name) {
			return nil, malformed(`the Authorization header has a parameter that is not one of %s, like version="1"`, strings.Join(known, ", "))
		}
		if _, twice := values[name]; twice {
			return nil, malformed("the Authorization header has %s twice", name)
		}
		value, after, ok := strings.Cut(value, `"`)
		if !ok || value == "" {
			return nil, malformed("the Authorization header's %s is empty or has no end", name)
		}
		values[name] = value
		if rest, more = strings.CutPrefix(after, ","); !more && after != "" {
			return nil, malformed("the Authorization header has no comma after %s", name)
		}
	}
	for _, name := range known {
		if values[name] == "" {
			return nil, malformed("the Authorization header has no %s", name)
		}
	}
	return values, nil
}

// checkSigned demands the headers that OCI documents for a method, of which date may
// be x-date.
func (a *oci) checkSigned(method string) error {
	required := []string{"host"}
	if slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, method) {
		required = append(required, "content-length", "content-type", ociHash)
	}
	headers := slices.DeleteFunc(slices.Clone(a.names), func(name string) bool { return name == ociTarget })
	if len(headers) != len(a.names)-1 {
		return malformed("%s is not signed, or twice", ociTarget)
	}
	return checkNames(headers, required...)
}

// parseTime reads the time that is signed. An x-date that is not does not count.
func (a *oci) parseTime(r *http.Request) error {
	name := "date"
	if slices.Contains(a.names, "x-date") {
		name = "x-date"
	} else if !slices.Contains(a.names, name) {
		return malformed("neither date nor x-date is signed")
	}
	text, err := one(r, name)
	if err != nil {
		return err
	}
	if a.at, err = http.ParseTime(text); err != nil {
		return malformed("header %s is not like %s", name, http.TimeFormat)
	}
	return nil
}

// text is the signing string.
func (a *oci) text(r *http.Request, body []byte) ([]byte, error) {
	switch hashed := slices.Contains(a.names, ociHash); {
	case hashed:
		sum := sha256.Sum256(body)
		said, err := one(r, ociHash)
		if err != nil {
			return nil, err
		}
		if said != base64.StdEncoding.EncodeToString(sum[:]) {
			return nil, ErrBodyHash
		}
	case len(body) > 0:
		return nil, malformed("there is a body, but header %s is not signed", ociHash)
	}
	lines := make([]string, len(a.names))
	for i, name := range a.names {
		value, err := a.value(r, body, name)
		if err != nil {
			return nil, err
		}
		lines[i] = name + ": " + value
	}
	return []byte(strings.Join(lines, "\n")), nil
}

func (a *oci) value(r *http.Request, body []byte, name string) (string, error) {
	switch name {
	case ociTarget:
		return strings.ToLower(r.Method) + " " + r.RequestURI, nil
	case "content-length":
		return strconv.Itoa(len(body)), nil
	}
	return one(r, name)
}
