package interrupt

import (
	"os"
	"os/signal"
	"syscall"
)

// Hangups receives SIGHUP until stop is called. The signal asks for a reload; or it says that the terminal of the process has gone, which
// ends the process as before, unless it was started with SIGHUP ignored, as by nohup(1).
func Hangups() (reload, end <-chan struct{}, stop func()) {
	attached := !signal.Ignored(syscall.SIGHUP) && terminal()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	done, reloads, ends := make(chan struct{}), make(chan struct{}, 1), make(chan struct{}, 1)
	go func() {
		for {
			select {
			case <-signals:
				out := reloads
				if attached && !terminal() {
					out = ends
				}
				select {
				case out <- struct{}{}:
				default: // one is waiting already
				}
			case <-done:
				return
			}
		}
	}()
	return reloads, ends, func() {
		signal.Stop(signals)
		close(done)
	}
}

// terminal reports whether the process has a controlling terminal.
func terminal() bool {
	f, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
