package swr

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine/control/door"
)

// maxPath is how long a path may be, in bytes as sent.
const maxPath = 2048

// An operation is what a request may ask for.
type operation struct {
	name   string // the SDK's
	role   door.Role
	status int  // of its success
	asks   bool // a registry, and not the journal alone
	run    func(*API, context.Context, *call) (any, error)
}

// A route is how an operation is asked for. Of its pattern, repository_name stands
// for one or more segments.
type route struct {
	method  string
	pattern []string
	operation
}

// routes are those of the operations that there are.
func routes() []route {
	const (
		policies   = "namespaces/{namespace_name}/signature/policies"
		one        = policies + "/{policy_id}"
		executions = one + "/executions"
		tasks      = executions + "/{execution_id}/tasks"
		namespace  = "namespaces/{namespace_name}"
		artifacts  = namespace + "/repositories/{repository_name}/artifacts"
	)
	at := func(method, pattern, name string, role door.Role, run func(*API, context.Context, *call) (any, error)) route {
		status := http.StatusOK
		if method == http.MethodPost {
			status = http.StatusCreated
		}
		return route{method, strings.Split(pattern, "/"), operation{name, role, status, false, run}}
	}
	asking := func(method, pattern, name string, role door.Role, run func(*API, context.Context, *call) (any, error)) route {
		r := at(method, pattern, name, role, run)
		r.asks = true
		return r
	}
	return []route{
		at(http.MethodGet, "signature/policies", "ListInstanceSignPolicies", door.Viewer, (*API).listPolicies),
		at(http.MethodPost, policies, "CreateInstanceSignPolicy", door.Admin, (*API).createPolicy),
		at(http.MethodGet, one, "ShowInstanceSignPolicy", door.Viewer, (*API).showPolicy),
		at(http.MethodPut, one, "UpdateInstanceSignPolicy", door.Admin, (*API).updatePolicy),
		at(http.MethodDelete, one, "DeleteInstanceSignPolicy", door.Admin, (*API).deletePolicy),
		at(http.MethodPost, executions, "ExecuteInstanceSignPolicy", door.Operator, (*API).execute),
		at(http.MethodGet, executions, "ListInstanceSignPolicyExecutions", door.Viewer, (*API).listExecutions),
		at(http.MethodGet, tasks, "ListInstanceSignPolicyExecTasks", door.Viewer, (*API).listTasks),
		at(http.MethodGet, tasks+"/{task_id}/subtasks", "ListInstanceSignatureExecutionSubtasks", door.Viewer, (*API).listSubtasks),
		asking(http.MethodGet, "namespaces", "ListInstanceNamespaces", door.Viewer, (*API).listNamespaces),
		asking(http.MethodPost, "namespaces", "CreateInstanceNamespace", door.Admin, (*API).createNamespace),
		asking(http.MethodGet, namespace, "ShowInstanceNamespace", door.Viewer, (*API).showNamespace),
		asking(http.MethodDelete, namespace, "DeleteInstanceNamespace", door.Admin, (*API).deleteNamespace),
		asking(http.MethodGet, artifacts, "ListInstanceArtifacts", door.Viewer, (*API).listArtifacts),
		asking(http.MethodGet, artifacts+"/{reference}/accessories", "ListInstanceAccessories", door.Viewer, (*API).listAccessories),
		asking(http.MethodGet, "statistics", "ListInstanceStatistics", door.Viewer, (*API).statistics),
	}
}

// route finds the operation that a request asks for.
func (a *API) route(c *call, r *http.Request) error {
	segments, ok := split(r.URL)
	if !ok || len(segments) < 5 || segments[0] != "v2" || segments[2] != "instances" {
		return noAPI()
	}
	for i := range a.routes {
		o := &a.routes[i]
		values, ok := match(o.pattern, segments[4:])
		if !ok || o.method != r.Method {
			continue
		}
		values["project_id"], values["instance_id"] = segments[1], segments[3]
		c.operation, c.path = &o.operation, values
		return nil
	}
	return noAPI()
}

// split returns the segments of a path, each decoded once. A slash that was escaped
// separates nothing. Segments that are empty, or that lead elsewhere, are refused.
func split(u *url.URL) ([]string, bool) {
	escaped, ok := strings.CutPrefix(u.EscapedPath(), "/")
	if !ok || len(escaped) > maxPath {
		return nil, false
	}
	segments := strings.Split(escaped, "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil || plain == "" || plain == "." || plain == ".." || strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, false
		}
		segments[i] = plain
	}
	return segments, true
}

// match returns what stands in segments where the pattern has names.
func match(pattern, segments []string) (map[string]string, bool) {
	values := map[string]string{}
	more := len(segments) - len(pattern) // segments of a repository's name beyond its first
	if more < 0 || more > 0 && !slices.Contains(pattern, "{repository_name}") {
		return nil, false
	}
	for i, p := range pattern {
		name, isName := strings.CutPrefix(p, "{")
		switch {
		case p == "{repository_name}":
			values["repository_name"] = repositoryName(segments[:more+1])
			segments = segments[more:]
		case isName:
			values[strings.TrimSuffix(name, "}")] = segments[0]
		case p != segments[0]:
			return nil, false
		}
		if segments = segments[1:]; len(segments) == 0 && i < len(pattern)-1 {
			return nil, false
		}
	}
	return values, true
}

// repositoryName joins a name that is written in any of three ways: its slashes as
// they are, as %2F, which is decoded by now, and as %252F, which is %2F by now.
func repositoryName(segments []string) string {
	return strings.NewReplacer("%2F", "/", "%2f", "/").Replace(strings.Join(segments, "/"))
}
