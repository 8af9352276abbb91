// Package version tells which banger this is.
package version

// Version is stamped at build time:
//
//	go build -ldflags "-X banger/internal/version.Version=v1.2.3"
//
// It is never written at run time.
var Version = "dev"

// API is the number of the host API's protocol. It grows when an older client or daemon would misunderstand the other; a
// client and a daemon of different numbers refuse to work together.
const API = 1

// The headers in which a client and a daemon tell each other what they are.
const (
	HeaderVersion  = "Banger-Version"
	HeaderProtocol = "Banger-Protocol"
)
