"""The events of a session: outcomes of waits, losses, its end; and how a broken stream is repaired.

A stream goes on from its cursor, at any node. One that begins anew tells its index: what was queued
at or before that index is asked for again by its id, and grants from before it are looked at. So a
stream may be lost at any time and the answer is still true.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from ._convert import lost_in
from ._errors import CompactedError, HoldfastError, retryable
from ._gen.holdfast.v1 import lock_pb, session_pb
from ._gen.holdfast.v1.session_pb import SessionEventKind
from ._hold import Hold, renew_op
from ._retry import pause
from ._transport import Clients, Kind

if TYPE_CHECKING:
    from ._session import Session


class Listener:
    """Reads the events of one session."""

    def __init__(self, session: Session) -> None:
        self._s = session
        self.begun = False  # a stream was begun, and what happened after `began_at` will be told
        self.began_at = 0  # index from which the present chain of cursors goes on
        self._cursor = ""
        self._looking = False

    async def run(self) -> None:
        """Read one stream after the other, each from where the last one broke off."""
        failures = 0
        while True:
            heard = False
            anew = not self._cursor
            request = session_pb.EventsRequest(session_id=self._s.id, cursor=self._cursor)

            def begin(n: Clients, request: session_pb.EventsRequest = request) -> Any:
                return n.session.events(request)

            failure: HoldfastError | None = None
            try:
                async with contextlib.aclosing(self._s.transport.stream(begin)) as stream:
                    async for event in stream:
                        heard = True
                        self._s.same_history(event.cluster)
                        self._take(event, anew)
                        anew = False
            except HoldfastError as e:
                failure = e
                if isinstance(e, CompactedError):
                    self._cursor = ""
                self._s.refused(e)
            failures = 1 if heard else failures + 1
            await asyncio.sleep(pause(failures, failure))

    def _take(self, e: session_pb.EventsResponse, anew: bool) -> None:
        s = self._s
        with s.lock:
            if s.ended is not None:
                return
            if e.cursor:
                self._cursor = e.cursor
            if anew:
                self._begin(e.stamp.index if e.stamp else 0)
            if e.kind == SessionEventKind.STATE:
                if e.deadlines:
                    s.raise_deadline(e.deadlines)
            elif e.kind == SessionEventKind.OUTCOME:
                op = s.batcher.unfinished.get(e.request_id)
                if op is not None:
                    s.batcher.answered(op)
                    s.outcomes.outcome(op, e)
                    s.batcher.pump()
            elif e.kind == SessionEventKind.LOST and e.grant:
                hold = s.holds.get(e.grant.id)
                if hold is not None:
                    hold.lose(lost_in(e.ended), e.detail)
                elif s.batcher.unfinished:
                    s.early[e.grant.id] = e  # its grant may be in an answer under way
            elif e.kind == SessionEventKind.ENDED:
                s.lose(lost_in(e.ended), e.detail, tell=False)
            if not s.batcher.unfinished:
                s.early.clear()

    def _begin(self, index: int) -> None:
        """Events begin anew at an index: whatever happened up to there was not told.

        Requests that wait are repeated, which tells their outcome. Grants are looked at with a
        renewal, which an ended one refuses; but a lease is for its holder alone to renew, so those
        that have one are looked at with a read.
        """
        s = self._s
        self.begun, self.began_at = True, index
        for op in s.batcher.unfinished.values():
            if op.waiting and op.queued_at <= index:
                s.batcher.enqueue(op)
        for hold in s.holds.values():
            if hold.granted_at >= index:
                continue
            if hold.lease_ms > 0:
                hold.untold = index
            else:
                s.batcher.enqueue(renew_op(hold))
        s.batcher.pump()
        if not self._looking:
            self._looking = True
            s.spawn(self._look_at_leases())

    async def _look_at_leases(self) -> None:
        """Look, one by one, whether grants with a lease whose end may not have been told are held.
        One that is not is renewed: that cannot succeed any more, and tells why it ended."""
        failures = 0
        while True:
            hold, index, name = self._untold()
            if hold is None:
                return
            failure: HoldfastError | None = None
            held = True
            try:
                held = await self._looks_held(name, hold.id)
            except HoldfastError as e:
                failure = e
            with self._s.lock:
                if retryable(failure) or (not held and (hold.converting or not hold.names(name))):
                    failures += 1  # no answer; or the name was dropped, and not the grant
                else:
                    failures = 0
                    if hold.untold == index:
                        hold.untold = 0
                    if failure is None and not held:
                        self._s.batcher.enqueue(renew_op(hold))
                        self._s.batcher.pump()
            if failures:
                await asyncio.sleep(pause(failures, failure))

    def _untold(self) -> tuple[Hold | None, int, str]:
        with self._s.lock:
            for hold in self._s.timed:
                if hold.untold:
                    return hold, hold.untold, hold.claims[0].name
            self._looking = False
            return None, 0, ""

    async def _looks_held(self, name: str, grant_id: int) -> bool:
        """Whether a grant holds a name. Where more hold it than are shown it may."""
        request = lock_pb.GetLockRequest(name=name, namespace=self._s.namespace)

        def ask(n: Clients) -> Any:
            return n.lock.get_lock(request)

        answer, _ = await self._s.transport.once(Kind(), ask)
        lock = answer.lock
        if lock is None:
            return False
        if any(h.grant is not None and h.grant.id == grant_id for h in lock.holders):
            return True
        return bool(lock.holders_total > len(lock.holders))
