package rpc

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// streamsMax bounds the calls that share one HTTP/2 connection. A call that waits for a lock keeps
// its stream, and a proxy may put the waits of a whole site on one connection, so this is far
// above the usual hundreds; but each stream is a goroutine with its buffers (about 10 KiB), so it
// is not without bound either. A Go client that needs more opens another connection by itself.
const streamsMax = 10_000

// NewHTTPServer gives the HTTP server of a port, HTTP/1.1 and HTTP/2 without TLS. It has no limit
// on the time of a whole request or response, which waits and streams may take: a connection is
// given up when it is idle, when its headers do not come, or when it does not answer a ping.
func NewHTTPServer(handler http.Handler) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streamsMax,
			SendPingTimeout:      15 * time.Second,
			PingTimeout:          10 * time.Second,
			WriteByteTimeout:     sendTimeout,
		},
	}
}

// Buffered gives a listener whose connections read through a buffer: without TLS, HTTP/2 reads the
// head and the body of every frame from the socket on its own.
func Buffered(l net.Listener) net.Listener { return bufferedListener{l} }

type bufferedListener struct{ net.Listener }

func (l bufferedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &bufferedConn{Conn: c, reader: bufio.NewReaderSize(c, 4<<10)}, nil
}

type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// CloseWrite lets the server end a connection without cutting off what it has written.
func (c *bufferedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
