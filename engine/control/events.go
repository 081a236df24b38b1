package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/registry/event"
)

const (
	// deliveryPatience is how long the check of a header may take, how long a delivery
	// waits for its turn, and then how long its body may take to come, and what it says to be journaled.
	deliveryPatience = 10 * time.Second
	// unreadPatience is how long the body of a delivery that was refused before may
	// take to come, so that the answer is not lost while it is sent.
	unreadPatience = time.Second
	// refusalsSaid is how often a refusal of the same sort is logged.
	refusalsSaid = 10 * time.Second
)

// What becomes of a delivery, for metrics and logs.
const (
	deliveryAccepted     = "accepted"
	deliveryUnauthorized = "unauthorized"
	deliveryMalformed    = "malformed"
	deliveryForeign      = "foreign"
	deliveryTooLarge     = "too_large"
	deliveryBusy         = "busy"
	deliveryFailed       = "failed"
	deliveryUnknown      = "unknown_registry"
)

// EventOptions are what events are received for. All but Metrics are required.
type EventOptions struct {
	Engine *engine.Engine
	// Receiver returns who reads the deliveries of a registry; false if it has no
	// events. It is asked for each delivery, so that a reload is noticed.
	Receiver func(registry string) (*event.Receiver, bool)
	Log      *zap.Logger
	// Keys, when set, know by which signature key a registry's deliveries must prove who
	// sends them.
	Keys SignatureKeys
	// Metrics counts deliveries and pushes. Nil counts nothing.
	Metrics *Metrics
}

// SignatureKeys are those that may be bound to the events of a registry. One that is
// bound takes the place of the source's own proof.
type SignatureKeys interface {
	// Bound reports whether one is bound, and whether the header is all that it looks at.
	Bound(ctx context.Context, registry string) (bound, byHeader bool, err error)
	// Prove returns nil for a delivery of whoever has the key. What it was refused for
	// wraps [event.ErrUnauthorized].
	Prove(ctx context.Context, registry string, r *http.Request, body []byte) error
}

// Events returns the handler of POST /events/{registry}. A delivery is answered
// with 202 when what it says is journaled.
func Events(o EventOptions) http.Handler {
	h := &eventHandler{o: o, turns: newTurns(), said: map[string]time.Time{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /events/{registry}", h.deliver)
	return mux
}

type eventHandler struct {
	o     EventOptions
	turns *turns

	mu   sync.Mutex
	said map[string]time.Time // when a refusal was logged last, by registry and sort
}

// received is the answer to a delivery that was taken.
type received struct {
	New       int `json:"new"`
	Known     int `json:"known"`
	Uncovered int `json:"uncovered"`
	Ignored   int `json:"ignored"`
}

func (h *eventHandler) deliver(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("registry")
	receiver, ok := h.o.Receiver(name)
	if !ok {
		h.refuseUnread(w, r, "", deliveryUnknown, fmt.Errorf("no events are configured for registry %.100q", name))
		return
	}
	signed, proven, err := h.admits(r, name, receiver)
	if err != nil {
		h.refuseUnread(w, r, name, sortOf(err), err)
		return
	}
	done, ok := h.turns.take(r.Context(), name, proven)
	if !ok {
		w.Header().Set("Retry-After", "1")
		h.refuseUnread(w, r, name, deliveryBusy, errors.New("too many deliveries at once"))
		return
	}
	defer done()
	body, err := readDelivery(w, r)
	if err != nil {
		h.refuse(w, r, name, sortOf(err), err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), deliveryPatience)
	defer cancel()
	delivery, err := h.read(ctx, r, receiver, body, signed)
	if err != nil {
		h.refuse(w, r, name, sortOf(err), err)
		return
	}
	recognize(r)
	receipt, err := h.o.Engine.Receive(ctx, requestIDOf(w), name, delivery.Pushes)
	if err != nil {
		h.refuse(w, r, name, deliveryFailed, err)
		return
	}
	said := received{New: receipt.New, Known: receipt.Known, Uncovered: receipt.Uncovered}
	for _, n := range delivery.Ignored {
		said.Ignored += n
	}
	h.o.Metrics.delivered(name, deliveryAccepted)
	h.o.Metrics.pushed(name, receipt, delivery)
	h.o.Log.Debug("events received", zap.String("request", requestIDOf(w)), zap.String("registry", name), zap.Int("new", said.New), zap.Int("known", said.Known),
		zap.Int("uncovered", said.Uncovered), zap.Int("ignored", said.Ignored))
	respond(w, http.StatusAccepted, said)
}

// read checks who sent a delivery, and returns what it says.
func (h *eventHandler) read(ctx context.Context, r *http.Request, receiver *event.Receiver, body []byte, signed bool) (event.Delivery, error) {
	if !signed {
		return receiver.Receive(ctx, r.Header, body)
	}
	if err := h.o.Keys.Prove(ctx, r.PathValue("registry"), r, body); err != nil {
		return event.Delivery{}, err
	}
	return receiver.Read(r.Header, body)
}

// admits checks the header, so that who does not know the secret takes nobody's
// turn. signed is whether a signature key is to prove the delivery.
func (h *eventHandler) admits(r *http.Request, name string, receiver *event.Receiver) (signed, proven bool, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), deliveryPatience)
	defer cancel()
	byHeader := false
	if h.o.Keys != nil {
		if signed, byHeader, err = h.o.Keys.Bound(ctx, name); err != nil {
			return false, false, err
		}
	}
	switch {
	case !signed:
		proven, err = receiver.Admits(ctx, r.Header)
	case byHeader:
		err = h.o.Keys.Prove(ctx, name, r, nil)
		proven = err == nil
	case !strings.HasPrefix(r.Header.Get("Authorization"), "SDK-HMAC-SHA256 "):
		err = fmt.Errorf("%w: a signature key is bound, and the delivery is not signed by one", event.ErrUnauthorized)
	}
	return signed, proven, err
}

