// Package logtest is for tests that read what something logs or prints while it goes on.
package logtest

import (
	"bytes"
	"strings"
	"sync"
)

// Buffer keeps what is written. Its methods are safe for concurrent use; its zero value is empty.
type Buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write keeps b. It never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

// String is all that was written since the last Reset.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// Count is how often a text stands in it.
func (b *Buffer) Count(text string) int { return strings.Count(b.String(), text) }

// Reset forgets what was written.
func (b *Buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.Reset()
}
