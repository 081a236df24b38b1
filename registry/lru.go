package registry

import (
	"container/list"
	"sync"
)

// An lru remembers the values that were used last, up to a number of them.
type lru[K comparable, V any] struct {
	mu    sync.Mutex
	size  int
	items map[K]*list.Element
	order list.List // most recently used in front
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](size int) *lru[K, V] {
	return &lru[K, V]{size: size, items: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(key K) (value V, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, found := l.items[key]
	if !found {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruItem[K, V]).value, true
}

func (l *lru[K, V]) put(key K, value V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, found := l.items[key]; found {
		e.Value.(*lruItem[K, V]).value = value
		l.order.MoveToFront(e)
		return
	}
	l.items[key] = l.order.PushFront(&lruItem[K, V]{key: key, value: value})
	if l.order.Len() > l.size {
		oldest := l.order.Back()
		delete(l.items, l.order.Remove(oldest).(*lruItem[K, V]).key)
	}
}

// drop forgets every key for which gone is true.
func (l *lru[K, V]) drop(gone func(K) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, e := range l.items {
		if gone(key) {
			l.order.Remove(e)
			delete(l.items, key)
		}
	}
}
