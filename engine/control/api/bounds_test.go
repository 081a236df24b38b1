package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/policy"
)

// TestQuota: a registry has only so many stored policies, however they come to it.
func TestQuota(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{StoredQuota: 1})
	create := func(name, registry string) answer {
		return s.as(t, admin, http.MethodPost, "/policies", text(t, covering(name, registry, "team")))
	}
	want[api.PolicyState](t, create("a", controltest.Registry), http.StatusCreated)
	moved := want[api.PolicyState](t, create("b", controltest.Other), http.StatusCreated)
	wantFault(t, create("c", controltest.Registry), "registry", "at most 1 for a registry")
	a := s.send(t, request{method: http.MethodPut, path: fmt.Sprint("/policies/", moved.ID), token: admin, body: text(t, covering("b", controltest.Registry, "team")), header: http.Header{"If-Match": {"*"}}})
	wantFault(t, a, "registry", "at most 1 for a registry")
}

// TestFrequentPolicies: a schedule that is due too often is refused.
func TestFrequentPolicies(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	p := covering("a", controltest.Registry, "team")
	p.Trigger = policy.Trigger{Type: policy.Scheduled, Cron: "* * * * * *"}
	wantFault(t, s.as(t, admin, http.MethodPost, "/policies", text(t, p)), "trigger.cron", "at least 1m0s")
	p.Trigger = policy.Trigger{Type: policy.EventBased, Reconcile: "0,30 * * * * *"}
	wantFault(t, s.as(t, admin, http.MethodPost, "/policies", text(t, p)), "trigger.reconcile", "at least 1m0s")
	p.Trigger.Reconcile = "0 * * * * *"
	created := want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, p)), http.StatusCreated)
	p.Trigger.Reconcile = "1,2 * * * * *"
	a := s.send(t, request{method: http.MethodPut, path: fmt.Sprint("/policies/", created.ID), token: admin, body: text(t, p), header: http.Header{"If-Match": {"*"}}})
	wantFault(t, a, "trigger.reconcile", "at least 1m0s")
}

func wantFault(t *testing.T, a answer, field, allowed string) {
	t.Helper()
	p := want[api.Problem](t, a, http.StatusUnprocessableEntity)
	if len(p.Errors) != 1 || p.Errors[0].Field != field || !strings.Contains(p.Errors[0].Allowed, allowed) {
		t.Errorf("refused with %+v, want %s: %s", p.Errors, field, allowed)
	}
}
