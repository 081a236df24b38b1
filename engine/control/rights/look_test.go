package rights

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/control/door"
)

// A museum has something to look at, and one turn.
type museum struct {
	turns *Turns
	shown int // what is there to see
	reads atomic.Int64
}

// look looks at what, in turn.
func (m *museum) look(ctx context.Context, what string, meanwhile func(context.Context)) (int, bool, error) {
	return Look(ctx, m.turns, what, func(ctx context.Context, begin func()) (int, error) {
		return InTurn(ctx, m.turns, door.Caller{}, false, func(ctx context.Context) (int, error) {
			begin()
			m.reads.Add(1)
			seen := m.shown
			meanwhile(ctx)
			return seen, ctx.Err()
		})
	})
}

// taken takes the turn until leave is called.
func (m *museum) taken(t *testing.T) (leave func()) {
	done := make(chan struct{})
	go func() {
		if _, err := InTurn(t.Context(), m.turns, door.Caller{}, true, func(context.Context) (int, error) { <-done; return 0, nil }); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	return func() { close(done) }
}

func nothing(context.Context) {}

// TestLook: who asks for the same before it is read gets it with one read; who asks when it
// has begun, or for something else, gets what is there then.
func TestLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &museum{turns: NewTurns(0, 1, nil), shown: 1}
		leave := m.taken(t)
		var seen [3][]int
		var firsts atomic.Int64
		var mu sync.Mutex
		ask := func(group int, what string, meanwhile func(context.Context)) {
			out, first, err := m.look(t.Context(), what, meanwhile)
			if err != nil {
				t.Error(err)
			}
			if first {
				firsts.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[group] = append(seen[group], out)
		}
		changed := func(context.Context) { // what begins after this sees the change
			m.shown = 2
			go ask(1, "a", nothing)
			go ask(1, "a", nothing)
			time.Sleep(time.Second) // they wait
		}
		for range 5 {
			go ask(0, "a", changed)
		}
		synctest.Wait()
		go ask(2, "b", nothing)
		synctest.Wait()
		leave()
		time.Sleep(time.Minute)
		synctest.Wait()
		for group, want := range [][]int{{1, 1, 1, 1, 1}, {2, 2}, {2}} {
			if !slices.Equal(seen[group], want) {
				t.Errorf("group %d saw %v, want %v", group, seen[group], want)
			}
		}
		if m.reads.Load() != 3 || firsts.Load() != 3 || len(m.turns.looks.ahead) != 0 {
			t.Errorf("%d reads, %d of them by who saw it, %d left", m.reads.Load(), firsts.Load(), len(m.turns.looks.ahead))
		}
	})
}

// TestLookIsLeft: a read goes on while anybody waits for it, and ends when nobody does.
func TestLookIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &museum{turns: NewTurns(0, 1, nil), shown: 1}
		for _, tt := range []struct {
			name    string
			leave   []int // of three, in this order
			reaches error // what the read is told
		}{
			{"the first leaves", []int{0}, nil}, {"all but the last", []int{0, 1}, nil}, {"all but the first", []int{2, 1}, nil},
			{"all", []int{0, 1, 2}, context.Canceled}, {"all, the first at last", []int{1, 2, 0}, context.Canceled},
		} {
			leave := m.taken(t)
			var all sync.WaitGroup
			var goes [3]context.CancelFunc
			var errs [3]error
			var told error
			goOn := make(chan struct{})
			for i := range 3 {
				var ctx context.Context
				ctx, goes[i] = context.WithCancel(t.Context())
				all.Go(func() {
					_, _, errs[i] = m.look(ctx, "a", func(ctx context.Context) {
						select {
						case <-goOn:
						case <-ctx.Done():
						}
						told = ctx.Err()
					})
				})
				synctest.Wait()
			}
			leave() // the read begins
			synctest.Wait()
			for _, i := range tt.leave {
				goes[i]()
				synctest.Wait()
			}
			close(goOn)
			all.Wait()
			if !errors.Is(told, tt.reaches) {
				t.Errorf("%s: the read was told %v, want %v", tt.name, told, tt.reaches)
			}
			for i, err := range errs {
				left := slices.Contains(tt.leave, i)
				if i > 0 && left != errors.Is(err, context.Canceled) || !left && err != nil {
					t.Errorf("%s: caller %d got %v", tt.name, i, err)
				}
				goes[i]()
			}
		}
	})
}

// TestLookOfWhoLeft: who asks when all have left who waited does not wait for what they
// gave up.
func TestLookOfWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns(0, 1, nil)
		ctx, leave := context.WithCancel(t.Context())
		gaveUp, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			_, _, err := Look(ctx, turns, "a", func(ctx context.Context, _ func()) (int, error) {
				<-ctx.Done()
				<-gaveUp
				return 0, ctx.Err()
			})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
		synctest.Wait()
		leave()
		synctest.Wait()
		out, first, err := Look(t.Context(), turns, "a", func(context.Context, func()) (int, error) { return 1, nil })
		if out != 1 || !first || err != nil {
			t.Errorf("%d, %t, %v", out, first, err)
		}
		close(gaveUp)
		<-ended
		if len(turns.looks.ahead) != 0 {
			t.Errorf("%d are left", len(turns.looks.ahead))
		}
	})
}

// TestLookPatience: who joins late does not give up when the one who came first does, and
// gives up in the end.
func TestLookPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &museum{turns: NewTurns(0, 1, nil), shown: 1}
		leave := m.taken(t)
		var all sync.WaitGroup
		var first, late error
		all.Go(func() { _, _, first = m.look(t.Context(), "a", nothing) })
		time.Sleep(turnPatience - time.Second)
		all.Go(func() { _, _, late = m.look(t.Context(), "a", nothing) })
		time.Sleep(2 * time.Second)
		leave()
		all.Wait()
		if !errors.Is(first, ErrBusy) || late != nil {
			t.Errorf("the first: %v, the late one: %v", first, late)
		}
		leave = m.taken(t)
		began := time.Now()
		for i := range 3 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * turnPatience / 2)
				asked := time.Now()
				if _, _, err := m.look(t.Context(), "a", nothing); !errors.Is(err, ErrBusy) || time.Since(asked) > 2*turnPatience {
					t.Errorf("caller %d after %s: %v", i, time.Since(asked), err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took > 3*turnPatience {
			t.Errorf("they gave up after %s", took)
		}
		leave()
	})
}

// TestLookFails: all who wait are told why, also if it is a panic.
func TestLookFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := errors.New("no")
		for name, fail := range map[string]struct {
			do   func()
			want error
		}{"error": {func() {}, no}, "panic": {func() { panic("boom") }, ErrPanic}} {
			m := &museum{turns: NewTurns(0, 1, nil)}
			var all sync.WaitGroup
			var panics, told atomic.Int64
			for range 3 {
				all.Go(func() {
					defer func() {
						if recover() != nil {
							panics.Add(1)
						}
					}()
					_, _, err := Look(t.Context(), m.turns, "a", func(context.Context, func()) (int, error) {
						synctest.Wait() // the others have joined
						fail.do()
						return 1, no
					})
					if errors.Is(err, fail.want) {
						told.Add(1)
					}
				})
			}
			all.Wait()
			if panics.Load()+told.Load() != 3 || (panics.Load() == 1) != errors.Is(fail.want, ErrPanic) || len(m.turns.looks.ahead) != 0 {
				t.Errorf("%s: %d panics, %d told, %d left", name, panics.Load(), told.Load(), len(m.turns.looks.ahead))
			}
		}
	})
}
