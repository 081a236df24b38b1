package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// How often progress is shown: as a moving line on a terminal, and as a plain
// line elsewhere.
const (
	movingEvery = 200 * time.Millisecond
	plainEvery  = 10 * time.Second
)

// A progress shows how far long work got: a moving line on a terminal, a plain
// line now and then elsewhere. Its zero value shows nothing.
type progress struct {
	what  string
	stop  chan struct{} // closed by finish
	once  sync.Once
	drawn sync.WaitGroup

	mu      sync.Mutex
	w       io.Writer
	bar     *progressbar.ProgressBar // nil without a terminal
	started time.Time
	done    int64
	failed  int64
}

// newProgress reports on w about work described by what ("signing"), until
// finish.
func newProgress(w io.Writer, what string) *progress {
	p := &progress{what: what, stop: make(chan struct{}), w: w, started: time.Now()}
	every := plainEvery
	if isTerminal(w) {
		every = movingEvery
		// Without an interval of its own the bar starts no goroutine: only p draws.
		p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionSpinnerType(14),
			progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionUseANSICodes(true), progressbar.OptionClearOnFinish())
		p.bar.StartWithoutRender()
	}
	p.drawn.Go(func() { p.draw(every) })
	return p
}

// add counts one artifact that is done.
func (p *progress) add(failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if failed {
		p.failed++
	}
}

// Write writes lines, such as logs, where progress is shown; the moving line
// makes way for them.
func (p *progress) Write(lines []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear() // drawing only
	}
	return p.w.Write(lines)
}

// finish clears the moving line. After it nothing is shown.
func (p *progress) finish() {
	if p.stop == nil {
		return
	}
	p.once.Do(func() { close(p.stop) })
	p.drawn.Wait()
}

func (p *progress) draw(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.show()
		case <-p.stop:
			p.end()
			return
		}
	}
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := time.Since(p.started)
	if p.bar == nil {
		fmt.Fprintf(p.w, "%s: %d artifacts, %d failed, %s\n", p.what, p.done, p.failed, took.Round(time.Second))
		return
	}
	text := fmt.Sprintf("%s: %d artifacts, %.1f/s", p.what, p.done, float64(p.done)/took.Seconds())
	if p.failed > 0 {
		text += fmt.Sprintf(", %d failed", p.failed)
	}
	p.bar.Describe(text) // which draws it
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Finish() // drawing only
	}
}
