package modelcheck

import (
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// The differences that the comparison has found, as short as they could be made. Index 17 is the
// first at which the table is restored from its snapshot.

func opened(ttls ...locktable.Millis) locktable.Batch {
	b := locktable.Batch{Index: 1}
	for _, ttl := range ttls {
		b.Commands = append(b.Commands, &locktable.OpenSession{Principal: "p", Namespace: "default", TTL: ttl})
	}
	return b
}

func at(index uint64, stamp locktable.Millis, commands ...locktable.Command) locktable.Batch {
	return locktable.Batch{Index: index, Stamp: stamp, Commands: commands}
}

func of(session locktable.SessionID) locktable.Caller {
	return locktable.Caller{Principal: "p", Session: session}
}

func wants(session locktable.SessionID, key string, wait locktable.Millis, claims ...locktable.Claim) *locktable.Acquire {
	return &locktable.Acquire{Caller: of(session), Owner: key, Claims: claims, WaitLimit: wait}
}

func claim(name string, mode locktable.Mode) locktable.Claim {
	return locktable.Claim{Name: name, Mode: mode}
}

func agree(t *testing.T, tuning locktable.Tuning, batches ...locktable.Batch) {
	t.Helper()
	if _, difference := replay(tuning, batches); difference != "" {
		t.Fatal((&failure{tuning: tuning, batches: batches, difference: difference}).String())
	}
}

// HF-2.8: a session that was renewed since its timer was set kept the place of the old deadline.
func TestRenewedSessionEndsInOrder(t *testing.T) {
	agree(t, locktable.Standard,
		opened(1_000, 2_000),
		at(2, 50, &locktable.OpenSession{Principal: "p", Namespace: "default", TTL: 2_000}),
		at(3, 100, &locktable.RenewSession{Principal: "p", Session: 2}),
		at(4, 5_000))
}

// HF-8.2: the end of a cover closed a cycle where the backlog did not come in that batch.
func TestRiseClosesCycleBeyondItsRoom(t *testing.T) {
	hold := wants(2, "k", 0, claim("b", locktable.X))
	hold.MaxHold = 200
	ahead := wants(2, "", 60_000, claim("b", locktable.X))
	ahead.Priority = 1
	first := wants(1, "", 0, claim("z", locktable.X))
	first.Lease = 200
	agree(t, locktable.Tuning{BatchWork: 1, PassLimit: 64, KeptAnswers: 10},
		at(1, 0, &locktable.OpenSession{Principal: "p", Namespace: "other", TTL: 90_000},
			&locktable.OpenSession{Principal: "p", Namespace: "default", TTL: 90_000}),
		at(2, 100, first, wants(2, "m", 0, claim("a", locktable.IS))),
		at(3, 100, wants(2, "k", 60_000, claim("a", locktable.X), claim("b", locktable.IX))),
		at(4, 100, wants(2, "", 60_000, claim("a", locktable.S))),
		at(5, 100, hold),
		at(6, 100, ahead),
		at(7, 300), at(8, 300), at(9, 300))
}

// HF-2.3a: a conversion past its limit, whose grant was then released, was missing its grant when
// the table was restored.
func TestSnapshotWithConversionOfEndedGrant(t *testing.T) {
	agree(t, locktable.Tuning{BatchWork: 1, PassLimit: 64, KeptAnswers: 10},
		opened(90_000, 100, 101, 102),
		at(2, 0, wants(1, "a", 0, claim("n", locktable.S)), wants(1, "b", 0, claim("n", locktable.S))),
		at(3, 0, &locktable.Convert{Caller: of(1), Grant: 1, Mode: locktable.X, WaitLimit: 110}),
		at(16, 200, &locktable.Release{Caller: of(1), Grant: 1}),
		at(17, 200), at(18, 200), at(19, 200), at(20, 200))
}

// HF-5.2: of two decided conversions of a grant, the one that is cancelled with it was forgotten
// when the table was restored.
func TestSnapshotWithTwoDecidedConversions(t *testing.T) {
	convert := func(wait locktable.Millis) *locktable.Convert {
		return &locktable.Convert{Caller: of(1), Grant: 1, Mode: locktable.X, WaitLimit: wait}
	}
	lease := wants(1, "a", 0, claim("n", locktable.S))
	lease.Lease = 110
	agree(t, locktable.Tuning{BatchWork: 1, PassLimit: 64, KeptAnswers: 10},
		opened(90_000, 100, 101, 102, 103, 104),
		at(2, 0, lease, wants(1, "b", 0, claim("n", locktable.S))),
		at(3, 0, convert(105)),
		at(15, 106, convert(60_000)),
		at(16, 110),
		at(17, 110), at(18, 110), at(19, 110), at(20, 110), at(21, 110), at(22, 110))
}

// HF-4.11: the ghosts of a name were listed in the order in which they came about, which a restored
// table does not know.
func TestGhostsAreListedByGrant(t *testing.T) {
	left := func(key string) *locktable.Acquire {
		a := wants(1, key, 0, claim("n", locktable.S))
		a.LockDelay = 50_000
		return a
	}
	agree(t, locktable.Standard,
		opened(90_000),
		at(2, 0, left("a"), left("b")),
		at(3, 0, &locktable.RevokeGrant{Grant: 2}, &locktable.RevokeGrant{Grant: 1}),
		at(4, 0, wants(1, "a", 0, claim("n", locktable.X))),
		at(17, 0),
		at(18, 0, wants(1, "a", 0, claim("n", locktable.X))))
}
