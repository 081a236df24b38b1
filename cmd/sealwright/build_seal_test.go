package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	apigmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/kms/kmstest/awstest"
	"github.com/sealwright/sealwright/kms/kmstest/vaulttest"
)

// TestWrappedSealKey: the daemon goes from a seal key in a file to one that Vault has
// wrapped, then to one of AWS KMS, and keeps the signature keys; without the key store,
// or with what it did not wrap, it does not start, and its words hold no key.
func TestWrappedSealKey(t *testing.T) {
	t.Parallel()
	a := newAPIHouse(t)
	vault, aws := vaulttest.New(t), awstest.New(t)
	vault.CreateKey(t, "transit/sealing", "aes256-gcm96")
	arn := aws.CreateWrappingKey()
	key := func(n byte) []byte { return bytes.Repeat([]byte{n}, apig.SealSize) }
	for name, content := range map[string]string{"vault.token": vault.Token, "aws.secret": awstest.SecretKey,
		"vault.seal": vault.Wrap(t, "transit/sealing", key(1)), "vault.next": vault.Wrap(t, "transit/sealing", key(2)), "aws.seal": aws.Wrap(t, arn, key(3)),
		"short.seal": vault.Wrap(t, "transit/sealing", key(4)[1:]), "torn.seal": vault.Wrap(t, "transit/sealing", key(5))[:60]} {
		if err := os.WriteFile(a.path(name), []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.replace("policies:", fmt.Sprintf(`key_stores:
  - {name: transit, kind: hashivault, endpoint: %q, auth: {token_file: vault.token}}
  - {name: amazon, kind: awskms, endpoint: %q, region: %s, auth: {access_key: %s, secret_key_file: aws.secret}}
policies:`, vault.URL, aws.URL, awstest.Region, awstest.AccessKey))
	d := a.start()
	if _, err := a.APIG(t, vendorKey, vendorSecret).CreateSignatureKeyV2(&apigmodel.CreateSignatureKeyV2Request{InstanceId: swrInstance, Body: &apigmodel.BaseSignature{Name: "kept"}}); err != nil {
		t.Fatal(err)
	}
	d.stop()
	aws.SetAlias("alias/sealing", arn)
	const byVault, byAWS = `wrapping_key: {uri: "hashivault://sealing", store: transit}`, `wrapping_key: {uri: "awskms:///alias/sealing", store: amazon}`
	seals := "seal_key_file: seal.key"
	for _, step := range []struct {
		seals string
		code  int    // exitOK: it starts, and encrypts again
		said  string // otherwise
	}{
		{"seal_key_file: vault.seal, former_seal_key_files: [seal.key], " + byVault, exitOK, ""},
		{"seal_key_file: vault.next, former_seal_key_files: [vault.seal], " + byVault, exitOK, ""},
		{"seal_key_file: seal.key, former_seal_key_files: [vault.next], " + byVault, exitUsage, "seal.key: holds a key that is not wrapped"},
		{"seal_key_file: short.seal, " + byVault, exitUsage, "short.seal: holds 31 bytes when unwrapped; allowed: 32"},
		{"seal_key_file: torn.seal, " + byVault, exitFailed, "torn.seal: wrapping_key: unwrapping with the hashivault key transit/sealing"},
		{"seal_key_file: vault.next, " + byAWS, exitFailed, "vault.next: wrapping_key: key does not match"},
		{"seal_key_file: vault.next", exitUsage, "vault.next: is not 64 hexadecimal digits"},
		{"seal_key_file: aws.seal, " + byAWS, exitFailed, "signature_keys: "}, // nothing knows what encrypted
	} {
		a.replace(seals, step.seals)
		seals = step.seals
		if step.code == exitOK {
			d := a.start()
			d.log.await(t, "signature keys encrypted again, former seal keys are needed no more", 1)
			d.stop()
			continue
		}
		if _, said := a.run(step.code, "run"); !strings.Contains(said, step.said) || strings.Contains(said, "vault:v1:") {
			t.Errorf("%s: %s", step.seals, said)
		}
	}
	a.replace(seals, "seal_key_file: vault.next, "+byVault)
	vault.NewToken() // the file has the old one
	if _, said := a.run(exitFailed, "run"); !strings.Contains(said, "denied by the key store") {
		t.Error(said)
	}
}
