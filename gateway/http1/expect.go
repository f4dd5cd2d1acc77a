package http1

import (
	"net/http"
	"time"
)

// continueWait bounds the wait for an upstream that is asked whether it wants a body. Servers that ignore Expect stay silent
// (RFC 9110, section 10.1.1).
const continueWait = time.Second

// opinion is the answer of an upstream to Expect: 100-continue.
type opinion int

const (
	goOn     opinion = iota // it wants the body, or says nothing
	answered                // it has answered: it doesn't want the body
	failed                  // it can't be asked any more
)

// ask waits for the upstream's 100 (Continue), or for its answer, whose head stays unread. Other interim answers are passed on.
func (f *forwarding) ask() opinion {
	up := f.up
	by := time.Now().Add(continueWait)
	for range maxInterim {
		up.scan.Reset()
		for {
			end, err := up.scan.Scan(up.buffered())
			if err != nil {
				f.fail(BadAnswer, err)
				return failed
			}
			if end > 0 {
				if err := up.res.Parse(up.buffered()[:end], f.x.req.Method, up.scan.Limits); err != nil {
					f.fail(BadAnswer, err)
					return failed
				}
				if up.res.Status >= 200 || up.res.Status == http.StatusSwitchingProtocols {
					return answered
				}
				wants := up.res.Status == http.StatusContinue
				if !wants && f.x.req.Minor > 0 {
					f.interim()
				}
				up.discard(end)
				if wants {
					return goOn
				}
				break
			}
			up.readUntil(by)
			if err := up.fill(); isTimeout(err) {
				return goOn
			} else if err != nil {
				f.headFailed(err)
				return failed
			}
			f.note()
		}
	}
	f.fail(BadAnswer, errInterim)
	return failed
}

// note notes that something of an answer came.
func (f *forwarding) note() {
	if !f.heard {
		f.heard = true
		f.out.FirstByte = time.Since(f.start)
	}
}
