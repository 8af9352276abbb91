//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
)

// serveProxy is an HTTP proxy at an address of the host, which says "proxied METHOD TARGET" of each request. It ends when
// it is killed.
func serveProxy(address string) error {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	fmt.Println("proxying")
	forward := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}} // the request names its whole target
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("proxied", r.Method, r.RequestURI)
		if r.Method != http.MethodConnect {
			forward.ServeHTTP(w, r)
			return
		}
		if err := tunnel(w, r.Host); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	}))
}

// tunnel joins a client to a target until both have said all.
func tunnel(w http.ResponseWriter, target string) error {
	there, err := net.DialTimeout("tcp4", target, roleTimeout)
	if err != nil {
		return err
	}
	defer there.Close()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer here.Close()
	if _, err := io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return nil // the client is gone
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(there, buffered)
		_ = there.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(here, there)
	_ = here.(*net.TCPConn).CloseWrite()
	both.Wait()
	return nil
}
