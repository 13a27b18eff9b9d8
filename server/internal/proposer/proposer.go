// Package proposer takes the commands of all callers, puts everything that waits into one Raft
// entry, stamps it with cluster time, and gives each caller its results. DESIGN.md tells why it
// looks the way it does.
package proposer

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Batch is what one caller submits. Its commands are applied in order; they share an entry unless
// they exceed the size of one.
type Batch struct {
	// Session in whose line the batch stands: batches of one session are applied in the order in
	// which they were submitted, and sessions take turns. 0 is a line of its own.
	Session locktable.SessionID
	// Commands to apply. None at all makes a marker: it succeeds once an entry proposed after it
	// was submitted has been applied here, and is how a current read finds its index.
	Commands []locktable.Command
	// OnApplied, if set, is called on the goroutine that applies the log, before anything that
	// comes later in the log is seen by the other observers; it must not block. It is called at
	// most once, and also if the submit has given up in the meantime.
	OnApplied func(Answer)
}

// Answer is what came of a batch. It is shared: do not change what it points to.
type Answer struct {
	Results []locktable.Result // one for each command
	Index   uint64             // Raft index of the entry (of the last one, if there were several)
	Time    locktable.Millis   // its cluster time T
	split   []span             // only if there were several entries
}

// TimeOf returns the cluster time of the entry in which command i travelled.
func (a Answer) TimeOf(i int) locktable.Millis {
	for _, p := range a.split {
		if i < p.end {
			return p.time
		}
	}
	return a.Time
}

// span says that the results before end, as far as no earlier span has them, came at time.
type span struct {
	end  int
	time locktable.Millis
}

// Config sets up a proposer. Zero values stand for the defaults.
type Config struct {
	NodeID string // of this node, which is never named as the leader that others should ask

	EntryBytesMax    int // of commands in one entry, about; 256 KiB
	EntryCommandsMax int // 4,096
	FillCommands     int // that are worth an entry while another one is in flight; 256

	SessionCommandsMax int // that wait of one session; 4,096
	SessionBytesMax    int // 1 MiB
	CommandsMax        int // that wait altogether; 262,144
	BytesMax           int // 64 MiB

	RenewalDelay time.Duration // how long a lone renewal waits for company; 50 ms
	StallAfter   time.Duration // an entry in flight for so long means that there is no quorum; 2 s

	Now func() time.Duration // monotonic clock of the node; nil: that of package time
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	c.EntryBytesMax = cmp.Or(c.EntryBytesMax, 256<<10)
	c.EntryCommandsMax = cmp.Or(c.EntryCommandsMax, 4096)
	c.FillCommands = cmp.Or(c.FillCommands, 256)
	c.SessionCommandsMax = cmp.Or(c.SessionCommandsMax, 4096)
	c.SessionBytesMax = cmp.Or(c.SessionBytesMax, 1<<20)
	c.CommandsMax = cmp.Or(c.CommandsMax, 256<<10)
	c.BytesMax = cmp.Or(c.BytesMax, 64<<20)
	c.RenewalDelay = cmp.Or(c.RenewalDelay, 50*time.Millisecond)
	c.StallAfter = cmp.Or(c.StallAfter, 2*time.Second)
	if c.Now == nil {
		start := time.Now()
		c.Now = func() time.Duration { return time.Since(start) }
	}
	return c
}

// Proposer is the one place where commands enter the log. It is an observer of that log, and must
// be the first to see what was applied.
type Proposer struct {
	cfg  Config
	log  Log           // set by Start
	wake chan struct{} // there may be something to propose
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the loop has ended

	mu      sync.Mutex
	queue   queue
	flight  []*entry // proposed and neither applied nor refused, the oldest first
	number  uint64   // of the last proposal; starts at random, so that no two processes share one
	leads   bool
	begun   bool // the reign has its clock
	closed  bool
	drained chan struct{} // closed when a closed proposer has nothing left to do
	stalled bool          // the oldest entry has been in flight for too long
	stall   *time.Timer   // fires when that would be so

	clock    clock
	applied  locktable.Millis // T
	version  uint32           // semantics version
	backlog  bool             // the last batch left ends over
	prompt   bool             // an entry is wanted at once, even an empty one
	quiet    bool             // nothing has a deadline, as of the last look
	proposed time.Time        // when the last entry was

	stats Stats
}

