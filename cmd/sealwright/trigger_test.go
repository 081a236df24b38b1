package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/user"
	"testing"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/journal"
)

// TestTriggerIsAudited: the audit log says which user of the system fired a policy by
// the command line, and what was signed for it says which request that was.
func TestTriggerIsAudited(t *testing.T) {
	h := newHouse(t)
	h.push("library/api", 1)
	h.configure(fmt.Sprintf(manual, "all"))
	h.start()
	h.run(exitOK, "trigger", "all")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	audit := fromSocket[journal.AuditEntry](t, h, "/api/v1/audit")
	if len(audit) != 1 || audit[0].Caller != "local:"+me.Username || audit[0].API != "socket" || audit[0].Action != "trigger" ||
		audit[0].Target != "test/all" || audit[0].Outcome != "done" || audit[0].RequestID == "" {
		t.Fatalf("audited %+v", audit)
	}
	records := fromSocket[journal.Record](t, h, "/api/v1/records")
	if len(records) != 1 || records[0].RequestID != audit[0].RequestID {
		t.Errorf("audited %+v, recorded %+v", audit, records)
	}
}

// fromSocket returns a list that the daemon answers at its control socket.
func fromSocket[T any](t *testing.T, h *house, path string) []T {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.path("state/"+control.SocketName))
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://control" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var page struct{ Items []T }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	return page.Items
}
