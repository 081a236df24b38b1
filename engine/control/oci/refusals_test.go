package oci_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/oci"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
)

// TestUntrue: nothing is kept of an upload that is not true, each guard for itself.
func TestUntrue(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := impatient(s.client(t, "admin"))
	i, other := s.push(t, "library/app", "v1"), s.push(t, "library/app2", "v1")
	sibling := s.push(t, "library/app", "v2")
	for what, u := range map[string]struct {
		change func(*message.Message) // before it is signed
		after  func(*artifacts.CreateContainerImageSignatureDetails)
		status int
		code   string
	}{
		"another digest":                {change: func(m *message.Message) { m.ImageDigest = *sibling.Digest }},
		"another repository":            {change: func(m *message.Message) { m.RepositoryName = "library/app2" }},
		"a namespace":                   {change: func(m *message.Message) { m.RepositoryName = "prod/library/app" }},
		"another algorithm":             {change: func(m *message.Message) { m.SigningAlgorithm = "SHA_512_RSA_PKCS_PSS" }, after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.SigningAlgorithm = algorithm256 }},
		"another algorithm than signed": {change: func(m *message.Message) { m.SigningAlgorithm = "SHA_512_RSA_PKCS_PSS" }},
		"another key in the message": {change: func(m *message.Message) { m.KMSKeyID = controltest.RSAKey }, after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.KmsKeyId = common.String(controltest.RSAKeyAlias)
		}},
		"another key version in the message": {change: func(m *message.Message) { m.KMSKeyVersionID = "x" }, after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.KmsKeyVersionId = common.String(s.version())
		}},
		"another image":              {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.ImageId = sibling.Id }},
		"another repository's image": {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.ImageId = other.Id }},
		"another message": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			m := s.messageOf(i)
			m.Description = "another"
			_, text, err := m.Build()
			if err != nil {
				t.Error(err)
			}
			d.Message = &text
		}},
		"another signature": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.Signature = common.String(base64.StdEncoding.EncodeToString(make([]byte, 256)))
		}},
		"an empty signature": {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.Signature = common.String("") }},
		"a long signature": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.Signature = common.String(base64.StdEncoding.EncodeToString(make([]byte, 1025)))
		}},
		"not base64": {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.Signature = common.String("%") }},
		"base64 in lines": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.Signature = common.String(*d.Signature + "\n")
		}},
		"a message that is none": {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.Message = common.String("e30=") }},
		"an unknown key":         {change: func(m *message.Message) { m.KMSKeyID = "ocid1.key.oc1.phx.x.y" }, code: "RelatedResourceNotAuthorizedOrNotFound"},
		"an unknown key version": {change: func(m *message.Message) { m.KMSKeyVersionID = "ocid1.keyversion.oc1.phx.0.x" }, code: "RelatedResourceNotAuthorizedOrNotFound"},
		"a key that cannot do so": {change: func(m *message.Message) {
			m.KMSKeyID, m.KMSKeyVersionID = controltest.Key, s.Public[controltest.Key].Fingerprint()
		}},
		"an unknown image": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.ImageId = common.String("ocid1.containerimage.oc1.phx.0.examplens.aaaa")
		}, code: "RelatedResourceNotAuthorizedOrNotFound"},
		"another compartment": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.CompartmentId = common.String(otherCompartment)
		}, code: "RelatedResourceNotAuthorizedOrNotFound"},
		"an unknown compartment": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.CompartmentId = common.String("ocid1.compartment.oc1..x")
		}, status: http.StatusNotFound, code: "NotAuthorizedOrNotFound"},
		"the root compartment":    {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.CompartmentId = common.String(tenancy) }, status: http.StatusNotFound, code: "NotAuthorizedOrNotFound"},
		"a long compartment id":   {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.CompartmentId = long(101) }},
		"a long image id":         {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.ImageId = long(256) }},
		"a long key id":           {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.KmsKeyId = long(256) }},
		"a long key version id":   {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.KmsKeyVersionId = long(256) }},
		"an empty compartment id": {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.CompartmentId = common.String("") }},
		"an empty image id":       {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.ImageId = common.String("") }},
		"NUL":                     {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.KmsKeyId = common.String("a\x00") }},
		"too many tags":           {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.FreeformTags = freeform(11) }},
		"a tag with a dot":        {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.FreeformTags = map[string]string{"a.b": ""} }},
		"a long tag": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.FreeformTags = map[string]string{*long(101): ""}
		}},
		"a long tag value": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.FreeformTags = map[string]string{"a": *long(257)}
		}},
		"a tag value with NUL": {after: func(d *artifacts.CreateContainerImageSignatureDetails) {
			d.FreeformTags = map[string]string{"a": "\x00"}
		}},
		"too many defined tags": {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.DefinedTags = defined(65, "x") }},
		"too large tags":        {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.DefinedTags = defined(25, *long(250)) }},
		"a tag that is a list":  {after: func(d *artifacts.CreateContainerImageSignatureDetails) { d.DefinedTags = defined(1, []string{}) }},
	} {
		m := s.messageOf(i)
		if u.change != nil {
			u.change(&m)
		}
		d := s.details(t, i, m)
		if u.after != nil {
			u.after(&d)
		}
		if u.status == 0 {
			u.status = http.StatusBadRequest
		}
		if u.code == "" {
			u.code = "InvalidParameter"
		}
		_, err := s.tryUpload(t, c, d)
		expect(t, what, err, u.status, u.code)
	}
	if found, err := list(t.Context(), c, artifacts.ListContainerImageSignaturesRequest{}); len(found) != 0 || err != nil {
		t.Error(found, err)
	}
	d := s.details(t, i, s.messageOf(i))
	d.FreeformTags, d.DefinedTags = freeform(10), defined(64, "x")
	if _, err := s.tryUpload(t, c, d); err != nil {
		t.Error("as many tags as there may be:", err)
	}
}

