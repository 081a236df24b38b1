package api

import (
	"context"
	"net/http"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
)

type recordsInput struct {
	PageInput
	Digest     string `query:"digest" maxLength:"200" doc:"only those of this artifact"`
	Registry   string `query:"registry" maxLength:"128" doc:"only those of this registry"`
	Repository string `query:"repository" maxLength:"512" doc:"only those of this repository, by its full name"`
	Policy     string `query:"policy" maxLength:"512" doc:"only those of this policy"`
}

type auditInput struct {
	PageInput
	Caller string `query:"caller" maxLength:"128" doc:"only what this caller asked for"`
	API    string `query:"api" maxLength:"32" doc:"only what was asked through this API"`
}

func (a *API) recordOperations() {
	register(a, operation{id: "list-records", method: http.MethodGet, path: "/records", tag: "records", role: door.Viewer,
		summary: "List signature records", text: "A record is the proof of one use of a key. The newest first."}, a.listRecords)
	register(a, operation{id: "list-audit-entries", method: http.MethodGet, path: "/audit", tag: "records", role: door.Admin,
		summary: "List the audit log", text: "Who asked for which change, through every API. The newest first. Who does not see all registries sees its own entries."}, a.listAudit)
}

func (a *API) listRecords(ctx context.Context, s session, in *recordsInput) (*pageOutput[journal.Record], error) {
	list, err := a.Journal.Records(ctx, journal.RecordFilter{Digest: in.Digest, Registry: in.Registry, Repository: in.Repository, Policy: in.Policy,
		View: journal.View{Registries: s.Registries, Namespaces: s.Namespaces}, After: in.after(), Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	return paged(list, in.Limit, func(r *journal.Record) int64 { return r.ID }), nil
}

func (a *API) listAudit(ctx context.Context, s session, in *auditInput) (*pageOutput[journal.AuditEntry], error) {
	f := journal.AuditFilter{Caller: in.Caller, API: in.API, Before: in.after(), Limit: in.Limit + 1}
	if !s.SeesAll() {
		if f.Caller != "" && f.Caller != s.Name {
			return paged[journal.AuditEntry](nil, in.Limit, nil), nil
		}
		f.Caller = s.Name
	}
	list, err := a.Journal.AuditEntries(ctx, f)
	if err != nil {
		return nil, err
	}
	return paged(list, in.Limit, func(e *journal.AuditEntry) int64 { return e.ID }), nil
}
