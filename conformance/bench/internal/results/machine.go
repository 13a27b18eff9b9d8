package results

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ThisMachine describes the machine, and the file system of a directory.
func ThisMachine(dir string) Machine {
	m := Machine{CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Filesystem: filesystem(dir),
		Go: strings.TrimPrefix(runtime.Version(), "go")}
	kib, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	if err == nil {
		m.MemoryMiB = kib >> 10
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		// Only the number: what distributors and owners add may name the machine.
		m.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(release)), "-")
	}
	return m
}

// field is the value of the first line "key : value".
func field(file, key string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		k, v, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// InMemory tells whether files below a directory are on no disk, so that fsync would mean nothing.
func InMemory(dir string) bool { return filesystem(dir) == "tmpfs" }

func filesystem(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return "unknown"
	}
	kind := int64(s.Type) //nolint:unconvert // its type differs between platforms
	switch kind {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return "tmpfs"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	}
	return "type 0x" + strconv.FormatInt(kind, 16)
}