var errTooLarge = fmt.Errorf("a delivery of more than %d bytes", event.MaxBody)

// readDelivery reads a body that is neither too large nor too slow.
func readDelivery(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > event.MaxBody {
		return nil, errTooLarge
	}
	// Where there is no connection there is nobody to be slow.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(deliveryPatience))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, event.MaxBody))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("%w: reading the body: %w", event.ErrMalformed, err)
	}
	return body, nil
}

func sortOf(err error) string {
	switch {
	case errors.Is(err, event.ErrUnauthorized):
		return deliveryUnauthorized
	case errors.Is(err, event.ErrMalformed):
		return deliveryMalformed
	case errors.Is(err, event.ErrForeign):
		return deliveryForeign
	case errors.Is(err, errTooLarge):
		return deliveryTooLarge
	}
	return deliveryFailed
}

// statuses are what refusals are answered with. After those from 500 on, and
// 429, senders try again.
var statuses = map[string]int{
	deliveryUnauthorized: http.StatusUnauthorized,
	deliveryMalformed:    http.StatusBadRequest,
	deliveryForeign:      http.StatusForbidden,
	deliveryTooLarge:     http.StatusRequestEntityTooLarge,
	deliveryUnknown:      http.StatusNotFound,
	deliveryBusy:         http.StatusServiceUnavailable,
	deliveryFailed:       http.StatusServiceUnavailable,
}

// refuseUnread refuses a delivery whose body was not read, and answers without
// waiting for it.
func (h *eventHandler) refuseUnread(w http.ResponseWriter, r *http.Request, registry, sort string, err error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadPatience)) // as in readDelivery
	w.Header().Set("Connection", "close")
	h.refuse(w, r, registry, sort, err)
}

// refuse answers, counts and, not too often, logs a delivery that is not taken.
// Who sent it may be anybody, so that the answer of a fault of ours says nothing.
func (h *eventHandler) refuse(w http.ResponseWriter, r *http.Request, registry, sort string, err error) {
	h.o.Metrics.delivered(registry, sort)
	if h.isToBeSaid(registry + "\n" + sort) {
		h.o.Log.Warn("events refused", zap.String("request", requestIDOf(w)), zap.String("registry", registry), zap.String("result", sort),
			zap.String("from", r.RemoteAddr), zap.Error(err))
	}
	said := problem{err.Error()}
	if sort == deliveryFailed {
		said.Error = "not received; deliver it again"
	}
	if sort == deliveryUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="sealwright events"`) // SNS sends a password only then
	}
	respond(w, statuses[sort], said)
}

func (h *eventHandler) isToBeSaid(what string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if now.Sub(h.said[what]) < refusalsSaid {
		return false
	}
	h.said[what] = now
	return true
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	raw, err := json.Marshal(body)
	if err != nil { // numbers and text always encode
		status, raw = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	_, _ = w.Write(raw) // the reader left: nobody to tell
}
