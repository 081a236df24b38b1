package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// plainEvery is how often progress is reported where there is no terminal.
const plainEvery = 10 * time.Second

// A progress shows how far long work got: a moving line on a terminal, a plain
// line now and then elsewhere. Its zero value shows nothing.
type progress struct {
	mu      sync.Mutex
	w       io.Writer
	what    string
	bar     *progressbar.ProgressBar // nil without a terminal
	started time.Time
	last    time.Time
	done    int64
	failed  int64
}

// newProgress reports on w about work described by what ("signing").
func newProgress(w io.Writer, what string) *progress {
	now := time.Now()
	p := &progress{w: w, what: what, started: now, last: now}
	if isTerminal(w) {
		p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("artifacts"),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSpinnerType(14),
			progressbar.OptionClearOnFinish())
	}
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
	switch {
	case p.bar != nil:
		if failed {
			p.bar.Describe(fmt.Sprintf("%s, %d failed", p.what, p.failed))
		}
		_ = p.bar.Add(1) // drawing only
	case p.w != nil && time.Since(p.last) >= plainEvery:
		p.last = time.Now()
		fmt.Fprintf(p.w, "%s: %d artifacts, %d failed, %s\n", p.what, p.done, p.failed, time.Since(p.started).Round(time.Second))
	}
}

// finish clears the moving line.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Finish() // drawing only
	}
}
