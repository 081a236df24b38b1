package door

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"
)

var memoryStart = time.Date(2026, 11, 22, 2, 19, 57, 0, time.UTC)

// number is a claim with a signature of its own, made at a time.
func number(n int, at time.Time) claim {
	return claim{at: at, window: time.Minute, signature: binary.BigEndian.AppendUint64(nil, uint64(n))}
}

// TestMemoryIsFlat: a flood fills the memory and no more, and is refused from there
// on until what fills it could not be replayed any more.
func TestMemoryIsFlat(t *testing.T) {
	now := &clock{now: memoryStart}
	m := newMemory(100)
	for n := range 1000 {
		_, err := m.admit(number(n, memoryStart), now.Now)
		if n < 100 && err != nil || n >= 100 && !errors.Is(err, ErrBusy) {
			t.Fatalf("%d: %v", n, err)
		}
	}
	if len(m.seen) != 100 || len(m.order) != 100 {
		t.Errorf("%d seen, %d in order, want 100", len(m.seen), len(m.order))
	}
	now.set(memoryStart.Add(time.Minute))
	if _, err := m.admit(number(1000, now.Now()), now.Now); !errors.Is(err, ErrBusy) {
		t.Errorf("while the first could be replayed: %v", err)
	}
	if _, err := m.admit(number(0, memoryStart), now.Now); !errors.Is(err, ErrReplayed) {
		t.Errorf("the first, when it is full: %v", err)
	}
	now.set(memoryStart.Add(time.Minute + 1))
	if _, err := m.admit(number(1000, now.Now()), now.Now); err != nil || len(m.seen) != 1 || len(m.order) != 1 {
		t.Errorf("after that: %v, %d seen, %d in order", err, len(m.seen), len(m.order))
	}
}

// TestForget: what was forgotten may come once more, takes no more place than before, and
// expires when it would have.
func TestForget(t *testing.T) {
	now := &clock{now: memoryStart}
	m, c := newMemory(1), number(1, memoryStart)
	for range 3 {
		forget, err := m.admit(c, now.Now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.admit(c, now.Now); !errors.Is(err, ErrReplayed) {
			t.Errorf("while it is remembered: %v", err)
		}
		forget()
		if _, err := m.admit(number(2, memoryStart), now.Now); !errors.Is(err, ErrBusy) || len(m.order) != 1 {
			t.Errorf("beside one that is forgotten: %v, %d in order", err, len(m.order))
		}
	}
	now.set(memoryStart.Add(time.Minute + 1))
	if _, err := m.admit(c, now.Now); !errors.Is(err, ErrClock) {
		t.Errorf("after its time: %v", err)
	}
}

// TestForgetWhatCame: a request may be sent again as it is when its caller was told to
// forget it, and only then.
func TestForgetWhatCame(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue
		}
		d := s.open(t)
		caller, _, err := s.enter(d, s.good.request())
		if err != nil {
			t.Fatal(err)
		}
		s.expect(t, d, "again", s.good, ErrReplayed)
		caller.Forget()
		s.expect(t, d, "forgotten", s.good, nil)
		s.expect(t, d, "after that", s.good, ErrReplayed)
	}
	Caller{}.Forget() // of nobody
}

// TestMemoryForgetsInOrder: what expires first is forgotten first, whenever it came.
func TestMemoryForgetsInOrder(t *testing.T) {
	now := &clock{now: memoryStart}
	m := newMemory(100)
	for n, off := range []int{0, 30, -30, 59, -59, 10} {
		if _, err := m.admit(number(n, memoryStart.Add(time.Duration(off)*time.Second)), now.Now); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ seconds, seen int }{{1, 6}, {2, 5}, {30, 5}, {31, 4}, {61, 3}, {71, 2}, {91, 1}, {119, 1}, {120, 0}} {
		now.set(memoryStart.Add(time.Duration(step.seconds) * time.Second))
		_, _ = m.admit(number(99, memoryStart.Add(-time.Hour)), now.Now) // sweeps
		if len(m.seen) != step.seen {
			t.Errorf("after %d s %d are seen, want %d", step.seconds, len(m.seen), step.seen)
		}
	}
}

// TestMemoryLateArrival: a request that was in time when it began to arrive, but is
// not any more when its body is there, is refused: its first coming is forgotten.
func TestMemoryLateArrival(t *testing.T) {
	now := &clock{now: memoryStart}
	m := newMemory(100)
	first := number(1, memoryStart)
	if _, err := m.admit(first, now.Now); err != nil {
		t.Fatal(err)
	}
	now.set(memoryStart.Add(time.Minute + time.Second))
	if _, err := m.admit(number(2, now.Now()), now.Now); err != nil { // sweeps
		t.Fatal(err)
	}
	if _, err := m.admit(first, now.Now); !errors.Is(err, ErrClock) {
		t.Errorf("late: %v, want %v", err, ErrClock)
	}
	// A clock that is set back does not bring it back either.
	now.set(memoryStart)
	if _, err := m.admit(first, now.Now); !errors.Is(err, ErrClock) {
		t.Errorf("after the clock was set back: %v, want %v", err, ErrClock)
	}
}

// TestOneCannotLockOutAnother: whose memory is full is refused, and nobody else.
func TestOneCannotLockOutAnother(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue
		}
		noisy := Credential{Name: "noisy", Role: Viewer, AccessKey: "AKNOISY", Secret: []byte("noisy"),
			OCIKeyID: "noisy", OCIPublicKey: &rsaKeys()[1].PublicKey}
		d := open(t, Config{Credentials: []Credential{noisy, ci()}, Clock: (&clock{now: s.at}).Now, Remembered: 3})
		for _, h := range []*holder{d.keyring.Load().byAccessKey["AKNOISY"], d.keyring.Load().byKeyID["noisy"]} {
			for n := range 10 {
				_, _ = h.memory.admit(number(n, s.at), (&clock{now: s.at}).Now)
			}
			if _, err := h.memory.admit(number(11, s.at), (&clock{now: s.at}).Now); !errors.Is(err, ErrBusy) {
				t.Fatalf("%s: the noisy one is not full: %v", s.name, err)
			}
		}
		s.expect(t, d, "beside a noisy one", s.good, nil)
	}
}

// TestFullRefuses: a caller whose own memory is full is refused, until there is room.
func TestFullRefuses(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue
		}
		now := &clock{now: s.at}
		d := open(t, Config{Credentials: []Credential{ci()}, Clock: now.Now, Remembered: 1})
		for _, h := range []*holder{d.keyring.Load().byAccessKey[accessKey], d.keyring.Load().byKeyID[keyID]} {
			if _, err := h.memory.admit(number(1, s.at.Add(-time.Minute)), now.Now); err != nil {
				t.Fatal(err)
			}
		}
		s.expect(t, d, "full", s.good, ErrBusy)
		if _, _, err := s.enter(d, s.good.request()); CallerOf(err).Name != "ci" {
			t.Errorf("%s: of a full memory: caller %+v, %v", s.name, CallerOf(err), err)
		}
		now.set(s.at.Add(time.Second))
		s.expect(t, d, "there is room", s.good, nil)
	}
}

func BenchmarkMemory(b *testing.B) {
	now := &clock{now: memoryStart}
	m := newMemory(1 << 14)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		now.set(memoryStart.Add(time.Duration(n) * time.Minute / (1 << 13)))
		if _, err := m.admit(number(n, now.Now()), now.Now); err != nil {
			b.Fatal(fmt.Errorf("%d: %w", n, err))
		}
	}
}
