package signature

import (
	"encoding/json"
	"fmt"
	"testing"
)

// TestCosignExample: the signature in cosign's documentation is read from the layer that
// cosign writes, and written as cosign writes it.
func TestCosignExample(t *testing.T) {
	const example = "MEUCIBKI9FIC+YD3m/lWViyPxsJsbnIHj86sSbb7L3qvpEFoAiEA2ZChO/67CuAPQKJLBVsAc7bs9hBK8RpsdfjBsByGKJM="
	payload := Payload(image(1))
	written := fmt.Sprintf(`{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":%d,"digest":%q,"annotations":{"dev.cosignproject.cosign/signature":%q}}`,
		len(payload), hash(payload), example)
	sig, err := parseLayer(json.RawMessage(written)).signature()
	if err != nil || len(sig) != 71 {
		t.Fatalf("%x, %v", sig, err)
	}
	if got := string(layerOf(payload, sig).raw); got != written {
		t.Errorf("written as %s, want %s", got, written)
	}
}
