package locktable

// Mode says how a name is held (HF-3.1).
type Mode uint8

// The modes; a mode covers those below it as far as Covers says. None is the absence of a claim.
const (
	None Mode = iota
	IS
	IX
	S
	SIX
	X
)
