package bare

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The settings are those of the product, as its source says them now.
func TestSettingsAreThoseOfTheProduct(t *testing.T) {
	space := regexp.MustCompile(`\s+`)
	var source strings.Builder
	for _, name := range []string{"timing.go", "logstore.go", "transport.go", "node.go"} {
		text, err := os.ReadFile(filepath.Join("../../../../server/internal/raftnode", name))
		if err != nil {
			t.Fatal(err)
		}
		source.WriteString(space.ReplaceAllString(string(text), " "))
	}
	for _, line := range []string{
		"Heartbeat: 400 * time.Millisecond,", "Election: 400 * time.Millisecond,", "Lease: 400 * time.Millisecond,",
		"Commit: 15 * time.Millisecond,", "appendMax = 64", "logCacheEntries = 128", "c.MaxAppendEntries = appendMax",
		"c.BatchApplyCh = false", "transportTimeout = 2 * time.Second", "transportPool = 3", "MaxRPCsInFlight: 1,",
		"boltInitialMmap = 256 << 20", "NoFreelistSync: true,", "FreelistType: bbolt.FreelistMapType,",
		"raft.NewLogCache(logCacheEntries, logs)",
	} {
		if !strings.Contains(source.String(), line) {
			t.Errorf("raftnode has no %q any more: compare its settings with settings.go", line)
		}
	}
}
