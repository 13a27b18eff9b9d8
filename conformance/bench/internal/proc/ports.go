package proc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePorts finds so many free ports in a row on 127.0.0.1, below those that the system gives to
// outgoing connections.
func FreePorts(n int) (first int, err error) {
	const low, high = 10_000, 32_000
	for range 100 {
		first := low + rand.IntN(high-low-n)
		if free(first, n) {
			return first, nil
		}
	}
	return 0, errors.New("no free ports were found")
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", Address(port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// Address is a port of 127.0.0.1.
func Address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
