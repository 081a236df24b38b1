package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

const (
	// How many streams there may be at once.
	maxStreams         = 128
	maxStreamsOfCaller = 8
	// streamLife is how long a stream lasts: who comes back shows anew who it is.
	streamLife = 15 * time.Minute
	// readerPatience is how long a reader may take to read one event.
	readerPatience = 10 * time.Second
)

type eventsInput struct {
	ExecutionInput
	LastEventID string `header:"Last-Event-ID" maxLength:"64" doc:"the id of the last event that was read: nothing is sent until there is another"`
}

type streamOutput struct {
	Body func(huma.Context)
}

func (a *API) eventOperations() {
	register(a, operation{id: "stream-execution", method: http.MethodGet, path: "/executions/{execution}/events", tag: "executions", role: door.Viewer, long: true,
		summary: "How an execution goes on, as server-sent events",
		text: "Each event is named execution, and its data is the execution as it is then; what lies between two events may be left out. " +
			"The stream ends when the execution has ended, and after 15 minutes. 204: the execution had ended, and its last event is the one that " +
			"Last-Event-ID names. A caller has 8 streams at most (429), and all callers 128 (503).",
		edit: func(op *huma.Operation) {
			schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[journal.Execution](), true, "")
			op.Responses["200"] = &huma.Response{Description: "events", Content: map[string]*huma.MediaType{
				"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString, Description: "events whose data is JSON of the schema Execution: " + schema.Ref}}}}
			op.Responses["204"] = &huma.Response{Description: "nothing follows the last event"}
		}}, a.streamExecution)
}

func (a *API) streamExecution(ctx context.Context, s session, in *eventsInput) (*streamOutput, error) {
	first, err := a.executionInTurn(ctx, s, in.Execution)
	if err != nil {
		return nil, err
	}
	if a.isDrained() {
		return nil, engine.ErrStopping
	}
	leave, err := a.streams.take(s.Name)
	if err != nil {
		return nil, err
	}
	// huma calls this next, whatever comes.
	return &streamOutput{Body: func(hc huma.Context) {
		defer leave()
		r, w := humago.Unwrap(hc)
		st := &stream{w: w, c: http.NewResponseController(w), last: in.LastEventID}
		e := eventOf(first)
		if e.id == st.last && first.Status.Final() {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		st.begin()
		if r.Method == http.MethodHead {
			return
		}
		a.follow(r.Context(), s, first, st)
	}}, nil
}

func (a *API) executionInTurn(ctx context.Context, s session, id int64) (journal.Execution, error) {
	return rights.InTurn(ctx, a.Turns, s.Caller, false, func(ctx context.Context) (journal.Execution, error) { return a.execution(ctx, s, id) })
}

// follow sends how an execution goes on until it ends, or nobody reads, or the time
// is up. It asks the journal, which knows it whichever replica carries it out; and it
// holds nothing that signing waits for.
func (a *API) follow(ctx context.Context, s session, x journal.Execution, st *stream) {
	ctx, cancel := a.until(ctx)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, streamLife)
	defer stop()
	poll, beat := time.NewTicker(a.Poll), time.NewTicker(a.Heartbeat)
	defer poll.Stop()
	defer beat.Stop()
	for {
		if err := st.send(eventOf(x)); err != nil || x.Status.Final() {
			return
		}
		for asked := false; !asked; {
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
				if err := st.write(": still here\n\n"); err != nil {
					return
				}
			case <-poll.C:
				asked = true
			}
		}
		next, err := a.executionInTurn(ctx, s, x.ID)
		if err != nil {
			return // gone, or not to be seen any more, or not now: who comes back is told
		}
		x = next
	}
}

// An event is how an execution is. Its id is made of that alone, so that every
// replica knows it.
type event struct{ id, data string }

func eventOf(x journal.Execution) event {
	data, _ := json.Marshal(x) // as every answer has it
	sum := sha256.Sum256(data)
	return event{fmt.Sprint(x.ID, "-", hex.EncodeToString(sum[:8])), string(data)}
}

// A stream is the way to one reader.
type stream struct {
	w    http.ResponseWriter
	c    *http.ResponseController
	last string // the id of what was sent last
}

func (s *stream) begin() {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
	_ = s.write(": begins\nretry: 2000\n\n") // what fails here fails again
}

// send sends an event that is news.
func (s *stream) send(e event) error {
	if e.id == s.last {
		return nil
	}
	s.last = e.id
	return s.write("id: " + e.id + "\nevent: execution\ndata: " + e.data + "\n\n")
}

func (s *stream) write(text string) error {
	_ = s.c.SetWriteDeadline(time.Now().Add(readerPatience)) // a writer without deadlines has none
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.c.Flush()
}
