"""Operations on their way to the server, many in one `Execute` (HF-11.6).

While nothing is in flight an operation goes at once. A second batch goes beside the first if there is
enough for it or the first is late; otherwise what comes meanwhile goes when the first comes back.
Everything here is guarded by the session's lock; batches are sent by the engine.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from protobuf import Oneof

from ._convert import error_in, lost_by_name
from ._engine import Latch
from ._errors import (
    HoldfastError,
    NotHolderError,
    Reason,
    SessionExpiredError,
    error,
    retryable,
)
from ._gen.holdfast.v1 import lock_pb, types_pb
from ._retry import pause
from ._transport import Clients, Kind, Timing
from ._types import Mode

if TYPE_CHECKING:
    from ._hold import Hold, Owner
    from ._session import Session

IN_FLIGHT_MOST = 2  # batches of one session at a time
BESIDE_LEAST = 32  # operations that a second batch is worth its call for
LATE_AT_LEAST = 10**6  # ns
WINDOW = 512  # no id so far above the oldest one without an answer (HF-7.2)
BATCH_MOST = 1024
BATCH_BYTES_MOST = 200 << 10  # below the 256 KiB that the server takes


class OpKind(enum.Enum):
    ACQUIRE = "acquire"
    RELEASE = "release"
    CONVERT = "convert"
    RENEW = "renew"
    CANCEL = "cancel"


PAST_BREAKERS = {OpKind.RELEASE, OpKind.RENEW, OpKind.CANCEL}


@dataclass(eq=False)
class Op:
    """One operation. Its request is not changed after it has an id."""

    kind: OpKind
    owner: Owner | None
    label: str  # names it in messages
    request: Any
    target: Op | None = None  # of a cancel
    hold: Hold | None = None  # of a grant; of the handle that is converted or renewed
    before: Mode = Mode.EXCLUSIVE  # of a conversion: the mode to go back to

    done: Latch = field(default_factory=Latch)
    id: int = 0
    solo: bool = False  # goes in a batch of its own, to find out whose fault a refusal is
    pending: bool = False  # is in the queue
    waiting: bool = False  # was answered QUEUED
    queued_at: int = 0  # index of that answer
    abandoned: bool = False  # its caller has gone
    hands_over: bool = False  # the undoing of this conversion takes its turn to convert
    final: bool = False
    error: HoldfastError | None = None
    failure: HoldfastError | None = None  # of the last attempt to send it
    position: int = 0  # as last heard
    blockers: tuple[types_pb.Blocker, ...] = ()
    blocking: int = 0

    def message(self) -> lock_pb.Operation:
        if self.kind is OpKind.CANCEL and self.target is not None:
            self.request.request_id = self.target.id
        return lock_pb.Operation(operation=cast("Any", Oneof(self.kind.value, self.request)))

    def bytes_most(self) -> int:
        """At least as many bytes as it has on the wire."""
        size = 128
        for claim in getattr(self.request, "claims", ()):
            size += 4 * len(claim.name) + 16
        return size + 4 * (len(getattr(self.request, "metadata", "")) + len(self.label))


class Batcher:
    """The operations of one session."""

    def __init__(self, session: Session) -> None:
        self._s = session
        self._again: list[Op] = []  # what was sent before, and cancels: these go first
        self._fresh: list[Op] = []  # what has no id yet
        self._in_flight = 0
        self._paused = False
        self._failures = 0
        self._last_id = 0
        self._scheduled = False
        self._sent = 0  # when the last batch went
        self._hurry: asyncio.TimerHandle | None = None  # looks whether it is late
        self._unanswered: OrderedDict[int, Op] = OrderedDict()  # until the first answer, by id
        self.unfinished: OrderedDict[int, Op] = OrderedDict()  # until the final answer, by id

    def submit(self, op: Op) -> None:
        """Put an operation on its way; its outcome is known when `op.done` is set."""
        with self._s.lock:
            if self._s.ended is not None:
                raise self._s.ended
            self.enqueue(op)
            self.pump()

    def enqueue(self, op: Op) -> None:
        if op.pending or op.final:
            return
        fresh = op.id == 0 and op.kind is not OpKind.CANCEL
        (self._fresh if fresh else self._again).append(op)
        op.pending = True

    def pump(self) -> None:
        """Have the engine send what there is."""
        if not self._scheduled:
            self._scheduled = True
            self._s.engine.soon(self._pump)

    def _pump(self) -> None:
        with self._s.lock:
            self._scheduled = False
            while self._in_flight < IN_FLIGHT_MOST and not self._paused and self._s.ended is None:
                if self._in_flight > 0 and not self._worth_another():
                    return
                ops = self._take()
                if not ops:
                    return
                self._in_flight += 1
                self._sent = self._s.clock()
                request = lock_pb.ExecuteRequest(
                    session_id=self._s.id,
                    acked=self._acked(),
                    operations=[op.message() for op in ops],
                )
                self._s.spawn(self._send(ops, request))

    def _worth_another(self) -> bool:
        """Whether a second batch may go beside the one in flight."""
        waiting = len(self._again) + len(self._fresh)
        if waiting == 0 or waiting >= BESIDE_LEAST:
            return waiting > 0
        late = self._sent + max(LATE_AT_LEAST, 2 * self._s.trip) - self._s.clock()
        if late <= 0:
            return True
        if self._hurry is None:
            self._hurry = self._s.engine.loop.call_later(late / 1e9, self._late)
        return False

    def _late(self) -> None:
        self._hurry = None
        self._pump()

    def _take(self) -> list[Op]:
        """Take the next batch, and give ids to those that have none."""
        ops: list[Op] = []
        size = 0
        full = False
        for queue in (self._again, self._fresh):
            taken = 0
            for op in queue:
                if op.final:
                    op.pending = False
                    taken += 1
                    continue
                if full or len(ops) == BATCH_MOST or (ops and op.solo):
                    break
                size += op.bytes_most()
                if ops and size > BATCH_BYTES_MOST:
                    break
                if op.id == 0 and op.kind is not OpKind.CANCEL and not self._number(op):
                    break
                op.pending = False
                ops.append(op)
                taken += 1
                full = op.solo
            del queue[:taken]
        return ops

    def _number(self, op: Op) -> bool:
        """Give an operation its request id, if the window allows another one."""
        if self._unanswered and self._last_id + 1 >= next(iter(self._unanswered)) + WINDOW:
            return False
        self._last_id += 1
        op.id = op.request.request_id = self._last_id
        self._unanswered[op.id] = self.unfinished[op.id] = op
        return True

    def _acked(self) -> int:
        """The id up to which every request has its final answer."""
        return next(iter(self.unfinished)) - 1 if self.unfinished else self._last_id

    async def _send(self, ops: list[Op], request: lock_pb.ExecuteRequest) -> None:
        """Make one attempt at a batch. What it does not settle goes back, with the same ids."""
        kind = Kind(bypass=any(op.kind in PAST_BREAKERS for op in ops))

        def execute(n: Clients) -> Any:
            return n.lock.execute(request)

        failure: HoldfastError | None = None
        answer: lock_pb.ExecuteResponse | None = None
        try:
            answer, at = await self._s.transport.once(kind, execute)
            if len(answer.results) != len(ops):
                failure = error(
                    Reason.INTERNAL,
                    f"{len(ops)} operations were answered with {len(answer.results)} results",
                )
                failure._final = True
        except HoldfastError as e:
            failure = e
        if failure is not None:
            self._s.refused(failure)
        elif answer is not None:
            self._s.same_history(answer.cluster)
        with self._s.lock:
            self._in_flight -= 1
            if self._s.ended is not None:
                return  # everything has failed already
            if failure is None and answer is not None:
                self._settle(ops, answer, at)
            elif retryable(failure):
                self._try_again(ops, failure)
            elif len(ops) > 1:
                for op in ops:
                    op.solo = True
                self._requeue(ops)
            else:
                self.finish(ops[0], _without_path(failure))
        self._pump()

    def _settle(self, ops: list[Op], answer: lock_pb.ExecuteResponse, at: Timing) -> None:
        stamps = []
        for r in answer.results:
            if r.result is not None and r.result.field != "error" and r.result.value.stamp:
                stamps.append(r.result.value.stamp)
        earliest = min(stamps, key=lambda s: s.time_ms, default=None)
        self._s.anchor(at, earliest, answer.deadlines)
        self._failures = 0
        for op, r in zip(ops, answer.results):
            if r.result is None:
                made = error(Reason.INTERNAL, op.label + ": an answer that is not known")
                self.finish(op, made)
            elif r.result.field == "error":
                e = error_in(r.result.value)
                if retryable(e):
                    self._try_again([op], e)
                elif isinstance(e, SessionExpiredError):
                    self._s.lose(lost_by_name(e.ended), e.message, tell=False)
                    return
                else:
                    self.finish(op, _without_path(e))
            else:
                self.answered(op)
                op.failure = None
                if not op.final:  # otherwise an event was faster
                    self._s.outcomes.answer(op, r.result.value)

    def _try_again(self, ops: list[Op], e: HoldfastError | None) -> None:
        """Try operations again after a pause, in their old places."""
        for op in ops:
            op.failure = e
        self._requeue(ops)
        if self._paused:
            return
        self._failures += 1
        self._paused = True

        def go_on() -> None:
            self._paused = False
            self._pump()

        self._s.engine.loop.call_later(pause(self._failures, e), go_on)

    def _requeue(self, ops: list[Op]) -> None:
        back = [op for op in ops if not op.final and not op.pending]
        for op in back:
            op.pending = True
        self._again[:0] = back

    def answered(self, op: Op) -> None:
        """Note that a request id has had an answer, which may move the window."""
        self._unanswered.pop(op.id, None)

    def finish(self, op: Op, e: HoldfastError | None) -> None:
        """Give an operation its final answer."""
        if op.final:
            return
        op.final, op.error = True, e
        self.answered(op)
        self.unfinished.pop(op.id, None)
        if op.kind is OpKind.RENEW and isinstance(e, NotHolderError) and op.hold is not None:
            op.hold.lose(lost_by_name(e.ended), "")
        if op.kind is OpKind.CANCEL and e is not None and op.target is not None:
            self.finish(op.target, e)  # nobody can say any more what became of it
        if op.kind is OpKind.CONVERT and not op.hands_over and op.hold is not None:
            op.hold.next_conversion()
        op.done.set()

    def fail_all(self, e: HoldfastError) -> None:
        """Give everything that is on its way the same final error."""
        queued = self._again + self._fresh
        self._again, self._fresh = [], []
        for op in queued + list(self.unfinished.values()):
            self.finish(op, e)

    def abandon(self, op: Op) -> None:
        """Cancel an operation whose caller has gone."""
        op.abandoned = True
        if op.id == 0:  # it was never sent
            self.finish(op, error(Reason.CANCELLED, op.label))
        elif op.kind in (OpKind.ACQUIRE, OpKind.CONVERT):
            self.enqueue(Op(OpKind.CANCEL, op.owner, op.label, lock_pb.CancelRequest(), target=op))
            self.pump()


def _without_path(e: HoldfastError | None) -> HoldfastError | None:
    """Drop the place in the batch from the field of a refusal: the caller sees no batch."""
    if e is None or not e.field.startswith("operations["):
        return e
    rest = e.field.partition("].")[2].partition(".")
    clean = rest[2] or rest[0]
    if clean:
        e.message = e.message.replace(e.field, clean, 1)
        e.field = clean
    return e
