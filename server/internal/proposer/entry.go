package proposer

import (
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// entry is what goes into the log at once.
type entry struct {
	Entry
	since time.Time // when it was proposed
	parts []piece
	told  bool // its callers wait no longer

	bytes       int
	bytesMax    int
	commandsMax int
}

// piece is a run of commands of one call.
type piece struct {
	call    *call
	from, n int // place in the entry
}

// fits tells whether the whole rest of a call has room.
func (e *entry) fits(c *call) bool {
	return e.bytes+c.size <= e.bytesMax && len(e.Commands)+len(c.Commands)-c.taken <= e.commandsMax
}

// add puts in as many commands of a call as there is room for, at least one if it is the first.
func (e *entry) add(c *call) (n, size int) {
	rest := c.Commands[c.taken:]
	if e.fits(c) {
		n, size = len(rest), c.size
	} else {
		n, size = e.room(rest)
	}
	e.parts = append(e.parts, piece{call: c, from: len(e.Commands), n: n})
	e.Commands = append(e.Commands, rest[:n]...)
	e.bytes += size
	return n, size
}

// room tells how many commands have room, at least one, and their size.
func (e *entry) room(commands []locktable.Command) (n, size int) {
	for n < len(commands) && len(e.Commands)+n < e.commandsMax {
		next := sizeOf(commands[n])
		if n > 0 && e.bytes+size+next > e.bytesMax {
			break
		}
		n++
		size += next
	}
	return n, size
}

// sizeOf tells about how many bytes a command takes in the log: its strings, and a little for each
// field and message around them.
func sizeOf(command locktable.Command) int {
	const fixed = 24
	switch c := command.(type) {
	case *locktable.Acquire:
		n := fixed + 8 + len(c.Principal) + len(c.Owner) + len(c.Metadata) + len(c.Namespace) + len(c.Nonce)
		for _, claim := range c.Claims {
			n += 6 + len(claim.Name)
		}
		return n
	case *locktable.Convert:
		return fixed + 8 + len(c.Principal) + len(c.Name)
	case *locktable.Release:
		return fixed + len(c.Principal)
	case *locktable.Renew:
		return fixed + len(c.Principal)
	case *locktable.Cancel:
		return fixed + len(c.Principal) + len(c.Namespace) + len(c.Nonce)
	case *locktable.OpenSession:
		return fixed + len(c.Principal) + len(c.Namespace) + len(c.Metadata) + len(c.Nonce)
	case *locktable.RenewSession:
		return fixed + len(c.Principal)
	case *locktable.CloseSession:
		return fixed + len(c.Principal)
	case *locktable.RevokeGrant:
		return fixed + len(c.Reason)
	case *locktable.RevokeSession:
		return fixed + len(c.Reason)
	case *locktable.Bootstrap:
		return fixed + len(c.ClusterID)
	}
	return fixed
}
