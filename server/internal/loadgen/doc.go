// Package loadgen makes load for a Holdfast cluster and measures how it is borne: what
// `holdfast bench` does. It knows nothing of the server: it works through the public Go SDK, and
// where one call per operation is wanted (the SDK batches) through the generated Connect client.
// DESIGN.md tells why its figures can be trusted.
package loadgen
