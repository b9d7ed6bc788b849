package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Bounds of the endpoint: whoever reaches it needs no password.
const (
	mostConnections = 32
	mostScrapes     = 4 // at a time
	mostHeaderBytes = 8 << 10
	readTime        = 5 * time.Second
	writeTime       = 30 * time.Second
	idleTime        = 2 * time.Minute // Prometheus keeps its connection from one scrape to the next
)

// Handler answers scrapes, in Prometheus's text format, or in OpenMetrics where the
// client asks for it, and who asks for the process's health.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	metrics := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: mostScrapes, ErrorHandling: promhttp.ContinueOnError, ErrorLog: errorLog{log},
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "metrics are read with GET", http.StatusMethodNotAllowed)
		case r.URL.Path == "/live":
			answer(w, http.StatusOK, "live")
		case r.URL.Path == "/ready":
			m.health(w)
		case r.URL.Path != "/metrics" && r.URL.Path != "/":
			http.Error(w, "metrics are at /metrics, health is at /live and /ready", http.StatusNotFound)
		default:
			metrics.ServeHTTP(w, r)
		}
	})
}

// errorLog is where promhttp reports.
type errorLog struct{ log *slog.Logger }

// Println is promhttp.Logger's.
func (l errorLog) Println(v ...any) { l.log.Warn("metrics", "error", fmt.Sprint(v...)) }

// Endpoint is an HTTP server that answers scrapes. Listen starts its
// goroutines, Shutdown ends them and waits.
type Endpoint struct {
	server   *http.Server
	listener net.Listener
	log      *slog.Logger
	serving  sync.WaitGroup
	open     atomic.Int64
}

// Listen opens the endpoint of m at host and port, as listen says, and serves it. A
// port 0 is any that is free.
func (m *Metrics) Listen(ctx context.Context, listen *net.ListenConfig, host string, port int, log *slog.Logger) (*Endpoint, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	listener, err := listen.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, pgerror.New(pgerror.SystemError, "listen for metrics on %s: %w", address, err).
			WithHint("set general.openmetrics_host and general.openmetrics_port to an address that is free, or leave the port out")
	}
	e := &Endpoint{listener: listener, log: log}
	e.server = &http.Server{
		Handler: m.Handler(log), ReadHeaderTimeout: readTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: mostHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), ConnState: e.count,
	}
	e.serving.Go(func() { // ends with Shutdown
		if err := e.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			e.log.Error("metrics are not served any more", "error", err)
		}
	})
	return e, nil
}

// count closes connections beyond those that the endpoint takes.
func (e *Endpoint) count(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if e.open.Add(1) > mostConnections {
			_ = conn.Close()
		}
	case http.StateClosed:
		e.open.Add(-1)
	}
}

// Addr is where the endpoint listens.
func (e *Endpoint) Addr() net.Addr { return e.listener.Addr() }

// Shutdown stops the endpoint: a scrape that is being answered may end, until
// ctx does.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	err := e.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("wait for scrapes to end: %w", context.Cause(ctx)), e.server.Close())
	}
	e.serving.Wait()
	return err
}
