package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
)

// atOnce sends requests at the same time, and returns how many got which status.
func (s *site) atOnce(t *testing.T, requests ...request) map[int]int {
	t.Helper()
	statuses := make([]int, len(requests))
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i, r := range requests {
		all.Go(func() {
			<-begin
			statuses[i] = s.send(t, r).status
		})
	}
	close(begin)
	all.Wait()
	counts := map[int]int{}
	for _, status := range statuses {
		counts[status]++
	}
	return counts
}

func times(n int, r request) []request {
	list := make([]request, n)
	for i := range list {
		list[i] = r
	}
	return list
}

// TestAtOnce: of those who want the same at the same time one gets it, and the others
// are told.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	p := covering("p", controltest.Registry, "team")
	wantCounts := func(what string, got, want map[int]int) {
		t.Helper()
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	create := request{method: http.MethodPost, path: "/policies", body: text(t, p)}
	wantCounts("creating", s.atOnce(t, times(6, create)...), map[int]int{201: 1, 409: 5})
	known := want[api.PolicyState](t, s.get(t, "/policies/p"), http.StatusOK)
	put := request{method: http.MethodPut, path: "/policies/p", body: text(t, p), header: http.Header{"If-Match": {fmt.Sprintf(`"%d"`, known.Revision)}}}
	wantCounts("replacing", s.atOnce(t, times(6, put)...), map[int]int{200: 1, 412: 5})
	put.header = http.Header{"If-Match": {"*"}}
	remove := request{method: http.MethodDelete, path: "/policies/p"}
	got := s.atOnce(t, append(times(3, put), times(3, remove)...)...)
	if got[204] != 1 || got[200]+got[404] != 5 || got[404] < 2 {
		t.Errorf("replacing and deleting: %v", got)
	}
	refused(t, s.get(t, "/policies/p"), http.StatusNotFound)
	for _, e := range want[list[journal.AuditEntry]](t, s.get(t, "/audit?limit=500"), http.StatusOK).Items {
		if e.Outcome == "" {
			t.Errorf("no outcome: %+v", e)
		}
	}
}
