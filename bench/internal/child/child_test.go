package child_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"micromesh/bench/internal/child"
)

// TestMain lets this program be its own child, as measurements are.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "-role" {
		child.Main(play)
		return
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // else each child takes a second to end
	os.Exit(m.Run())
}

func play(ctx context.Context, args []string, _ io.Writer) error {
	flags := flag.NewFlagSet("child", flag.ContinueOnError)
	role := flags.String("role", "", "")
	address := flags.String("address", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch *role {
	case "echo":
		return child.Obey(os.Getpid(), func(order string) (any, error) { return strings.ToUpper(order), nil })
	case "server":
		return child.Listen(ctx, &http.Server{ReadHeaderTimeout: time.Second})
	case "program": // one that knows nothing of its parent
		ln, err := net.Listen("tcp", *address)
		if err != nil {
			return err
		}
		<-ctx.Done()
		return ln.Close()
	case "spin":
		return child.Obey("", func(string) (any, error) {
			n := 0
			for start := time.Now(); time.Since(start) < 100*time.Millisecond; n++ {
			}
			return n, nil
		})
	}
	return errors.New("this role fails, as it is to")
}

func TestAChildSaysHelloAndAnswersOrders(t *testing.T) {
	var family child.Family
	defer family.Stop()
	var pid int
	p, err := family.Start(t.Context(), "echo", &pid)
	if err != nil {
		t.Fatal(err)
	}
	if pid == os.Getpid() {
		t.Error("the child is this process")
	}
	for _, order := range []string{"a", "b"} {
		var got string
		if err := p.Order(order, &got); err != nil || got != strings.ToUpper(order) {
			t.Errorf("order %q: got %q, %v", order, got, err)
		}
	}
}

func TestAChildThatFailsIsAnError(t *testing.T) {
	var family child.Family
	defer family.Stop()
	if _, err := family.Start(t.Context(), "other", new(string)); err == nil {
		t.Error("a child that ended before it was ready is no error")
	}
}

func TestStopEndsAllChildren(t *testing.T) {
	var family child.Family
	defer family.Stop()
	var pids [2]int
	for i := range pids {
		if _, err := family.Start(t.Context(), "echo", &pids[i]); err != nil {
			t.Fatal(err)
		}
	}
	family.Stop()
	for _, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
}

func TestAServerListensUntilItsFamilyStops(t *testing.T) {
	var family child.Family
	defer family.Stop()
	var address string
	if _, err := family.Start(t.Context(), "server", &address); err != nil {
		t.Fatal(err)
	}
	rsp, err := http.Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	rsp.Body.Close()
	family.Stop()
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("it listens still")
	}
}

func TestAnotherProgramIsAwaitedAndEnded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // finds a port that is free
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	var family child.Family
	defer family.Stop()
	if _, err := family.StartOther(t.Context(), address, os.Args[0], "-role", "program", "-address", address); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	family.Stop()
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("it listens still")
	}
}

func TestAnotherProgramThatNeverListensIsAnError(t *testing.T) {
	var family child.Family
	defer family.Stop()
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if _, err := family.StartOther(ctx, "127.0.0.1:1", os.Args[0], "-role", "fail"); err == nil {
		t.Error("it was taken to be there")
	}
}

func TestUsageIsThatOfTheChild(t *testing.T) {
	var family child.Family
	defer family.Stop()
	p, err := family.Start(t.Context(), "spin", new(string))
	if err != nil {
		t.Fatal(err)
	}
	before, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Order("spin", new(int)); err != nil {
		t.Fatal(err)
	}
	after, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	if after <= before {
		t.Errorf("it used %v of CPU time before it had work, and %v after", before, after)
	}
	if n, err := p.Resident(); err != nil || n < 1<<20 {
		t.Errorf("it has %d bytes resident, %v", n, err)
	}
}
