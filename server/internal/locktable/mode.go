package locktable

import "strings"

// Mode says how a name is held (HF-3.1).
type Mode uint8

// The modes. None is the absence of a claim.
const (
	None Mode = iota
	IS
	IX
	S
	SIX
	X
	modeCount
)

// compatible tells whether two owners may hold a name together (HF-3.1).
var compatible = [modeCount][modeCount]bool{
	None: {true, true, true, true, true, true},
	IS:   {true, true, true, true, true, false},
	IX:   {true, true, true, false, false, false},
	S:    {true, true, false, true, false, false},
	SIX:  {true, true, false, false, false, false},
	X:    {true, false, false, false, false, false},
}

// Compatible tells whether two owners may hold a name together in these modes (HF-3.1).
func (m Mode) Compatible(other Mode) bool { return compatible[m][other] }

// Join is the weakest mode that covers both (HF-3.2).
func (m Mode) Join(other Mode) Mode {
	switch {
	case m.Covers(other):
		return m
	case other.Covers(m):
		return other
	default: // only S and IX have no order between them
		return SIX
	}
}

// Covers tells whether who holds m needs nothing more to have other.
func (m Mode) Covers(other Mode) bool {
	switch other {
	case None:
		return true
	case IX:
		return m == IX || m == SIX || m == X
	case S:
		return m == S || m == SIX || m == X
	default:
		return m >= other
	}
}

// Implied is the mode that a claim of m on a name implies on each of its ancestors (HF-3.3).
func (m Mode) Implied() Mode {
	switch m {
	case X, SIX, IX:
		return IX
	case S, IS:
		return IS
	default:
		return None
	}
}

// Valid tells whether m is one of the five modes.
func (m Mode) Valid() bool { return m > None && m < modeCount }

func (m Mode) String() string {
	return [...]string{"none", "IS", "IX", "S", "SIX", "X", "?"}[min(m, modeCount)]
}

// modeCounts counts something by mode.
type modeCounts [modeCount]int32

// against counts what is not compatible with m.
func (c *modeCounts) against(m Mode) int32 {
	n := int32(0)
	for other := IS; other < modeCount; other++ {
		if !compatible[m][other] {
			n += c[other]
		}
	}
	return n
}

// join is the join of all modes that occur.
func (c *modeCounts) join() Mode {
	m := None
	for other := IS; other < modeCount; other++ {
		if c[other] > 0 {
			m = m.Join(other)
		}
	}
	return m
}

// ancestors calls visit with every ancestor of name, the nearest last (HF-1.3).
func ancestors(name string, visit func(ancestor string)) {
	for at := 0; ; {
		next := strings.IndexByte(name[at:], '/')
		if next < 0 {
			return
		}
		at += next
		visit(name[:at])
		at++
	}
}

// isBelow tells whether name is prefix or below it; everything is below the empty prefix.
func isBelow(name, prefix string) bool {
	return prefix == "" || name == prefix ||
		len(name) > len(prefix) && name[len(prefix)] == '/' && strings.HasPrefix(name, prefix)
}
