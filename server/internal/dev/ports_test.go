package dev

import "testing"

// Ports that were given away are given to nobody else, though nothing listens on them yet.
func TestFreePortsAreGivenOnce(t *testing.T) {
	given := map[int]bool{}
	for range 200 {
		port, err := FreePorts(3)
		if err != nil {
			t.Fatal(err)
		}
		if given[port] {
			t.Fatalf("port %d was given twice", port)
		}
		given[port] = true
	}
}
