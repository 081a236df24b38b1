package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// A slowReader takes nothing of an answer until it may.
type slowReader struct {
	*httptest.ResponseRecorder
	begun, goOn chan struct{}
}

func (r *slowReader) Write(b []byte) (int, error) {
	close(r.begun)
	<-r.goOn
	return r.ResponseRecorder.Write(b)
}

// A slowSender sends nothing of a body until it may.
type slowSender struct{ begun, goOn chan struct{} }

func (s *slowSender) Read([]byte) (int, error) {
	close(s.begun)
	<-s.goOn
	return 0, io.EOF
}

func await(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
	}
}

// TestSlowCallersHaveNoSlot: with one slot, those who read an answer slowly, send a
// body slowly or follow a stream keep nobody waiting; who has the slot does.
func TestSlowCallersHaveNoSlot(t *testing.T) {
	t.Parallel()
	var gave, ended atomic.Int64
	h := controltest.New(t, controltest.Options{Rights: rights.Options{Slots: 1, GiveWay: func() func() { gave.Add(1); return func() { ended.Add(1) } }}})
	a := New(Options{Engine: h.Engine, Journal: h.Journal, Rights: h.Rights, Door: h.Door, Log: zap.NewNop()})
	serve := func(ctx context.Context, w http.ResponseWriter, method string, body io.Reader) {
		r := httptest.NewRequestWithContext(ctx, method, Prefix+"/policies", body)
		r.Header.Set("Authorization", "Bearer "+controltest.AdminToken)
		r.Header.Set("Content-Type", "application/json")
		a.ServeHTTP(w, r)
	}
	read := func() int {
		w := httptest.NewRecorder()
		serve(t.Context(), w, http.MethodGet, http.NoBody)
		return w.Code
	}
	var slow sync.WaitGroup
	reader := &slowReader{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
	slow.Go(func() { serve(t.Context(), reader, http.MethodGet, http.NoBody) })
	await(t, reader.begun)
	sender := &slowSender{make(chan struct{}), make(chan struct{})}
	slow.Go(func() { serve(t.Context(), httptest.NewRecorder(), http.MethodPost, sender) })
	await(t, sender.begun)
	if status := read(); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if gave.Load() == 0 || gave.Load() != ended.Load() {
		t.Errorf("the engine gave way %d times, and %d times no more: who is slow is not given way to", gave.Load(), ended.Load())
	}
	close(reader.goOn)
	close(sender.goOn)
	slow.Wait()

	leave, err := h.Rights.Turns().Slot(t.Context(), door.Caller{})
	before := gave.Load()
	if err != nil || ended.Load() != before-1 {
		t.Errorf("with a slot: %v; the engine gave way %d times, and %d times no more", err, before, ended.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	serve(ctx, httptest.NewRecorder(), http.MethodGet, http.NoBody)
	if gave.Load() != before+1 || ended.Load() != before {
		t.Errorf("without a slot: the engine gave way %d times, and %d times no more", gave.Load()-before, ended.Load()-before+1)
	}
	leave()
	if status := read(); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}
