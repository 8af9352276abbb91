package unixsocket

import (
	"log/slog"
	"net"
	"os"
)

// SameUser returns l without the connections of other users: those are closed before a byte of them is read.
func SameUser(l net.Listener, log *slog.Logger) net.Listener {
	return &userListener{Listener: l, log: log, uid: uint32(os.Geteuid())}
}

type userListener struct {
	net.Listener
	log *slog.Logger
	uid uint32
}

func (l *userListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, pid, err := PeerCred(conn)
		if err == nil && uid == l.uid {
			return conn, nil
		}
		l.log.Warn("refused a connection", "uid", uid, "pid", pid, "error", err)
		_ = conn.Close()
	}
}
