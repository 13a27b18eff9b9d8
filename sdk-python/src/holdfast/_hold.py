"""What the session holds, and the lines of work that hold it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ._batch import Op, OpKind
from ._convert import claims_in, claims_out, deadlock_action_out, duration_out, mode_out
from ._engine import Latch
from ._errors import LostError, LostReason
from ._gen.holdfast.v1 import lock_pb, types_pb
from ._types import Claim, DeadlockAction, Mode, label

if TYPE_CHECKING:
    from ._session import Session


class Owner:
    """One line of work within a session. It never waits for itself."""

    def __init__(self, session: Session, key: str) -> None:
        self.s, self.key = session, key
        self.holds: list[Hold] = []

    def reenter(self, claims: tuple[Claim, ...]) -> Hold | None:
        """Count one more use of a grant that covers the claims, if there is one to be relied on.

        A grant that is being converted is left to the server to judge.
        """
        with self.s.lock:
            best: Hold | None = None
            for h in list(self.holds):
                if h.converting or not h.covers(claims) or h.check() is not None:
                    continue
                if best is None or h.id < best.id:
                    best = h
            if best is not None:
                best.uses += 1
            return best


class Hold:
    """One grant of the session. Several handles may share it: an owner that acquires what it holds
    gets another handle of the same hold. Guarded by the session's lock."""

    def __init__(
        self, op: Op, session: Session, owner: Owner, grant: types_pb.Grant, at: int
    ) -> None:
        self.s, self.owner = session, owner
        self.id = grant.id
        self.name = op.label  # of its claims when it was granted, for messages
        self.loss = Latch()  # set when the lock is lost, and only then
        self.token = 0
        self.claims = claims_in(op.request.claims)  # a grant that has ended comes without
        self.uses = 1  # handles that are not released
        self.depth = 1  # how many releases the server expects; never more than uses
        self.converting = False
        self._converting_next: deque[Latch] = deque()
        self._busy = False
        self.lease_ms = 0  # deadlines in cluster time; 0 means none
        self.max_hold_ms = 0
        self.granted_at = at  # index
        self.untold = 0  # index up to which its end may not have been told
        self.gone = False  # given back, as far as this process is concerned
        self.lost: LostError | None = None

    def update(self, g: types_pb.Grant | None) -> None:
        """Take what an answer says about the grant as it is now."""
        if g is None:
            return
        self.token = max(self.token, g.token)
        if g.claims:
            self.claims = claims_in(g.claims)
        d = g.deadlines
        if d is not None:
            self.lease_ms = max(self.lease_ms, d.lease_ms)
            self.max_hold_ms = max(self.max_hold_ms, d.max_hold_ms)
            self.s.raise_deadline(d)
        if (self.lease_ms or self.max_hold_ms) and not self.gone:
            self.s.timed.add(self)
            if self.usable() < self.s.look:
                self.s.nudge()

    def covers(self, claims: tuple[Claim, ...]) -> bool:
        """Whether the hold makes every one of the claims superfluous."""
        return all(
            any(have.name == want.name and have.mode.covers(want.mode) for have in self.claims)
            for want in claims
        )

    def names(self, name: str) -> bool:
        return any(c.name == name for c in self.claims)

    def usable(self) -> int:
        """Until when it may be relied on: the earliest of session, lease and longest hold."""
        deadlines = [self.s.expires, self.lease_ms, self.max_hold_ms]
        return min(self.s.usable(ms) for ms in deadlines if ms > 0)

    def check(self) -> LostError | None:
        """None while it may be relied on. It looks at the clock: a hold that has passed its deadline
        is lost from that moment (HF-11.2)."""
        if self.lost is None and not self.gone and self.s.ended is None:
            now = self.s.clock()
            if self.s.usable(self.s.expires) <= now:
                self.s.lose(LostReason.EXPIRED, "no renewal got through in time", tell=True)
            elif self.usable() <= now:
                self.lose(LostReason.EXPIRED, "its lease or longest hold ran out")
        return self.lost

    def lose(self, reason: LostReason, detail: str) -> None:
        """Make it lost, for good."""
        if self.lost is not None or self.gone:
            return
        self.lost = LostError(self.name, self.token, reason, detail)
        self.forget()
        self.s.lost_one(self)

    def forget(self) -> None:
        """Take it out of the session."""
        self.s.holds.pop(self.id, None)
        self.s.timed.discard(self)
        if self in self.owner.holds:
            self.owner.holds.remove(self)
        while self._converting_next:
            self._converting_next.popleft().set()

    def drop_use(self) -> Op | None:
        """Take one use. Returns the release to send; None if none is due, because the grant is lost
        or because another handle of the same grant was counted here alone."""
        self.uses -= 1
        if self.uses >= self.depth or self.lost is not None:
            return None
        self.depth -= 1
        if self.uses == 0:
            self.gone = True
            self.forget()
        return release_op(self.owner, self.id, self.name)

    def turn(self) -> Latch:
        """Queue for converting: conversions of one hold go one after the other."""
        turn = Latch()
        if self._busy and self.lost is None and not self.gone:
            self._converting_next.append(turn)
        else:
            self._busy = True
            turn.set()
        return turn

    def leave_turn(self, turn: Latch) -> None:
        """Give up a place in that queue, or the turn itself."""
        if turn in self._converting_next:
            self._converting_next.remove(turn)
        elif turn.is_set():
            self.next_conversion()

    def next_conversion(self) -> None:
        """The outcome of a conversion is known: the next may begin."""
        self.converting = False
        self._busy = False
        if self._converting_next:
            self._busy = True
            self._converting_next.popleft().set()


def acquire_op(
    owner: Owner,
    claims: tuple[Claim, ...],
    wait: float,
    *,
    priority: int,
    lease: float | None,
    max_hold: float | None,
    lock_delay: float,
    on_deadlock: DeadlockAction,
    reentrant: bool,
    metadata: str,
) -> Op:
    request = lock_pb.AcquireRequest(
        claims=claims_out(claims),
        wait=duration_out(wait),
        owner=owner.key,
        priority=priority,
        lease=duration_out(lease),
        max_hold=duration_out(max_hold),
        lock_delay=duration_out(lock_delay) if lock_delay else None,
        on_deadlock=deadlock_action_out(on_deadlock),
        metadata=metadata,
    )
    if not reentrant:
        request.reentrant = False
    return Op(OpKind.ACQUIRE, owner, label(claims), request)


def release_op(owner: Owner | None, grant_id: int, name: str) -> Op:
    return Op(OpKind.RELEASE, owner, name, lock_pb.ReleaseRequest(grant_id=grant_id))


def renew_op(hold: Hold) -> Op:
    request = lock_pb.RenewRequest(grant_id=hold.id)
    return Op(OpKind.RENEW, hold.owner, hold.name, request, hold=hold)


def convert_op(
    hold: Hold,
    name: str,
    mode: Mode,
    wait: float,
    *,
    drop: bool = False,
    priority: int = 0,
    on_deadlock: DeadlockAction = DeadlockAction.ABORT_WAIT,
) -> Op:
    request = lock_pb.ConvertRequest(
        grant_id=hold.id,
        name=name,
        drop=drop,
        wait=duration_out(wait),
        priority=priority,
        on_deadlock=deadlock_action_out(on_deadlock),
    )
    if not drop:
        request.mode = mode_out(mode)
    return Op(OpKind.CONVERT, hold.owner, f"{name} to {mode}", request, hold=hold)