func long(n int) *string { return common.String(strings.Repeat("a", n)) }

func freeform(n int) map[string]string {
	tags := map[string]string{}
	for i := range n {
		tags["t"+strings.Repeat("x", i)] = "v"
	}
	return tags
}

func defined(n int, value any) map[string]map[string]interface{} {
	tags := map[string]interface{}{}
	for i := range n {
		tags["t"+strings.Repeat("x", i)] = value
	}
	return map[string]map[string]interface{}{"N": tags}
}

// TestGone: an image that is not in the registry any more has no new signature; those
// that there are stay.
func TestGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := impatient(s.client(t, "admin"))
	i := s.push(t, "library/app", "v1")
	created := s.upload(t, c, i)
	s.delete(t, "library/app", *i.Digest)
	_, err := s.tryUpload(t, c, s.details(t, i, s.messageOf(i)))
	expect(t, "an image that is gone", err, http.StatusBadRequest, "RelatedResourceNotAuthorizedOrNotFound")
	_, err = c.GetContainerImage(t.Context(), artifacts.GetContainerImageRequest{ImageId: i.Id})
	expectNotFound(t, "an image that is gone", err)
	if _, err := c.GetContainerImageSignature(t.Context(), artifacts.GetContainerImageSignatureRequest{ImageSignatureId: created.Id}); err != nil {
		t.Error(err)
	}
}

func (s *site) delete(t *testing.T, repository, digest string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+s.Server.Host+"/v2/"+repository+"/manifests/"+digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp.Status)
	}
}

// TestKeys: a key that cannot be looked at is not taken for one that is not there.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	c := impatient(s.client(t, "admin"))
	i := s.push(t, "library/app", "v1")
	m := s.messageOf(i)
	m.KMSKeyVersionID = "ocid1.keyversion.oc1.phx.0.x"
	s.keys.Store([2]string{m.KMSKeyID, m.KMSKeyVersionID}, errors.New("secret detail"))
	_, err := s.tryUpload(t, c, s.details(t, i, m))
	expect(t, "an error", err, http.StatusInternalServerError, "InternalServerError")
	if strings.Contains(err.Error(), "secret detail") {
		t.Error(err)
	}
	// A former version of our own key.
	d := s.details(t, i, m)
	s.keys.Store([2]string{m.KMSKeyID, m.KMSKeyVersionID}, s.elsewhere(t, &d, algorithm256))
	if _, err := s.tryUpload(t, c, d); err != nil {
		t.Error(err)
	}
	_, err = s.tryUpload(t, c, s.details(t, i, m))
	expect(t, "the current version's signature as the former's", err, http.StatusBadRequest, "InvalidParameter")
}

