package rights_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
)

func newRights(t *testing.T, o rights.Options) (*rights.Rights, *journal.Journal) {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{State: journaltest.SQLiteJournal(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	o.Journal = j
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return rights.New(o), j
}

// TestInstances: a caller reaches what it sees, by each name, and nothing else.
func TestInstances(t *testing.T) {
	t.Parallel()
	r, _ := newRights(t, rights.Options{})
	r.Replace([]rights.Instance{{"tcr-1", "prod"}, {"8d9b3f5e", "prod"}, {"dev", "prod"}}, []string{"prod", "dev", "test"})
	all, one := door.Caller{Name: "all", Role: door.Viewer}, door.Caller{Name: "one", Role: door.Admin, Registries: []string{"test"}}
	for _, c := range []struct {
		caller   door.Caller
		id, want string
	}{
		{all, "tcr-1", "prod"}, {all, "8d9b3f5e", "prod"}, {all, "prod", "prod"}, {all, "test", "test"},
		{all, "dev", "prod"}, {all, "other", ""}, {all, "", ""},
		{one, "test", "test"}, {one, "prod", ""}, {one, "tcr-1", ""}, {door.Caller{}, "prod", ""},
	} {
		got, err := r.Registry(c.caller, c.id)
		if got != c.want || (c.want == "") != errors.Is(err, rights.ErrUnknown) {
			t.Errorf("%s asks for %q: %q, %v, want %q", c.caller.Name, c.id, got, err, c.want)
		}
	}
	if d := cmp.Diff([]string{"tcr-1", "8d9b3f5e", "dev", "prod"}, r.Names(all, "prod")); d != "" {
		t.Error(d)
	}
	if names := r.Names(one, "prod"); len(names) > 0 {
		t.Errorf("names of a registry that is not seen: %q", names)
	}
	if d := cmp.Diff([]rights.Instance{{"tcr-1", "prod"}, {"test", "test"}}, r.Instances(all)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]rights.Instance{{"test", "test"}}, r.Instances(one)); d != "" {
		t.Error(d)
	}
}

// TestAllow: each role may do what those below it may.
func TestAllow(t *testing.T) {
	t.Parallel()
	roles := []door.Role{0, door.Viewer, door.Operator, door.Admin}
	for _, has := range roles {
		for _, needs := range roles[1:] {
			err := rights.Allow(door.Caller{Role: has}, needs)
			if (err == nil) != (has >= needs) || err != nil && !errors.Is(err, rights.ErrRole) {
				t.Errorf("%s for what needs %s: %v", has, needs, err)
			}
		}
	}
}

// TestRate: one caller's requests are not another's.
func TestRate(t *testing.T) {
	t.Parallel()
	r, _ := newRights(t, rights.Options{PerSecond: 1e-9, Burst: 3})
	for i := range 5 {
		err := r.Admit(door.Caller{Name: "a"}, nil)
		if (err == nil) != (i < 3) || err != nil && !errors.Is(err, rights.ErrRate) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if err := r.Admit(door.Caller{Name: "b"}, nil); err != nil {
		t.Error(err)
	}
}

// TestChangeMayComeAgain: a change that was not begun, as it could not be written down, is
// let in again as it was sent; one that was begun is not, whatever came of it.
func TestChangeMayComeAgain(t *testing.T) {
	t.Parallel()
	r, j := newRights(t, rights.Options{})
	d, err := door.New(door.Config{Credentials: []door.Credential{{Name: "ci", Role: door.Admin, AccessKey: "AK", Secret: []byte("secret")}}})
	if err != nil {
		t.Fatal(err)
	}
	request := func(path int) *http.Request {
		req := httptest.NewRequest(http.MethodDelete, fmt.Sprint("/v2/p/", path), nil)
		if err := door.SignSDKHMAC(req, nil, door.SDKKey{AccessKey: "AK", Secret: []byte("secret")}, time.Now()); err != nil {
			t.Fatal(err)
		}
		return req
	}
	send := func(ctx context.Context, req *http.Request, do func(context.Context) error) error {
		c, _, err := d.SDKHMAC(req)
		if err != nil {
			return err
		}
		return r.Change(ctx, rights.Change{Caller: c, API: "swr", Action: "Delete", Target: "prod/n"}, do)
	}
	no := errors.New("no")
	begun := request(1)
	if err := send(t.Context(), begun, func(context.Context) error { return no }); !errors.Is(err, no) {
		t.Fatal(err)
	}
	if err := send(t.Context(), begun, nil); !errors.Is(err, door.ErrReplayed) {
		t.Errorf("a change that was begun, again: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again := request(2)
	for range 3 {
		if err := send(t.Context(), again, nil); err == nil || errors.Is(err, door.ErrReplayed) {
			t.Errorf("a change that cannot be written down: %v", err)
		}
	}
	left, cancel := context.WithCancel(t.Context())
	cancel()
	if err := send(left, again, nil); err == nil || errors.Is(err, door.ErrReplayed) {
		t.Errorf("a change of who has left: %v", err)
	}
	if err := send(t.Context(), again, nil); !errors.Is(err, door.ErrReplayed) {
		t.Errorf("a change of who has left, again: %v", err)
	}
}

// TestChange: what is changed is written down before, and what came of it after;
// without that, nothing is changed.
func TestChange(t *testing.T) {
	t.Parallel()
	r, j := newRights(t, rights.Options{})
	change := rights.Change{Caller: door.Caller{Name: "ci"}, API: "swr", Action: "DeletePolicy", Target: "prod/library", RequestID: "r1"}
	entries := func() []journal.AuditEntry {
		t.Helper()
		list, err := j.AuditEntries(t.Context(), journal.AuditFilter{})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := r.Change(ctx, change, func(context.Context) error {
		if list := entries(); len(list) != 1 || list[0].Outcome != "" || list[0].Caller != "ci" || list[0].Target != "prod/library" {
			t.Errorf("before the change: %+v", list)
		}
		cancel() // who asked is gone
		return nil
	})
	if list := entries(); err != nil || list[0].Outcome != "done" {
		t.Errorf("after the change: %+v, %v", list, err)
	}
	no := errors.New("no")
	if err := r.Change(t.Context(), change, func(context.Context) error { return no }); !errors.Is(err, no) {
		t.Error(err)
	}
	if list := entries(); len(list) != 2 || list[0].Outcome != "not done" {
		t.Errorf("%+v", list)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Change(t.Context(), change, func(context.Context) error { t.Error("changed without being written down"); return nil }); err == nil {
		t.Error("no error")
	}
}
