"""One session: its life, what it holds and what it asks for.

Everything behind `lock` may be touched from any thread; calls are made by the engine. No call is
made, and no code of the user is run, while the lock is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from ._batch import Batcher
from ._clock import Clock
from ._convert import lost_by_name
from ._engine import Engine, Job, Latch, within
from ._errors import (
    HoldfastError,
    LostError,
    LostReason,
    Reason,
    SessionExpiredError,
    SessionNotFoundError,
    error,
)
from ._events import Listener
from ._gen.holdfast.v1 import session_pb, types_pb
from ._hold import Hold, Owner
from ._outcome import Outcomes
from ._retry import backoff
from ._transport import ATTEMPT_TIMEOUT, Clients, Kind, Timing, Transport

MARGIN_LEAST = 50 * 10**6  # ns
RATIO = 990_000
"""Nanoseconds of the client's clock that a millisecond of cluster time lasts at least: 0.99 of one,
since the clocks may differ by 1 % (HF-2.9)."""
LOOK_AT_LEAST = 10**9  # how often deadlines are looked at, in case the machine slept, ns
CLOSE_TIMEOUT = 5.0  # how long a lost session is told to the server


class Session:
    """A session that is open."""

    def __init__(
        self,
        answer: session_pb.OpenSessionResponse,
        at: Timing,
        *,
        engine: Engine,
        transport: Transport,
        clock: Clock,
        log: logging.Logger,
        namespace: str,
        ttl: float,
        margin: float,
        on_loss: Callable[[Hold], None],
    ) -> None:
        self.engine, self.transport, self.clock, self._log = engine, transport, clock, log
        self.namespace = namespace
        self.id = answer.session_id
        self.epoch = answer.cluster.epoch if answer.cluster else 0
        given = answer.ttl
        self.ttl = (given.seconds * 10**9 + given.nanos) if given else int(ttl * 1e9)
        self._margin = int(margin * 1e9)
        self._on_loss = on_loss

        self.lock = threading.RLock()
        self.ended: HoldfastError | None = None  # why it is over; None while it lives
        self.over = Latch()
        self.telling: Job[None] | None = None  # that it is given up as lost
        self._anchor: int | None = None  # the greatest of sent - T x 0.99 over all anchors
        self.expires = 0  # deadline in cluster time, ms
        self.renewed = 0  # when the last command was sent that is known to have renewed it
        self.trip = at.took  # smoothed round trip
        self.at_risk = Latch()  # set while a renewal is overdue
        self.look = 0  # when the deadlines are looked at next
        self._timer: asyncio.TimerHandle | None = None

        self._owners = 0
        self.holds: dict[int, Hold] = {}
        self.timed: set[Hold] = set()  # those with deadlines of their own
        self.early: dict[int, session_pb.EventsResponse] = {}

        self._tasks: set[asyncio.Task[Any]] = set()
        self.batcher = Batcher(self)
        self.outcomes = Outcomes(self)
        self.listener = Listener(self)
        self.anchor(at, answer.stamp, answer.deadlines)

    def begin(self) -> None:
        """Begin to live; in the engine's thread."""
        self.spawn(self._keep_alive())
        self.spawn(self.listener.run())
        self.inspect()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task that ends with the session; from the engine's thread."""
        task = self.engine.spawn(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.ended is not None:
            task.cancel()

    def new_owner(self) -> Owner:
        """Make an owner with a key from a counter, which is never given twice (HF-11.5)."""
        with self.lock:
            self._owners += 1
            return Owner(self, str(self._owners))

    # Deadlines.

    def anchor(
        self, at: Timing, stamp: types_pb.Stamp | None, d: types_pb.Deadlines | None
    ) -> None:
        """Take an answer to a command as an anchor: at the instant it was sent, cluster time had
        not passed its stamp (HF-2.9). Every anchor bounds every deadline from below, so only the
        greatest is kept."""
        if stamp is None:
            return
        with self.lock:
            anchor = at.sent - stamp.time_ms * RATIO
            if self._anchor is None or anchor > self._anchor:
                self._anchor = anchor
            self.trip += (at.took - self.trip) // 8
            if d is None:
                return
            self.raise_deadline(d)
            if d.session_ms > 0 and at.sent >= self.renewed:
                self.renewed = at.sent
                if self.at_risk.is_set():
                    self.at_risk = Latch()

    def raise_deadline(self, d: types_pb.Deadlines) -> None:
        """Note a deadline of the session; deadlines only rise."""
        self.expires = max(self.expires, d.session_ms)

    def usable(self, deadline_ms: int) -> int:
        """Until when a deadline in cluster time may be relied on."""
        margin = max(MARGIN_LEAST, 2 * self.trip) + self._margin
        return (self._anchor or 0) + deadline_ms * RATIO - margin

    def inspect(self) -> None:
        """Raise the alarm when a renewal is overdue, and end what has passed its deadline; look
        again in time, and at least every second, because timers stand still while the machine
        sleeps. In the engine's thread."""
        if self._timer is not None:
            self._timer.cancel()
        delay = self.inspect_once()
        if delay is not None:
            self._timer = self.engine.loop.call_later(delay / 1e9, self.inspect)

    def inspect_once(self) -> int | None:
        """Look once, and say after how many nanoseconds to look again; None after the end."""
        with self.lock:
            now = self.clock()
            if self.ended is not None:
                return None
            if self.usable(self.expires) <= now:
                self.lose(LostReason.EXPIRED, "no renewal got through in time", tell=True)
                return None
            overdue = self.renewed + self.ttl // 2
            if not self.at_risk.is_set() and overdue <= now:
                self.at_risk.set()
                self._log.warning(
                    "renewal is overdue; locks are at risk: session %d, last %.1f s ago: %s",
                    self.id,
                    (now - self.renewed) / 1e9,
                    self.transport.last,
                )
            look = min(now + LOOK_AT_LEAST, self.usable(self.expires))
            if not self.at_risk.is_set():
                look = min(look, overdue)
            for hold in list(self.timed):
                if hold.check() is None:
                    look = min(look, hold.usable())
            self.look = max(look, now + 10**6)
            return self.look - now

    def nudge(self) -> None:
        """A deadline is nearer than the next look."""
        self.engine.soon(self.inspect)

    # Renewal.

    async def _keep_alive(self) -> None:
        """Renew at a third of the ttl after the last command that renewed, with 10 % of jitter, and
        sooner again after a failure (HF-11.1)."""
        kind = Kind(
            control=True, bypass=True, timeout=max(0.1, min(ATTEMPT_TIMEOUT, self.ttl / 6e9))
        )
        request = session_pb.RenewSessionRequest(session_id=self.id)

        def renew(n: Clients) -> Any:
            return n.session.renew_session(request)

        failures = 0
        while True:
            await asyncio.sleep(max(0.0, self.until_renewal(failures)))
            if self.until_renewal(failures) > self.ttl / 10e9:
                continue  # another command has renewed it meanwhile
            try:
                answer, at = await self.transport.once(kind, renew)
            except HoldfastError as e:
                failures += 1
                self.refused(e)
                continue
            failures = 0
            self.anchor(at, answer.stamp, answer.deadlines)
            self.same_history(answer.cluster)

    def until_renewal(self, failures: int) -> float:
        """Seconds to wait before the next renewal."""
        if failures > 0:
            return min(backoff(failures), random.random() * self.ttl / 10e9)
        with self.lock:
            due = self.renewed + self.ttl / 3 * (0.9 + 0.2 * random.random())
            return (due - self.clock()) / 1e9

    # The end.

    def refused(self, e: HoldfastError) -> None:
        """Look at the error of any call of the session: some say that it is over."""
        with self.lock:
            if isinstance(e, SessionExpiredError):
                self.lose(lost_by_name(e.ended), e.message, tell=False)
            elif isinstance(e, SessionNotFoundError):
                self.lose(LostReason.FORKED, e.message, tell=False)

    def same_history(self, ref: types_pb.ClusterRef | None) -> None:
        """End the session if the cluster was restored since it was opened (HF-6.2)."""
        if ref is not None and ref.cluster_id and ref.epoch > self.epoch:
            with self.lock:
                self.lose(LostReason.FORKED, f"epoch {ref.epoch} began", tell=False)

    def lose(self, reason: LostReason, detail: str, *, tell: bool) -> None:
        """End the session for good: what it held is lost, what it asked for fails; and if the server
        may not know yet it is told, so that the next in line need not wait for the deadline."""
        with self.lock:
            if self.ended is not None:
                return
            why = error(
                Reason.SESSION_EXPIRED, f"session {self.id} is lost: {reason.value}: {detail}"
            )
            self.end(why, reason, detail)
        self._log.error("session %d is lost: %s: %s", self.id, reason.value, detail)
        if tell:
            self.telling = self.engine.job(self._tell())

    async def _tell(self) -> None:
        try:
            await within(self.close_at_server(abandon=True), CLOSE_TIMEOUT)
        except (HoldfastError, asyncio.TimeoutError) as e:  # it ends by its deadline then
            self._log.info("session %d could not be given up: %s", self.id, e)

    def end(self, why: HoldfastError, reason: LostReason, detail: str) -> None:
        """Stop everything of the session in this process."""
        self.ended = why
        for hold in list(self.holds.values()):
            hold.lose(reason, detail)
        self.batcher.fail_all(why)
        self.over.set()
        self.engine.soon(self._cancel_tasks)

    def _cancel_tasks(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()

    def lost_one(self, hold: Hold) -> None:
        """A hold was lost."""
        self._on_loss(hold)
        hold.loss.set()

    async def close(self) -> None:
        """End the session and give everything back; in the engine."""
        with self.lock:
            if self.ended is not None:
                return
            self.end(
                error(Reason.CLOSED, "the client is closed"),
                LostReason.CLOSED,
                "the client was closed",
            )
        await self.close_at_server(abandon=False)

    async def close_at_server(self, *, abandon: bool) -> None:
        request = session_pb.CloseSessionRequest(session_id=self.id, abandon=abandon)

        def close(n: Clients) -> Any:
            return n.session.close_session(request)

        # If it is over, that is what was wanted.
        with contextlib.suppress(SessionExpiredError, SessionNotFoundError):
            await self.transport.retrying(Kind(control=True, bypass=True), close)

    def fork(self) -> None:
        """This is the child of a fork: nothing that the parent holds is held here."""
        self.lock = threading.RLock()
        detail = "this process is a fork of the one that holds it"
        if self.ended is None:
            self.ended = error(Reason.SESSION_EXPIRED, f"session {self.id} is lost: {detail}")
        for hold in list(self.holds.values()):
            hold.lost = LostError(hold.name, hold.token, LostReason.FORKED, detail)
            hold.loss = Latch()
            hold.loss.set()
        self.holds.clear()
        self.timed.clear()
