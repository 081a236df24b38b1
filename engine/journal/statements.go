package journal

import (
	"context"
	"database/sql"
	"slices"
	"sync"
)

// What is kept of statements. Those that are longer have as many values as there
// are rows to write, and are seldom the same twice.
const (
	maxStatements = 128
	maxStatement  = 2 << 10 // bytes
)

// statements are those of a pool that SQLite has read before: to read one takes it
// about as long as to carry it out. What was kept stays until the pool is closed.
type statements struct {
	db *sql.DB

	mu      sync.RWMutex
	ready   map[string]*sql.Stmt
	pending []string // asked for by who held the connection that reading them needs
}

func newStatements(db *sql.DB) *statements {
	return &statements{db: db, ready: map[string]*sql.Stmt{}}
}

// find returns a statement that is ready, nil if it is not.
func (s *statements) find(text string) *sql.Stmt {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ready[text]
}

// prepare makes a statement ready, and returns nil if it is none to be kept. The
// caller must not hold a connection of the pool.
func (s *statements) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	if ready := s.find(text); ready != nil || !s.keeps(text) {
		return ready, nil
	}
	stmt, err := s.db.PrepareContext(ctx, text) // without the lock: who has the connection may want it
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ready := s.ready[text]; ready != nil {
		return ready, stmt.Close()
	}
	s.ready[text] = stmt
	return stmt, nil
}

// keeps reports whether there is room for a statement. Some that are prepared at the
// same time may exceed it a little.
func (s *statements) keeps(text string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(text) <= maxStatement && len(s.ready)+len(s.pending) < maxStatements
}

// ask has a statement made ready before the next transaction.
func (s *statements) ask(text string) {
	if !s.keeps(text) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.pending, text) {
		s.pending = append(s.pending, text)
	}
}

// catchUp makes ready what was asked for. What cannot be made ready is carried out by
// its text as before, where an error is told to who wants it.
func (s *statements) catchUp(ctx context.Context) {
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, text := range pending {
		_, _ = s.prepare(ctx, text)
	}
}
