//go:build unix && !linux

package dev

import "syscall"

// DieWithParent does nothing where the kernel cannot do it: what is started outlives a parent that
// is killed.
func DieWithParent(*syscall.SysProcAttr) {}
