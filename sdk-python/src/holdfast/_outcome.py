"""What answers and events mean for the operations they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._batch import Op, OpKind
from ._convert import blockers_in, cycle_in, lost_in, mode_in, name_in
from ._errors import HoldfastError, Reason, error
from ._gen.holdfast.v1.types_pb import Outcome
from ._hold import Hold, convert_op, release_op
from ._types import CycleStep

if TYPE_CHECKING:
    from ._session import Session


class Outcomes:
    """Takes outcomes for a session, under its lock."""

    def __init__(self, session: Session) -> None:
        self._s = session

    def answer(self, op: Op, result: Any) -> None:
        """Take the result of one operation of a batch."""
        if op.kind is OpKind.CANCEL:
            self._s.batcher.finish(op, None)
            if op.target is not None and not op.target.final:
                self.outcome(op.target, result)
        elif op.kind is OpKind.RENEW:
            if op.hold is not None:
                op.hold.update(result.grant)
            self._s.batcher.finish(op, None)
        elif op.kind is OpKind.RELEASE:
            self._s.batcher.finish(op, None)
        else:
            self.outcome(op, result)

    def outcome(self, op: Op, out: Any) -> None:
        """Take an outcome of an acquire or a conversion, final or not. `out` is one of the messages
        that tell one: an answer to an acquire, convert or cancel, or an event."""
        if out.outcome == Outcome.QUEUED:
            op.waiting, op.queued_at = True, out.stamp.index if out.stamp else 0
            self._note_blockers(op, out)
            if self._s.listener.begun and op.queued_at <= self._s.listener.began_at:
                # Its outcome may lie before the place where the events begin.
                self._s.batcher.enqueue(op)
                self._s.batcher.pump()
        elif out.outcome == Outcome.GRANTED:
            if op.kind is OpKind.CONVERT:
                self._converted(op, out)
            else:
                self._granted(op, out)
        elif out.outcome == Outcome.SESSION_ENDED:
            self._s.lose(
                lost_in(out.ended), f"the session ended while {op.label} waited", tell=False
            )
        else:
            self._s.batcher.finish(op, self._refusal(op, out))

    def _granted(self, op: Op, out: Any) -> None:
        """Take a grant; one whose caller has gone is given back."""
        if op.abandoned or op.owner is None:
            self._s.batcher.finish(op, error(Reason.CANCELLED, op.label))
            if int(out.ended) == 0:
                self._s.batcher.enqueue(release_op(op.owner, out.grant.id, op.label))
                self._s.batcher.pump()
            return
        hold = self._s.holds.get(out.grant.id)
        if hold is not None:
            hold.uses += 1
            hold.depth += 1
            hold.update(out.grant)
        else:
            at = out.stamp.index if out.stamp else 0
            hold = Hold(op, self._s, op.owner, out.grant, at)
            hold.update(out.grant)
            self._s.holds[hold.id] = hold
            op.owner.holds.append(hold)
            early = self._s.early.pop(hold.id, None)
            if early is not None:
                hold.lose(lost_in(early.ended), early.detail)
        op.hold = hold
        if int(out.ended) != 0:
            hold.lose(lost_in(out.ended), _detail(out))
        self._s.batcher.finish(op, None)

    def _converted(self, op: Op, out: Any) -> None:
        hold = op.hold
        assert hold is not None
        hold.update(out.grant)
        if int(out.ended) != 0:
            hold.lose(lost_in(out.ended), _detail(out))
        if not op.abandoned or not raised(op) or hold.lost is not None or hold.gone:
            self._s.batcher.finish(op, None)
            return
        op.hands_over = True
        self._s.batcher.finish(op, error(Reason.CANCELLED, op.label))
        self.undo(op)

    def undo(self, op: Op) -> None:
        """Lower a raised conversion whose caller has gone, before the next one may begin."""
        assert op.hold is not None
        self._s.batcher.enqueue(convert_op(op.hold, op.request.name, op.before, 0))
        self._s.batcher.pump()

    def _note_blockers(self, op: Op, out: Any) -> None:
        blockers = getattr(out, "blockers", None)
        if blockers:
            op.position, op.blocking = out.position, out.blockers_total
            op.blockers = tuple(blockers)

    def _refusal(self, op: Op, out: Any) -> HoldfastError:
        """The error of an outcome that brought no grant."""
        self._note_blockers(op, out)
        name = name_in(out.outcome)
        reason = Reason[name] if name in Reason.__members__ else Reason.INTERNAL
        e = error(reason, op.label)
        e.ended = name_in(out.ended)
        if reason in (Reason.HELD, Reason.WAIT_LIMIT_REACHED):
            describe(op, e)
            if reason is Reason.WAIT_LIMIT_REACHED:
                e.message += ", and the wait limit has passed"
        elif reason is Reason.DEADLOCK_VICTIM:
            e.cycle = cycle_in(out.cycle)
            e.message = f"{op.label} was given up to resolve a deadlock: {_cycle_text(e.cycle)}"
            e.hint = "release what you hold, and begin anew"
        elif reason is Reason.REVOKED:
            e.message += ": the wait was ended by an operator"
            if _detail(out):
                e.message += f": {_detail(out)}"
        elif reason is Reason.CANCELLED:
            e.message += ": the wait was cancelled"
        return e


def raised(op: Op) -> bool:
    """Whether a conversion asked for more than was held."""
    return not op.request.drop and not op.before.covers(mode_in(op.request.mode))


def describe(op: Op, e: HoldfastError) -> None:
    """Say who is in the way, as far as the last answer told."""
    e.position, e.blockers, e.blockers_total = op.position, blockers_in(op.blockers), op.blocking
    if not e.blockers:
        e.message = f"{op.label} is held"
        return
    b = e.blockers[0]
    e.message = {
        "holder": f"{b.name} is held by session {b.session_id} ({b.mode})",
        "ghost": f"{b.name} is shut for its lock delay",
        "waiter": f"{b.name}: session {b.session_id} waits ahead ({b.mode})",
    }.get(b.kind, f"{op.label} is held")
    if e.blockers_total > 1:
        e.message += f" and {e.blockers_total - 1} more"


def _detail(out: Any) -> str:
    return str(getattr(out, "detail", ""))


def _cycle_text(cycle: tuple[CycleStep, ...]) -> str:
    return ", ".join(
        f'session {s.session_id} owner "{s.owner}" waits for {s.claim.name} ({s.claim.mode})'
        for s in cycle
    )
