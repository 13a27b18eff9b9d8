package locktable

// slab holds many values of one kind in pages and names each by a number. A number takes half the
// room of a pointer, and the garbage collector follows none; the pages of values that have no
// pointers themselves it does not even read. A value stays where it is until its number is given
// back. 0 is no value's number.
type slab[R ~uint32, T any] struct {
	pages []*[slabPage]T
	free  []R
	made  R // the highest number that was ever given out
}

const slabPage = 1024

func (s *slab[R, T]) at(n R) *T { return &s.pages[n/slabPage][n%slabPage] }

// take gives out a number; its value is zero.
func (s *slab[R, T]) take() (R, *T) {
	if last := len(s.free) - 1; last >= 0 {
		n := s.free[last]
		s.free = s.free[:last]
		return n, s.at(n)
	}
	s.made++
	if int(s.made/slabPage) == len(s.pages) {
		s.pages = append(s.pages, new([slabPage]T))
	}
	return s.made, s.at(s.made)
}

// give takes a number back.
func (s *slab[R, T]) give(n R) {
	var none T
	*s.at(n) = none
	s.free = append(s.free, n)
}

// inUse counts the values.
func (s *slab[R, T]) inUse() int { return int(s.made) - len(s.free) }

// Numbers of the values in slabs.
type (
	lockRef   uint32
	holdRef   uint32
	stakeRef  uint32
	grantRef  uint32
	answerRef uint32
	placeRef  uint32 // of an entity that is in no slab of its own
)
