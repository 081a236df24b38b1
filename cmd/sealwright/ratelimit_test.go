package main

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	tencent "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"

	"github.com/sealwright/sealwright/engine/control/controltest"
)

// TestRateOfTencentsActions: a caller's burst of one action is cut at Tencent's 20 a
// second, which is less than the 50 of every API. Other actions and callers have their own.
func TestRateOfTencentsActions(t *testing.T) {
	t.Parallel()
	const perSecond, calls, atOnce = 20, 80, 8 // calls: fewer than the 100 at once of every API
	h, url := listening(t, `[{name: a, role: viewer, access_key: AKEXAMPLE0000000001, secret_key_file: scrape.token}, {name: b, role: viewer, access_key: AKEXAMPLE0000000002, secret_key_file: limited.token}]`)
	d := h.start()
	defer d.stop()
	a, b := controltest.Vendors{URL: url}.TCR("AKEXAMPLE0000000001", scrapeToken), controltest.Vendors{URL: url}.TCR("AKEXAMPLE0000000002", limitedToken)
	var admitted atomic.Int64
	var workers sync.WaitGroup
	begun := time.Now()
	for range atOnce {
		workers.Go(func() {
			for range calls / atOnce {
				err := a.Call("DescribeInstances", map[string]any{}, nil)
				var said *tencent.TencentCloudSDKError
				switch {
				case err == nil:
					admitted.Add(1)
				case !errors.As(err, &said) || said.Code != "RequestLimitExceeded":
					t.Errorf("%v", err)
				}
			}
		})
	}
	workers.Wait()
	took := time.Since(begun)
	if n, most := float64(admitted.Load()), perSecond+perSecond*took.Seconds(); n < perSecond || n > most {
		t.Errorf("%v of %d calls were admitted in %v, want %d to %.1f", n, calls, took, perSecond, most)
	}
	if err := a.Call("DescribeNamespaces", map[string]any{"RegistryId": "test"}, nil); err != nil {
		t.Errorf("another action: %v", err)
	}
	if err := b.Call("DescribeInstances", map[string]any{}, nil); err != nil {
		t.Errorf("another caller: %v", err)
	}
}
