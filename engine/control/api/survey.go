package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// How many surveys there may be at once: each reads as much of a registry as the
// registry's limits let it.
const (
	maxSurveys         = 4
	maxSurveysOfCaller = 1
)

const (
	// maxTimeout is how long a survey may take: the maximum of timeout_seconds.
	maxTimeout = 300 * time.Second
	// answerPatience is how long an answer may take to be sent after a survey.
	answerPatience = 30 * time.Second
)

type surveyInput struct {
	RefInput
	Findings int `query:"findings" minimum:"0" maximum:"1000" default:"100" doc:"how many findings are listed at most; all are counted"`
	Timeout  int `query:"timeout_seconds" minimum:"1" maximum:"300" default:"60" doc:"how long it may take"`
}

// A Survey is what was seen of what a policy covers.
type Survey struct {
	Policy       string `json:"policy"`
	Registry     string `json:"registry"`
	Key          string `json:"key"`
	Finished     bool   `json:"finished" doc:"everything was looked at; if not, time was up, and the counts are of what was looked at until then"`
	Repositories int64  `json:"repositories"`
	Covered      int64  `json:"covered" doc:"digests"`
	Signed       int64  `json:"signed"`
	Unsigned     int64  `json:"unsigned" doc:"no valid signature by the key under the identity"`
	Failed       int64  `json:"failed" doc:"could not be read; counted as not signed"`
	Unseen       string `json:"unseen,omitempty" doc:"what the registry cannot show although the policy covers it"`
	// Findings are of what is not known to be signed.
	Findings      []Finding `json:"findings" nullable:"false" doc:"of what is not known to be signed"`
	FindingsTotal int64     `json:"findings_total"`
	Truncated     bool      `json:"truncated" doc:"there are more findings than are listed"`
}

// A Finding is a digest that is not known to be signed, or what could not be read.
type Finding struct {
	Repository string   `json:"repository,omitempty"`
	Digest     string   `json:"digest,omitempty" doc:"absent for a repository, or a registry, that could not be read"`
	Tags       []string `json:"tags,omitempty" nullable:"false"`
	Reason     string   `json:"reason,omitempty" doc:"why it could not be read; absent: there is no valid signature"`
	Detail     string   `json:"detail,omitempty"`
}

// A Coverage is a survey that asks whether everything is signed.
type Coverage struct {
	Survey
	Complete bool `json:"complete" doc:"everything that the policy covers was looked at, and is signed"`
}

// A Plan is a survey that asks what signing the rest costs.
type Plan struct {
	Survey
	KeyUses  int64            `json:"key_uses" doc:"of the key, to sign what is unsigned"`
	Requests map[string]int64 `json:"requests" doc:"to the registry, by verb, to sign what is unsigned, beside looking again"`
}

type (
	coverageOutput struct{ Body Coverage }
	planOutput     struct{ Body Plan }
)

func (a *API) surveyOperations() {
	const text = "Reads the registry, in the share of background work, and signs nothing. A caller has one at a time (429), and all callers four (503)."
	unhurried := func(op *huma.Operation) { op.Middlewares = huma.Middlewares{a.unhurried} }
	register(a, operation{id: "plan-policy", method: http.MethodPost, path: "/policies/{policy}/plan", tag: "policies", role: door.Viewer,
		summary: "What would be signed, and what that costs", text: text, long: true, edit: unhurried},
		func(ctx context.Context, s session, in *surveyInput) (*planOutput, error) {
			sum, survey, err := a.survey(ctx, s, in)
			return &planOutput{Plan{survey, sum.KeyUses, sum.Requests}}, err
		})
	register(a, operation{id: "get-coverage", method: http.MethodGet, path: "/policies/{policy}/coverage", tag: "policies", role: door.Viewer,
		summary: "What is covered, signed and unsigned", text: text, long: true, edit: unhurried},
		func(ctx context.Context, s session, in *surveyInput) (*coverageOutput, error) {
			sum, survey, err := a.survey(ctx, s, in)
			return &coverageOutput{Coverage{survey, survey.Finished && sum.Complete()}}, err
		})
}

// unhurried moves the server's deadline for what bounds its time itself.
func (a *API) unhurried(ctx huma.Context, next func(huma.Context)) {
	_, w := humago.Unwrap(ctx)
	// A server whose connections have no deadlines has none to move.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxTimeout + answerPatience))
	next(ctx)
}

// survey looks at what a policy covers, for as long as it may.
func (a *API) survey(ctx context.Context, s session, in *surveyInput) (engine.Coverage, Survey, error) {
	none := engine.Coverage{}
	known, err := rights.InTurn(ctx, a.Turns, s.Caller, false, func(ctx context.Context) (engine.KnownPolicy, error) { return a.find(ctx, s, in.Policy) })
	switch {
	case err != nil:
		return none, Survey{}, err
	case known.Err != nil:
		return none, Survey{}, fmt.Errorf("%w: %w", errBroken, known.Err)
	}
	leave, err := a.surveys.take(s.Name)
	if err != nil {
		return none, Survey{}, err
	}
	defer leave()
	out := Survey{Key: known.Policy.Key, Findings: []Finding{}}
	ctx, cancel := a.until(ctx)
	defer cancel()
	bounded, stop := context.WithTimeout(ctx, time.Duration(in.Timeout)*time.Second)
	defer stop()
	sum, err := a.Engine.Survey(bounded, known.Policy.Name, func(f engine.Finding) { out.add(f, in.Findings) })
	switch {
	case a.isDrained():
		return none, Survey{}, engine.ErrStopping
	case errors.Is(err, context.DeadlineExceeded):
	case errors.Is(err, engine.ErrPolicy):
		return none, Survey{}, fmt.Errorf("%w: %w", errBroken, err)
	case err != nil:
		return none, Survey{}, err
	}
	out.Finished = err == nil
	out.count(sum)
	return sum, out, nil
}

func (s *Survey) add(f engine.Finding, limit int) {
	if f.Signed {
		return
	}
	if s.FindingsTotal++; len(s.Findings) < limit {
		s.Findings = append(s.Findings, Finding{Repository: f.Repository, Digest: f.Digest, Tags: f.Tags, Reason: f.Reason, Detail: f.Detail})
	}
}

func (s *Survey) count(c engine.Coverage) {
	s.Policy, s.Registry, s.Repositories, s.Covered = c.Policy, c.Registry, c.Repositories, c.Covered
	s.Signed, s.Unsigned, s.Failed, s.Unseen = c.Signed, c.Unsigned, c.Failed, c.Unseen
	s.Truncated = s.FindingsTotal > int64(len(s.Findings))
}
