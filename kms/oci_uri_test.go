package kms

import "testing"

// TestOCIExample: the OCIDs of keys in the CLI's examples, of which it shows the
// beginnings, lead to the vault that they name.
func TestOCIExample(t *testing.T) {
	const id = "ocid1.key.oc1.phx.bbqehaq3aadfa.abyhqljr7e4hrmqzvzbywq3lq6dvh6ppxkqtltdhuavqlvnx2wrmz22sixa"
	const version = "ocid1.keyversion.oc1.phx.0.bbqehaq3aadfa.acy6exampleqdwyc2ptun"
	ref, err := parseOCI("ocikms://" + id + "?version=" + version)
	if want := (ociRef{id: id, region: "phx", vault: "bbqehaq3aadfa", version: version}); err != nil || ref != want {
		t.Fatalf("%+v, %v", ref, err)
	}
	sign, manage, err := ref.endpoints(StoreConfig{})
	if err != nil || sign != "https://bbqehaq3aadfa-crypto.kms.us-phoenix-1.oraclecloud.com" || manage != "https://bbqehaq3aadfa-management.kms.us-phoenix-1.oraclecloud.com" {
		t.Errorf("%s, %s, %v", sign, manage, err)
	}
	for _, other := range []string{"ocikms://" + version, "ocikms://" + id + "?version=" + id, "ocikms://ocid1.containerimage.oc1.phx.0.examplens.aaaaexample"} {
		if ref, err := parseOCI(other); err == nil {
			t.Errorf("%s is %+v", other, ref)
		}
	}
}