// New makes a proposer that takes nothing until it is started and leads.
func New(cfg Config) *Proposer {
	p := &Proposer{
		cfg:     cfg.withDefaults(),
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		drained: make(chan struct{}),
		number:  rand.Uint64(),
	}
	p.queue.lines = make(map[locktable.SessionID]*line)
	return p
}

// Start gives the proposer its log; before that it can observe but not propose. It is called once.
func (p *Proposer) Start(log Log) {
	p.mu.Lock()
	p.log = log
	p.mu.Unlock()
	go p.run()
}

// Submit proposes a batch and waits until it is applied. The error is one of the package's, or
// wraps one of them together with the cause of ctx. A batch whose ctx ends before it was proposed
// is taken back and fails with ErrNoQuorum; one that was proposed fails with ErrOutcomeUnknown.
func (p *Proposer) Submit(ctx context.Context, b Batch) (Answer, error) {
	if ctx.Err() != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrNoQuorum, context.Cause(ctx))
	}
	c := newCall(b)
	p.mu.Lock()
	if err := p.refuse(c); err != nil {
		p.mu.Unlock()
		return Answer{}, err
	}
	p.queue.push(c, time.Now())
	p.mu.Unlock()
	p.poke()
	select {
	case <-c.done:
	case <-ctx.Done():
		p.giveUp(c, context.Cause(ctx))
	}
	if c.err != nil {
		return Answer{}, c.err
	}
	return c.answer, nil
}

// refuse says why a call cannot be taken at present.
func (p *Proposer) refuse(c *call) error {
	switch {
	case p.closed:
		return ErrShuttingDown
	case !p.leads:
		return p.notLeader()
	case p.stalled:
		return ErrNoQuorum
	}
	session, commands, bytes := c.Session, 0, 0
	if l := p.queue.lines[c.Session]; l != nil {
		commands, bytes = l.commands, l.bytes
	}
	fits := commands == 0 ||
		commands+c.weight() <= p.cfg.SessionCommandsMax && bytes+c.size <= p.cfg.SessionBytesMax
	if fits {
		session, commands, bytes = 0, p.queue.commands, p.queue.bytes
		fits = commands+c.weight() <= p.cfg.CommandsMax && bytes+c.size <= p.cfg.BytesMax
	}
	if fits {
		return nil
	}
	p.stats.RateLimited++
	return &RateLimitedError{Session: session, Commands: commands, Bytes: bytes, RetryAfter: tick}
}

// notLeader tells who leads instead.
func (p *Proposer) notLeader() error {
	err := &NotLeaderError{}
	if p.log == nil {
		return err
	}
	if id, addr := p.log.Leader(); id != p.cfg.NodeID {
		err.LeaderID, err.LeaderAddr = id, addr
	}
	return err
}

// giveUp ends a call whose caller waits no longer, unless it is done already.
func (p *Proposer) giveUp(c *call, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.state == callDone {
		return
	}
	err := ErrOutcomeUnknown
	if c.state == callWaiting {
		err = ErrNoQuorum
	}
	p.queue.remove(c)
	c.end(fmt.Errorf("%w: %w", err, cause))
	p.settle()
}

// Leads tells whether commands are taken here.
func (p *Proposer) Leads() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leads && !p.closed
}

// Close takes no more batches, waits until those it has are done or ctx ends, and fails the rest:
// with ErrShuttingDown what was not proposed, with ErrOutcomeUnknown what was.
func (p *Proposer) Close(ctx context.Context) {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.settle()
	started := p.log != nil
	p.mu.Unlock()
	if again {
		return
	}
	p.poke()
	select {
	case <-p.drained:
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.failWaiting(ErrShuttingDown)
	p.clearFlight()
	if p.stall != nil {
		p.stall.Stop()
	}
	p.mu.Unlock()
	close(p.stop)
	if started {
		select {
		case <-p.done:
		case <-ctx.Done():
		}
	}
}

// Stats are counters since the start, and gauges.
type Stats struct {
	Leads           bool
	WaitingCommands int
	WaitingBytes    int
	EntriesInFlight int
	Entries         uint64 // proposed
	Commands        uint64 // proposed
	Ticks           uint64 // entries proposed without a command
	Stalls          uint64 // times at which an entry was found to be stuck
	RateLimited     uint64 // batches refused
}

// Stats returns the counters.
func (p *Proposer) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Leads = p.leads
	s.WaitingCommands = p.queue.commands
	s.WaitingBytes = p.queue.bytes
	s.EntriesInFlight = len(p.flight)
	return s
}
