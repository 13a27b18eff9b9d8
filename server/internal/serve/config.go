// Package serve puts one node together: its peer port, the Raft node, the proposer, the services,
// and the three ports on which they are reached.
package serve

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/raftnode"
)

// Config of a node.
type Config struct {
	// Dir is the data directory. The node's identity lives in it.
	Dir string

	// ClientAddr, PeerAddr and AdminAddr are what the node listens on, host:port; port 0 chooses
	// one. AdminAddr may be empty: no admin port.
	ClientAddr string
	PeerAddr   string
	AdminAddr  string

	// AdvertiseClient is the base URL at which clients reach the node, AdvertisePeer the host:port
	// at which the other nodes do. Empty means what it listens on.
	AdvertiseClient string
	AdvertisePeer   string

	// Bootstrap makes the first node of a new cluster; Join names peer addresses of members of the
	// cluster to join. A node that has a cluster goes on in it, whatever these say.
	Bootstrap bool
	Join      []string

	// Timing of Raft; zero means LAN.
	Timing raftnode.Timing
	// Version of the server, for people.
	Version string
	// Logger; nil means slog.Default().
	Logger *slog.Logger
}

// ConfigError says that a configuration makes no sense.
type ConfigError struct{ What, hint string }

func (e *ConfigError) Error() string { return e.What }

// Hint says what to do about it.
func (e *ConfigError) Hint() string { return e.hint }

func (c Config) withDefaults() Config {
	c.Version = cmp.Or(c.Version, "dev")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) check() error {
	if c.Dir == "" {
		return &ConfigError{"no data directory", "give one with --dir"}
	}
	if c.Bootstrap && len(c.Join) > 0 {
		return &ConfigError{"a node bootstraps a cluster or joins one, not both", "give --bootstrap or --join"}
	}
	addresses := map[string]string{"client": c.ClientAddr, "peer": c.PeerAddr}
	if c.AdminAddr != "" {
		addresses["admin"] = c.AdminAddr
	}
	for what, address := range addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return &ConfigError{fmt.Sprintf("%s address %q is not host:port", what, address), "write it like 127.0.0.1:7480"}
		}
	}
	for _, address := range c.Join {
		if host, _, err := net.SplitHostPort(address); err != nil || host == "" {
			return &ConfigError{fmt.Sprintf("%q is not the peer address of a node", address),
				"write it like 10.0.0.1:7481; the peer port is the client port + 1"}
		}
	}
	return nil
}

// advertised gives the host:port at which others reach a listener: what was configured, else what
// it listens on, with a name in place of an address that means all interfaces.
func advertised(configured string, listening net.Addr) (string, error) {
	address := cmp.Or(configured, listening.String())
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", &ConfigError{fmt.Sprintf("advertised address %q is not host:port", address), ""}
	}
	ip := net.ParseIP(host)
	if host != "" && (ip == nil || !ip.IsUnspecified()) {
		return address, nil
	}
	return "", &ConfigError{
		fmt.Sprintf("the node listens on %s, an address by which nobody can be told to reach it", address),
		"give the address of this machine with --advertise",
	}
}

// advertisedURL gives the base URL at which clients reach the node.
func advertisedURL(configured string, listening net.Addr) (string, error) {
	if configured == "" {
		address, err := advertised("", listening)
		return "http://" + address, err
	}
	u, err := url.Parse(configured)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", &ConfigError{fmt.Sprintf("advertised client URL %q is not a URL", configured),
			"write it like http://10.0.0.1:7480"}
	}
	return strings.TrimRight(configured, "/"), nil
}

// The pace of what the node does by itself.
const (
	pollEvery     = time.Second            // it asks the other members how they are
	pollTimeout   = 500 * time.Millisecond // for one of them to answer
	hashEvery     = 5 * time.Second        // it compares state hashes
	joinEvery     = 100 * time.Millisecond // it asks to be a member, to be a voter
	joinPauseMost = 2 * time.Second        // between two such tries
	transferLimit = 3 * time.Second        // to hand leadership over when it stops
)
