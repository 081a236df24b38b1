package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// clients is how many read at once.
const clients = 1000

// BenchmarkReads measures reads by many clients over loopback, each with a connection
// of its own, while the engine signs. A client asks again as soon as it is answered, or
// every two seconds as one that watches something does.
func BenchmarkReads(b *testing.B) {
	s := open(b, controltest.Options{})
	for i := range 50 {
		p := covering(fmt.Sprint("p", i), controltest.Registry, fmt.Sprint("n", i))
		want[api.PolicyState](b, s.as(b, admin, http.MethodPost, "/policies", text(b, p)), http.StatusCreated)
		s.Await(b, want[journal.Execution](b, s.as(b, operator, http.MethodPost, "/policies/"+p.Name+"/fire", ""), http.StatusAccepted).ID)
	}
	want[api.PolicyState](b, s.as(b, admin, http.MethodPost, "/policies", text(b, covering("team", controltest.Registry, "team"))), http.StatusCreated)
	b.Run("nothing", func(b *testing.B) { // how fast is signed if nobody reads
		begin, stop := s.sign(b)
		begin()
		b.ResetTimer()
		for range b.N {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		b.ReportMetric(float64(stop())/b.Elapsed().Seconds(), "signed/s")
	})
	for _, path := range []string{"/executions?limit=50", "/executions/1", "/policies?limit=50", "/policies/p1"} {
		name := strings.ReplaceAll(path[1:], "/", "-")
		b.Run("at-once/"+name, func(b *testing.B) { s.benchmark(b, path, 0) })
		b.Run("watching/"+name, func(b *testing.B) { s.benchmark(b, path, 2*time.Second) })
	}
}

// sign signs batch after batch until stop is called, which returns how many were
// signed since then.
func (s *site) sign(b *testing.B) (begin func(), stop func() int64) {
	var current atomic.Int64 // execution
	var done, before atomic.Int64
	signed := func() int64 {
		x, err := s.Journal.Execution(b.Context(), current.Load())
		if err != nil {
			b.Error(err)
		}
		return done.Load() + x.Counts.Reasons["signed"]
	}
	ctx, cancel := context.WithCancel(b.Context())
	var signing sync.WaitGroup
	first := make(chan struct{})
	signing.Go(func() {
		for batch := 0; ctx.Err() == nil; batch++ {
			for i := range 300 {
				s.Server.Push(b, fmt.Sprintf("team/app:%d-%d-%d", time.Now().UnixNano(), batch, i), registrytest.Image(b))
			}
			x, err := s.Engine.Fire(b.Context(), "team")
			if err != nil {
				b.Error(err)
				return
			}
			if current.Store(x.ID); batch == 0 {
				close(first)
			}
			n := s.Await(b, x.ID).Counts.Reasons["signed"]
			current.Store(1) // which signed nothing
			done.Add(n)
		}
	})
	<-first
	return func() { before.Store(signed()) }, func() int64 {
		n := signed() - before.Load()
		cancel()
		signing.Wait()
		return n
	}
}

func (s *site) benchmark(b *testing.B, path string, every time.Duration) {
	begin, stop := s.sign(b)
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	next.Store(-1)
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	client := &http.Client{Transport: transport}
	begin()
	b.ResetTimer()
	var reading sync.WaitGroup
	for c := range clients {
		reading.Go(func() {
			time.Sleep(every * time.Duration(c) / clients) // they did not begin together
			for i := next.Add(1); i < int64(b.N); i = next.Add(1) {
				took[i] = s.read(b, client, path)
				time.Sleep(every - min(took[i], every))
			}
		})
	}
	reading.Wait()
	b.StopTimer()
	b.ReportMetric(float64(stop())/b.Elapsed().Seconds(), "signed/s")
	transport.CloseIdleConnections()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
}

func (s *site) read(b *testing.B, client *http.Client, path string) time.Duration {
	began := time.Now()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.url+api.Prefix+path, nil)
	if err != nil {
		b.Error(err)
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+viewer)
	resp, err := client.Do(req)
	if err != nil {
		b.Error(err)
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		b.Error(resp.Status, err)
	}
	return time.Since(began)
}
