// Package rpc is the face of a node: it checks what callers send, brings commands to the leader's
// log, answers reads from the node's own table, and speaks Connect, gRPC and gRPC-Web.
//
// A request takes one road. A handler turns it into a peer call (the same message a follower would
// forward), the road brings the call to the leader, and the leader turns it into commands of the
// lock table. Whoever receives a call first has checked every field of it: nothing malformed
// reaches the log.
package rpc