// TestBodies: what is no body of this API is refused, whoever sends it.
func TestBodies(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	i := s.push(t, "library/app", "v1")
	text, err := json.Marshal(s.details(t, i, s.messageOf(i)))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "freeformTags")
	delete(fields, "definedTags")
	if text, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	good := string(text)
	bodies := map[string]struct{ body, code string }{
		"nothing":                {"", "CannotParseRequest"},
		"blanks":                 {" \n", "CannotParseRequest"},
		"not JSON":               {"{", "CannotParseRequest"},
		"XML":                    {"<a/>", "CannotParseRequest"},
		"a list":                 {"[]", "CannotParseRequest"},
		"null":                   {"null", "CannotParseRequest"},
		"a string":               {`"a"`, "CannotParseRequest"},
		"trailing data":          {good + "{}", "CannotParseRequest"},
		"trailing brace":         {good + "}", "CannotParseRequest"},
		"a name twice":           {`{"imageId":"a",` + good[1:], "CannotParseRequest"},
		"an escaped twin":        {`{"image\u0049d":"a",` + good[1:], "CannotParseRequest"},
		"deep nesting":           {`{"x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + "," + good[1:], "CannotParseRequest"},
		"not UTF-8":              {`{"x":"` + "\xff" + `",` + good[1:], "CannotParseRequest"},
		"another case":           {strings.Replace(good, "imageId", "imageid", 1), "MissingParameter"},
		"tags of numbers":        {`{"freeformTags":{"a":1},` + good[1:], "InvalidParameter"},
		"tags in a list":         {`{"freeformTags":[],` + good[1:], "InvalidParameter"},
		"a flat namespace":       {`{"definedTags":{"a":"b"},` + good[1:], "InvalidParameter"},
		"a namespaceless":        {`{"definedTags":{"":{}},` + good[1:], "InvalidParameter"},
		"an algorithm of vaults": {strings.Replace(good, `"SHA_256_RSA_PKCS_PSS"`, `"SHA_256_RSA_PKCS1_V1_5"`, 1), "InvalidParameter"},
		"an unknown algorithm":   {strings.Replace(good, `"SHA_256_RSA_PKCS_PSS"`, `"SHA_1_RSA_PKCS_PSS"`, 1), "InvalidParameter"},
		"a huge tag number":      {`{"definedTags":{"a":{"b":` + strings.Repeat("1", 300) + `}},` + good[1:], "InvalidParameter"},
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		for what, v := range map[string]any{"missing": nil, "null": nil, "a number": 1, "an object": fields, "a list": []string{"a"}, "a boolean": true} {
			other := maps.Clone(fields)
			other[name] = v
			code := "InvalidParameter"
			if v == nil {
				code = "MissingParameter"
			}
			if what == "missing" {
				delete(other, name)
			}
			text, err := json.Marshal(other)
			if err != nil {
				t.Fatal(err)
			}
			bodies[name+" "+what] = struct{ body, code string }{string(text), code}
		}
	}
	for what, b := range bodies {
		got := s.send(t, "admin", http.MethodPost, "/20160918/container/imageSignatures", b.body, nil)
		if got.status != http.StatusBadRequest || got.Code != b.code || got.Message == "" {
			t.Errorf("%s: %d %s %s, want %s", what, got.status, got.Code, got.Message, b.code)
		}
	}
	got := s.send(t, "admin", http.MethodPost, "/20160918/container/imageSignatures", `{"newer":[{"a":null}],"definedTags":null,`+good[1:], nil)
	if got.status != http.StatusOK {
		t.Errorf("a member that is not known: %d %s", got.status, got.Message)
	}
}

// TestKeysOfOthers: a caller who sees a part of the estate does not find out which keys
// there are by uploading.
func TestKeysOfOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{Credentials: []door.Credential{{Name: "oci nobody", Role: door.Admin, Namespaces: []string{"team"},
		OCIKeyID: tenancy + "/" + userOf("nobody") + "/nobody", OCIPublicKey: &callerKeys()["nobody"].PublicKey}}})
	i := s.push(t, "team/app", "v1")
	c := impatient(s.client(t, "nobody"))
	theirs := s.messageOf(i)
	nobodys := theirs
	nobodys.KMSKeyID = "ocid1.key.oc1.phx.nobodys"
	for _, m := range []message.Message{theirs, nobodys} {
		_, err := s.tryUpload(t, c, s.details(t, i, m))
		expect(t, m.KMSKeyID, err, http.StatusBadRequest, "RelatedResourceNotAuthorizedOrNotFound")
	}
}

// TestQuota: images of a registry have only so many signatures. What was uploaded
// before is told to who tries again, and one that is deleted makes room.
func TestQuota(t *testing.T) {
	t.Parallel()
	s := newSite(t, controltest.Options{})
	s.url = s.Serve(t, oci.New(oci.Options{Engine: s.Engine, Journal: s.Journal, Door: s.Door, Rights: s.Rights, Keys: s.keys, Signatures: 1, Log: zap.NewNop()}))
	c := s.client(t, "admin") // it signs again what it sends twice within a second
	i := s.push(t, "library/app", "v1")
	d := s.details(t, i, s.messageOf(i))
	upload := func(token string) (artifacts.CreateContainerImageSignatureResponse, error) {
		return c.CreateContainerImageSignature(t.Context(), artifacts.CreateContainerImageSignatureRequest{CreateContainerImageSignatureDetails: d, OpcRetryToken: &token})
	}
	first, err := upload("one")
	if err != nil {
		t.Fatal(err)
	}
	_, err = upload("two")
	expect(t, "one too many", err, http.StatusBadRequest, "LimitExceeded")
	if again, err := upload("one"); err != nil || *again.Id != *first.Id {
		t.Errorf("the first again: %v, %v", again, err)
	}
	if _, err := c.DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: first.Id}); err != nil {
		t.Fatal(err)
	}
	if _, err := upload("two"); err != nil {
		t.Errorf("when there is room: %v", err)
	}
}
