"""The only place where messages of the contract become types of the package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from protobuf.wkt.google.protobuf.duration_pb import Duration

from ._errors import HoldfastError, InternalError, LostReason, Reason, error
from ._gen.holdfast.v1 import errors_pb, lock_pb, session_pb, types_pb
from ._types import (
    Blocker,
    Claim,
    CycleStep,
    DeadlockAction,
    Explanation,
    GhostInfo,
    GrantInfo,
    HolderInfo,
    LockEvent,
    LockInfo,
    Mode,
    SessionInfo,
    Stamp,
    WaiterInfo,
    WaitStep,
)

_MODES_OUT = {mode: types_pb.Mode[mode.name] for mode in Mode}
_MODES_IN: dict[int, Mode] = {int(out): mode for mode, out in _MODES_OUT.items()}

_LOST: dict[int, LostReason] = {
    int(types_pb.EndReason.REVOKED): LostReason.REVOKED,
    int(types_pb.EndReason.DEADLOCK_VICTIM): LostReason.VICTIM,
    int(types_pb.EndReason.CLOSED): LostReason.CLOSED,
    int(types_pb.EndReason.RELEASED): LostReason.CLOSED,
    int(types_pb.EndReason.RESTORED): LostReason.FORKED,
}


def name_in(value: Any) -> str:
    """The name of an enum's value, empty if it is not given; unknown ones are numbers."""
    if int(value) == 0:
        return ""
    return str(getattr(value, "name", int(value)))


def mode_out(mode: Mode) -> types_pb.Mode:
    return _MODES_OUT[mode]


def mode_in(mode: int) -> Mode:
    return _MODES_IN.get(int(mode), Mode.EXCLUSIVE)


def claims_out(claims: Iterable[Claim]) -> list[types_pb.Claim]:
    return [types_pb.Claim(name=c.name, mode=_MODES_OUT[c.mode]) for c in claims]


def claims_in(claims: Iterable[types_pb.Claim]) -> tuple[Claim, ...]:
    return tuple(Claim(c.name, mode_in(c.mode)) for c in claims)


def duration_out(seconds: float | None) -> Duration | None:
    """Rounded up to whole milliseconds, so that a short one does not turn into none."""
    if seconds is None:
        return None
    ms = -int(-seconds * 1000 // 1) if seconds >= 0 else int(seconds * 1000)
    return Duration(seconds=ms // 1000, nanos=ms % 1000 * 10**6)


def seconds_in(d: Duration | None) -> float:
    return 0.0 if d is None else d.seconds + d.nanos / 1e9


def deadlock_action_out(action: DeadlockAction) -> types_pb.DeadlockAction:
    return types_pb.DeadlockAction[action.name]


def lost_in(ended: int) -> LostReason:
    """What the end of a grant or session means to the one who held it."""
    return _LOST.get(int(ended), LostReason.EXPIRED)


def lost_by_name(ended: str) -> LostReason:
    return lost_in(types_pb.EndReason[ended]) if ended in END_REASONS else LostReason.EXPIRED


END_REASONS = {r.name for r in types_pb.EndReason}


def error_in(e: errors_pb.Error) -> HoldfastError:
    """An error of the contract as one of ours. A reason that is not known counts as internal."""
    name = name_in(e.reason)
    known = name in Reason.__members__
    made = error(
        Reason[name] if known else Reason.INTERNAL,
        e.message,
        hint=e.hint,
        field=e.field,
        limit=e.limit,
    )
    made.retry_after = seconds_in(e.retry_after)
    made.ended = name_in(e.ended)
    made._leader = e.leader
    if not known and isinstance(made, InternalError):
        made._final = True
    return made


def stamp_in(s: types_pb.Stamp | None) -> Stamp:
    return Stamp(s.index, s.offset, s.time_ms) if s else Stamp(0, 0, 0)


def blocker_in(b: types_pb.Blocker | None) -> Blocker:
    b = b or types_pb.Blocker()
    return Blocker(
        name_in(b.kind).lower(),
        b.name,
        mode_in(b.mode),
        b.session_id,
        b.owner,
        b.grant_id,
        b.request_id,
    )


def blockers_in(blockers: Iterable[types_pb.Blocker]) -> tuple[Blocker, ...]:
    return tuple(blocker_in(b) for b in blockers)


def cycle_in(c: types_pb.Cycle | None) -> tuple[CycleStep, ...]:
    if c is None:
        return ()
    return tuple(
        CycleStep(s.session_id, s.owner, s.request_id, Claim(s.name, mode_in(s.mode)))
        for s in c.steps
    )


def grant_in(g: types_pb.Grant | None) -> GrantInfo:
    g = g or types_pb.Grant()
    return GrantInfo(g.id, g.token, claims_in(g.claims), g.depth, seconds_in(g.expires_in))


def holder_in(h: lock_pb.Holder) -> HolderInfo:
    return HolderInfo(
        h.session_id,
        h.owner,
        mode_in(h.mode),
        h.implied,
        grant_in(h.grant),
        h.metadata,
        h.session_metadata,
        seconds_in(h.age),
    )


def waiter_in(w: lock_pb.Waiter) -> WaiterInfo:
    return WaiterInfo(
        w.session_id,
        w.owner,
        w.request_id,
        mode_in(w.mode),
        claims_in(w.claims),
        w.position,
        w.priority,
        seconds_in(w.age),
        seconds_in(w.wait_left),
        w.metadata,
        w.converts,
    )


def lock_in(lock: lock_pb.Lock | None) -> LockInfo:
    lock = lock or lock_pb.Lock()
    return LockInfo(
        lock.name,
        tuple(holder_in(h) for h in lock.holders),
        lock.holders_total,
        tuple(waiter_in(w) for w in lock.waiters),
        lock.waiters_total,
        tuple(
            GhostInfo(g.grant_id, mode_in(g.mode), seconds_in(g.expires_in)) for g in lock.ghosts
        ),
    )


def session_in(s: session_pb.SessionInfo) -> SessionInfo:
    return SessionInfo(
        s.session_id,
        s.namespace,
        s.metadata,
        seconds_in(s.ttl),
        seconds_in(s.expires_in),
        seconds_in(s.age),
        s.grants,
        s.waiting,
        s.implicit,
    )


def event_in(e: lock_pb.WatchLocksResponse) -> LockEvent:
    return LockEvent(
        name_in(e.kind),
        claims_in(e.claims),
        e.session_id,
        e.owner,
        e.request_id,
        e.grant_id,
        e.token,
        name_in(e.outcome),
        name_in(e.ended),
        cycle_in(e.cycle),
        e.detail,
        stamp_in(e.stamp),
        e.cursor,
    )


def explanation_in(r: lock_pb.ExplainWaitResponse) -> Explanation:
    steps = tuple(
        WaitStep(
            s.distance,
            blocker_in(s.blocker),
            seconds_in(s.age),
            s.session_metadata,
            seconds_in(s.session_expires_in),
            s.session_at_risk,
        )
        for s in r.steps
    )
    waiter = waiter_in(r.waiter) if r.waiter else None
    return Explanation(r.waiting, waiter, steps, stamp_in(r.stamp))
