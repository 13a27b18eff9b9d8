package main

import "testing"

// A node of a few megabytes and one of a gigabyte both leave some room for garbage, and not more.
func TestRoomForGarbage(t *testing.T) {
	for lives, want := range map[uint64]int{1: gogcMost, 4 << 20: 1600, 32 << 20: 300, 96 << 20: 100, 192 << 20: 50, 1 << 30: gogcLeast} {
		if got := gogcFor(lives); got != want {
			t.Errorf("%d bytes live: GOGC %d, want %d", lives, got, want)
		}
	}
}
