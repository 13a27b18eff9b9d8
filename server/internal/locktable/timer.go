package locktable

// timer is the place of one deadline in the heap of deadlines; pos is 1 more than its index there,
// 0 when it is not in it.
type timer struct {
	at   Millis
	kind timerKind
	id   Index // session, grant: number in Entry; wait limit: arrival
	pos  int

	request *request // of a wait limit
}

// timerKind orders deadlines of the same time (HF-2.8).
type timerKind uint8

const (
	sessionTimer timerKind = iota
	leaseTimer
	maxHoldTimer
	ghostTimer
	waitTimer
)

func (i Index) before(j Index) bool {
	return i.Entry < j.Entry || i.Entry == j.Entry && i.Offset < j.Offset
}

func (a *timer) before(b *timer) bool {
	switch {
	case a.at != b.at:
		return a.at < b.at
	case a.kind != b.kind:
		return a.kind < b.kind
	default:
		return a.id.before(b.id)
	}
}

// timers is a binary heap of deadlines, the earliest first.
type timers []*timer

func (h *timers) set(t *timer, at Millis) {
	t.at = at
	if t.pos == 0 {
		*h = append(*h, t)
		t.pos = len(*h)
	}
	h.up(t.pos - 1)
	h.down(t.pos - 1)
}

func (h *timers) remove(t *timer) {
	if t.pos == 0 {
		return
	}
	at, last := t.pos-1, len(*h)-1
	(*h)[at] = (*h)[last]
	(*h)[at].pos = at + 1
	(*h)[last] = nil
	*h = (*h)[:last]
	t.pos = 0
	if at < last {
		moved := (*h)[at]
		h.up(at)
		h.down(moved.pos - 1)
	}
}

func (h timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h timers) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].before(h[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}
