package peerport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// The preface. The dialer sends a hello, the acceptor answers with a welcome or a refusal; after
// that the connection belongs to Raft or to HTTP. All lengths are single bytes.
//
//	hello:  magic(6) version(1) kind(1) cluster(1+n) node(1+n)
//	answer: magic(6) version(1) code(1) cluster(1+n) node(1+n)
const (
	magic   = "hfpeer"
	version = 1
	maxID   = 64 // bytes in a cluster id or a node id
)

// Kind says what a connection is for.
type Kind byte

const (
	kindRaft Kind = 1
	kindHTTP Kind = 2
	kindAsk  Kind = 3 // one question: hello, answer, node(1+n), then one byte back
)

// code is the acceptor's answer.
type code byte

const (
	welcome        code = 0
	foreignCluster code = 1
	badVersion     code = 2
	badKind        code = 3
	noCluster      code = 4
)

// hello is what both sides say about themselves.
type hello struct {
	version byte
	kind    byte // dialer: Kind; acceptor: code
	cluster string
	node    string
}

func (h hello) write(w io.Writer) error {
	if len(h.cluster) > maxID || len(h.node) > maxID {
		return fmt.Errorf("cluster id and node id have at most %d bytes", maxID)
	}
	b := make([]byte, 0, len(magic)+4+len(h.cluster)+len(h.node))
	b = append(b, magic...)
	b = append(b, h.version, h.kind)
	b = append(b, byte(len(h.cluster)))
	b = append(b, h.cluster...)
	b = append(b, byte(len(h.node)))
	b = append(b, h.node...)
	_, err := w.Write(b)
	return err
}

// errNotPeer means that the other side does not speak this protocol at all.
var errNotPeer = errors.New("not a holdfast peer connection")

// readHello reads no byte beyond the hello, since what follows belongs to somebody else. Of
// a version that it does not know it reads the part that every version shares.
func readHello(r io.Reader) (hello, error) {
	var head [len(magic) + 2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return hello{}, err
	}
	if string(head[:len(magic)]) != magic {
		return hello{}, errNotPeer
	}
	h := hello{version: head[len(magic)], kind: head[len(magic)+1]}
	var err error
	if h.cluster, err = readID(r); err != nil {
		return hello{}, err
	}
	h.node, err = readID(r)
	return h, err
}

func readID(r io.Reader) (string, error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", err
	}
	if n[0] > maxID {
		return "", errNotPeer
	}
	id := make([]byte, n[0])
	_, err := io.ReadFull(r, id)
	return string(id), err
}

// judge decides about a dialer. A node that has joined no cluster yet may use HTTP, by which it
// asks to join; all else is only for nodes of the same cluster.
func judge(h hello, cluster string) code {
	switch {
	case h.version != version:
		return badVersion
	case Kind(h.kind) < kindRaft || Kind(h.kind) > kindAsk:
		return badKind
	case h.cluster != "" && cluster != "" && h.cluster != cluster:
		return foreignCluster
	case Kind(h.kind) != kindHTTP && (h.cluster == "" || cluster == ""):
		return noCluster
	}
	return welcome
}

// RefusedError says why there is no connection to a peer that answers.
type RefusedError struct {
	Addr    string
	Code    string // "foreign cluster", "version", "kind", "no cluster", "wrong node"
	Ours    string // what we said: cluster id or version, or the node that we looked for
	Theirs  string
	Node    string // node id of the peer
	message string
}

func (e *RefusedError) Error() string { return e.message }

// Hint says what to do about it.
func (e *RefusedError) Hint() string {
	switch e.Code {
	case codeForeign:
		return "check the address; a node of one cluster cannot join another with the same data directory"
	case codeVersion:
		return "upgrade the older of the two nodes"
	case codeNode:
		return "check the addresses of the nodes; start the one that has moved at its new address"
	}
	return "try again when the node has joined its cluster"
}

const (
	codeForeign = "foreign cluster"
	codeVersion = "version"
	codeKind    = "kind"
	codeNone    = "no cluster"
	codeNode    = "wrong node"
)

func refusal(addr string, ours, theirs hello) error {
	e := &RefusedError{Addr: addr, Ours: ours.cluster, Theirs: theirs.cluster, Node: theirs.node}
	who := fmt.Sprintf("node %s at %s", theirs.node, addr)
	switch code(theirs.kind) {
	case foreignCluster:
		e.Code = codeForeign
		e.message = fmt.Sprintf("%s belongs to cluster %s, this node to cluster %s", who, theirs.cluster, ours.cluster)
	case badVersion:
		e.Code = codeVersion
		e.Ours, e.Theirs = fmt.Sprint(ours.version), fmt.Sprint(theirs.version)
		e.message = fmt.Sprintf("%s speaks version %d of the peer protocol, this node version %d",
			who, theirs.version, ours.version)
	case noCluster:
		e.Code = codeNone
		e.message = fmt.Sprintf("%s takes no raft connection: one of the two has not joined a cluster", who)
	default:
		e.Code = codeKind
		e.message = fmt.Sprintf("%s does not know this kind of connection (%d)", who, ours.kind)
	}
	return e
}

// greet is the dialer's half of the handshake.
func greet(conn net.Conn, node, addr string, ours hello, deadline time.Time) error {
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if err := ours.write(conn); err != nil {
		return fmt.Errorf("greet peer %s: %w", addr, err)
	}
	theirs, err := readHello(conn)
	if errors.Is(err, errNotPeer) {
		return fmt.Errorf("%s is not the peer port of a holdfast node: %w", addr, err)
	}
	if err != nil {
		return fmt.Errorf("peer %s does not answer: %w", addr, err)
	}
	if code(theirs.kind) != welcome {
		return refusal(addr, ours, theirs)
	}
	if node != "" && theirs.node != node {
		return &RefusedError{Addr: addr, Code: codeNode, Ours: node, Theirs: theirs.node, Node: theirs.node,
			message: fmt.Sprintf("node %s is at %s, not node %s", theirs.node, addr, node)}
	}
	return conn.SetDeadline(time.Time{})
}

// looksLikeHTTP tells a person with curl or a browser from noise.
func looksLikeHTTP(head string) bool {
	for _, m := range []string{"GET ", "POST", "HEAD", "PUT ", "PRI ", "OPTI"} {
		if strings.HasPrefix(head, m) {
			return true
		}
	}
	return false
}
