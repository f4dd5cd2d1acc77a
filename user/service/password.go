package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"micromesh/pkg/errs"
)

// Cost of argon2id: the second recommendation of the OWASP Password Storage Cheat Sheet, 19 MiB, two passes, one lane.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
)

// Bounds of a password, in bytes, where the configuration has no other minimum. It is never cut off.
const (
	MinPassword = 8
	MaxPassword = 1024
)

var errHashBusy = errs.New(errs.Unavailable, "BUSY", "too many people are signing in right now: try again").After(time.Second)

func (s *Service) checkPassword(field, password string) error {
	least := cmp.Or(s.cfg.MinPassword, MinPassword)
	if s.cfg.Test {
		least = 1
	}
	if len(password) < least || len(password) > MaxPassword {
		return errs.Field(field, "password", "must have %d to %d bytes", least, MaxPassword)
	}
	return nil
}

// freeAfter is how long nobody must have hashed for the memory of hashes to be given back to the system at once, rather
// than in the minutes that Go's runtime takes.
const freeAfter = 2 * time.Second

// hasher hashes passwords, few at a time: a hash takes 19 MiB and a core.
type hasher struct {
	queue *queue
	quiet *time.Timer
	dummy string // a hash that no password has
}

func newHasher() *hasher {
	h := &hasher{queue: newQueue(runtime.GOMAXPROCS(0)), quiet: time.AfterFunc(freeAfter, debug.FreeOSMemory)}
	h.quiet.Stop()
	h.dummy = encodeHash(make([]byte, argonSalt), make([]byte, argonKey))
	return h
}

// enter waits for a turn, for the client at an address that signs in to an account.
//
// Errors: Unavailable if it takes too long, or too many wait.
func (h *hasher) enter(ctx context.Context, address, account string) (leave func(), err error) {
	end, err := h.queue.enter(ctx, address, account)
	if err != nil {
		return nil, err
	}
	return func() {
		end()
		h.quiet.Reset(freeAfter)
	}, nil
}

// hash returns the PHC string of a password (https://github.com/P-H-C/phc-string-format). Errors: Unavailable.
func (h *hasher) hash(ctx context.Context, address, account, password string) (string, error) {
	leave, err := h.enter(ctx, address, account)
	if err != nil {
		return "", err
	}
	defer leave()
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // it never fails
	return encodeHash(salt, derive(password, salt)), nil
}

// matches tells whether a password has a hash. An empty hash costs as much time as any and never matches. The caller has entered.
func (h *hasher) matches(hash, password string) (bool, error) {
	none := hash == ""
	if none {
		hash = h.dummy
	}
	salt, want, err := decodeHash(hash)
	if err != nil {
		return false, err
	}
	same := subtle.ConstantTimeCompare(derive(password, salt), want) == 1
	return same && !none, nil
}

func derive(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
}

func encodeHash(salt, key []byte) string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		enc.EncodeToString(salt), enc.EncodeToString(key))
}

// decodeHash reads what encodeHash wrote.
func decodeHash(s string) (salt, key []byte, err error) {
	head := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonTime, argonThreads)
	rest, ok := strings.CutPrefix(s, head)
	a, b, two := strings.Cut(rest, "$")
	if !ok || !two {
		return nil, nil, errors.New("a stored password hash has another form or cost")
	}
	salt, serr := base64.RawStdEncoding.DecodeString(a)
	key, kerr := base64.RawStdEncoding.DecodeString(b)
	return salt, key, errors.Join(serr, kerr)
}
