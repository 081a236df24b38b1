package budget

import "context"

// A Lane says who waits for a request's budget.
type Lane int

// The lanes. Live requests are sent before backlog requests, but while both
// wait, one request in ten is the backlog's, so that a flood of live ones does
// not starve it. Inside a lane, first come is first served.
const (
	Backlog Lane = iota // scheduled scans; the default
	Live                // somebody or something waits for the answer: events, manual runs
)

type laneKey struct{}

// WithLane returns a context whose requests wait in lane.
//
// A context value carries it because a RoundTripper's only argument is the
// request, and libraries that send requests for us hand on nothing of ours
// but the context. Forgetting it is safe: the default is Backlog.
func WithLane(ctx context.Context, lane Lane) context.Context {
	return context.WithValue(ctx, laneKey{}, lane)
}

func laneOf(ctx context.Context) Lane {
	if lane, _ := ctx.Value(laneKey{}).(Lane); lane == Live {
		return Live
	}
	return Backlog
}
