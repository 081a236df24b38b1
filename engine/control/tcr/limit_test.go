package tcr_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/control/tcr"
)

func calls(action string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("X-TC-Action", action)
	return r
}

// TestLimiter: each caller has its own budget for each action, and none for actions
// that somebody thought of.
func TestLimiter(t *testing.T) {
	t.Parallel()
	l := tcr.NewLimiter(0.000001) // one, and then none for a long time
	admit := func(caller, action string, want error) {
		t.Helper()
		if err := l.Admit(door.Caller{Name: caller}, calls(action)); !errors.Is(err, want) {
			t.Errorf("%s, %s: %v", caller, action, err)
		}
	}
	admit("a", "DescribeImages", nil)
	admit("a", "DescribeImages", rights.ErrRate)
	admit("b", "DescribeImages", nil)
	admit("a", "DescribeNamespaces", nil)
	admit("a", "Made up", nil)
	for i := range 3 {
		admit("a", fmt.Sprint("Made up ", i), rights.ErrRate)
	}
	for range 3 {
		if err := l.Admit(door.Caller{Name: "a"}, httptest.NewRequest(http.MethodGet, "/v2/x", nil)); err != nil {
			t.Errorf("another API: %v", err)
		}
	}
}

// TestLimitOfTencents: a caller may call an action 20 times a second, and 20 times at
// once, which are Tencent's numbers.
func TestLimitOfTencents(t *testing.T) {
	t.Parallel()
	const tencents, tries = 20, 1000
	l, admitted, begun := tcr.NewLimiter(0), 0, time.Now()
	for range tries {
		if l.Admit(door.Caller{Name: "a"}, calls("DescribeImages")) == nil {
			admitted++
		}
	}
	// What came back meanwhile may be used, however slow this machine is.
	if most := tencents + tencents*time.Since(begun).Seconds(); admitted < tencents || float64(admitted) > most {
		t.Errorf("%d of %d calls at once were admitted, want %d to %.1f", admitted, tries, tencents, most)
	}
}

// TestThrottledRetry: the SDK sends a change that was refused again with the same
// signature, and it is not taken for a replay.
func TestThrottledRetry(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	e := newEstate(t, controltest.Options{Admit: func(_ door.Caller, r *http.Request) error {
		if r.Header.Get("X-TC-Action") == "CreateSignaturePolicy" && asked.Add(1)%3 != 0 {
			return rights.ErrRate
		}
		return nil
	}})
	e.push("library/app:v1")
	e.admin().refused("CreateSignaturePolicy", library(), "RequestLimitExceeded")
	asked.Store(0)
	patient := e.client(controltest.AdminKey, controltest.AdminSecret, func(p *profile.ClientProfile) {
		p.RateLimitExceededMaxRetries = 2
		p.RateLimitExceededRetryDuration = profile.ConstantDurationFunc(0)
	})
	patient.call("CreateSignaturePolicy", library(), nil)
	if n := asked.Load(); n != 3 {
		t.Errorf("the SDK sent it %d times, want 3", n)
	}
	if got := e.viewer().policies(); len(got) != 1 {
		t.Errorf("policies %v", got)
	}
}

// TestTooOften: what [rights.Rights] refuse is told by Tencent's code too.
func TestTooOften(t *testing.T) {
	t.Parallel()
	limiter := tcr.NewLimiter(0.000001)
	e := newEstate(t, controltest.Options{Admit: limiter.Admit})
	e.viewer().call("DescribeInstances", params{}, nil)
	e.viewer().refused("DescribeInstances", params{"Limit": 1}, "RequestLimitExceeded")
	e.admin().call("DescribeInstances", params{}, nil)
}
