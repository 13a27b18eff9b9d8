package dev

import "syscall"

// DieWithParent has the kernel kill a process when the thread that starts it ends, which is to be
// when this process does: start it from a goroutine that never leaves its thread.
func DieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
