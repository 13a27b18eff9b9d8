// Package holdfast is the Go client of the Holdfast lock service.
package holdfast
