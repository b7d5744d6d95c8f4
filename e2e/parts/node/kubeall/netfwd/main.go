// Command netfwd listens for TCP in one network namespace and connects in
// another, so that host and node reach each other without any interface,
// route or rule on the host.
//
//	netfwd LISTEN_NAMESPACE LISTEN_ADDRESS DIAL_NAMESPACE DIAL_ADDRESS [FILE]
//
// A namespace is a file like /proc/PID/ns/net, or "-" for the caller's. FILE
// receives the address that it listens on.
package main

import (
	"errors"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const dialTimeout = 10 * time.Second

func main() {
	if len(os.Args) < 5 {
		log.Fatal("usage: netfwd LISTEN_NAMESPACE LISTEN_ADDRESS DIAL_NAMESPACE DIAL_ADDRESS [FILE]")
	}
	dialIn := open(os.Args[3])
	listener, err := within(open(os.Args[1]), func() (net.Listener, error) { return net.Listen("tcp", os.Args[2]) })
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) > 5 {
		if err := os.WriteFile(os.Args[5], []byte(listener.Addr().String()+"\n"), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	for {
		near, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer near.Close()
			far, err := within(dialIn, func() (net.Conn, error) {
				return net.DialTimeout("tcp", os.Args[4], dialTimeout)
			})
			if err != nil {
				log.Print(err)
				return
			}
			defer far.Close()
			join(near.(*net.TCPConn), far.(*net.TCPConn))
		}()
	}
}

func open(namespace string) *os.File {
	if namespace == "-" {
		return nil
	}
	file, err := os.Open(namespace)
	if err != nil {
		log.Fatal(err)
	}
	return file
}

// within calls f inside a network namespace, on a thread that is thrown away
// afterwards: it is locked, never unlocked, and so ends with its goroutine.
func within[T any](namespace *os.File, f func() (T, error)) (T, error) {
	if namespace == nil {
		return f()
	}
	var result T
	err := errors.New("netfwd: the namespace's thread ended early")
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err == nil {
			result, err = f()
		}
	}()
	<-done
	return result, err
}

// join copies both ways until both have ended; each way can end alone.
func join(a, b *net.TCPConn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyUntilEnd(a, b)
	}()
	copyUntilEnd(b, a)
	<-done
}

func copyUntilEnd(to, from *net.TCPConn) {
	_, _ = io.Copy(to, from)
	_ = to.CloseWrite()
}
