package registry

import (
	"maps"
	"strconv"
	"sync"
)

// A Request is a kind of request that was sent.
type Request struct {
	Method string // GET, HEAD, POST, PUT, DELETE
	Status string // of the answer, e.g. "200"; "error" when there was none
}

// Counters say how many requests were sent, retries, redirects, pings and
// token requests included.
type Counters map[Request]int64

// Total returns the number of all requests.
func (c Counters) Total() int64 {
	var sum int64
	for _, n := range c {
		sum += n
	}
	return sum
}

// Method returns the number of requests with that method.
func (c Counters) Method(method string) int64 {
	var sum int64
	for request, n := range c {
		if request.Method == method {
			sum += n
		}
	}
	return sum
}

// A tally counts; its zero value is ready for use by many goroutines.
type tally struct {
	mu     sync.Mutex
	counts Counters
}

// add counts one attempt; status 0 means that no answer came.
func (t *tally) add(method string, status int) {
	request := Request{Method: method, Status: "error"}
	if status != 0 {
		request.Status = strconv.Itoa(status)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = Counters{}
	}
	t.counts[request]++
}

func (t *tally) snapshot() Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		return Counters{}
	}
	return maps.Clone(t.counts)
}
