// Package shapebench measures what the shape of a batch costs on its whole way: encoded by a
// client, decoded and proposed by the leader, decoded by every replica, answered, and read by the
// client. It holds nothing but its tests and benchmarks; docs/adr/0001-shape-of-execute.md tells
// what was decided from them.
//
//	go test ./internal/shapebench -run '^$' -bench .
package shapebench
