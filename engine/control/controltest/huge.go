package controltest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// HugeSize is how large a body is of which little must be read.
const HugeSize = 100 << 20

// mostTaken is how much of it is taken at most by what is between the sender and the
// reader as well: the system buffers megabytes.
const mostTaken = 32 << 20

// SendHuge sends a request with a body of HugeSize blanks, which are made as they are
// sent, and returns the answer, which is read meanwhile. The body comes in chunks unless
// the request says its length. It fails if much of it is taken.
func SendHuge(t *testing.T, r *http.Request) (*http.Response, []byte) {
	t.Helper()
	body := &blanks{}
	r.Body = io.NopCloser(io.LimitReader(body, HugeSize))
	if r.ContentLength == 0 {
		r.ContentLength = -1
	}
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.URL.Host)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_ = r.Write(c) // until the server has had enough
	}()
	answer, err := http.ReadResponse(bufio.NewReader(c), r)
	var text []byte
	if err == nil {
		text, err = io.ReadAll(answer.Body)
		_ = answer.Body.Close() // it has been read
	}
	_ = c.Close() // whatever is still sent is not wanted
	<-sent
	if err != nil {
		t.Fatalf("%d bytes are not answered: %v", HugeSize, err)
	}
	if n := body.made.Load(); n == 0 || n > mostTaken {
		t.Errorf("%d bytes were taken, want some and at most %d", n, mostTaken)
	}
	return answer, text
}

// blanks are endless.
type blanks struct{ made atomic.Int64 }

func (b *blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	b.made.Add(int64(len(p)))
	return len(p), nil
}
