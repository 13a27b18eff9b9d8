"""A session on a virtual clock, in the test's own loop, over a transport that a test scripts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from protobuf import Oneof
from protobuf.wkt.google.protobuf.duration_pb import Duration

from holdfast._batch import Op
from holdfast._engine import Job, Latch
from holdfast._errors import HoldfastError
from holdfast._gen.holdfast.v1 import lock_pb, session_pb, types_pb
from holdfast._hold import Hold, Owner, acquire_op
from holdfast._session import Session
from holdfast._transport import Timing
from holdfast._types import Claim, DeadlockAction

MS = 10**6
CLUSTER = types_pb.ClusterRef(cluster_id="c", epoch=1)


class LoopEngine:
    """The engine's part, played by the loop of the test."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._jobs: set[Any] = set()

    def soon(self, f: Callable[..., object], *args: object) -> bool:
        self.loop.call_soon(f, *args)
        return True

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        return self.loop.create_task(coroutine)

    def job(self, coroutine: Any) -> Job[Any]:
        return Job(self, coroutine)  # type: ignore[arg-type]


class Script:
    """Answers calls of a session: each method is a function that a test replaces."""

    def __init__(self) -> None:
        self.last: HoldfastError | None = None
        self.batches: list[lock_pb.ExecuteRequest] = []
        self.answers: list[Callable[[lock_pb.ExecuteRequest], Any]] = []
        self.answered = asyncio.Event()
        self.closed: list[bool] = []
        self.renewals: list[Callable[[], Any]] = []
        self.now: Callable[[], int] = lambda: 0
        self.trip = 0
        self.session = self.lock = self

    async def once(self, kind: Any, call: Any) -> tuple[Any, Timing]:
        sent = self.now()
        answer = await call(self)
        return answer, Timing(sent, self.trip)

    retrying = once

    async def stream(self, begin: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    async def execute(self, request: lock_pb.ExecuteRequest) -> lock_pb.ExecuteResponse:
        self.batches.append(lock_pb.ExecuteRequest.from_binary(request.to_binary()))
        while not self.answers:
            self.answered.clear()
            await self.answered.wait()
        made = self.answers.pop(0)(request)
        if isinstance(made, Exception):
            raise made
        return made

    def answer(self, f: Callable[[lock_pb.ExecuteRequest], Any]) -> None:
        self.answers.append(f)
        self.answered.set()

    async def renew_session(self, request: Any) -> session_pb.RenewSessionResponse:
        made = self.renewals.pop(0)()
        if isinstance(made, Exception):
            raise made
        return made

    async def close_session(self, request: Any) -> session_pb.CloseSessionResponse:
        self.closed.append(request.abandon)
        return session_pb.CloseSessionResponse(cluster=CLUSTER)


class World:
    """One session, opened at time 0 with T = 1000 ms and a ttl of 30 s."""

    def __init__(self, *, ttl: int = 30, trip_ms: int = 0, margin: float = 0.0) -> None:
        self.now = 10**12
        self.start = self.now
        self.script = Script()
        self.script.now = lambda: self.now
        self.lost: list[Hold] = []
        answer = session_pb.OpenSessionResponse(
            session_id=7, ttl=Duration(seconds=ttl),
            deadlines=types_pb.Deadlines(session_ms=1000 + ttl * 1000),
            stamp=types_pb.Stamp(index=5, time_ms=1000), cluster=CLUSTER,
        )
        self.session = Session(
            answer, Timing(self.now, trip_ms * MS), engine=LoopEngine(),  # type: ignore[arg-type]
            transport=self.script, clock=lambda: self.now,  # type: ignore[arg-type]
            log=logging.getLogger("holdfast.test"), namespace="", ttl=ttl, margin=margin,
            on_loss=self.lost.append,
        )

    def at(self, seconds: float) -> None:
        """Go to an instant, counted from the opening."""
        self.now = self.start + int(seconds * 10**9)

    def submit(self, name: str = "a", owner: Owner | None = None, **more: Any) -> Op:
        op = acquire_op(
            owner or self.session.new_owner(), (Claim(name),), more.pop("wait", 10.0),
            priority=0, lease=more.pop("lease", None), max_hold=None, lock_delay=0,
            on_deadlock=DeadlockAction.ABORT_WAIT, reentrant=True, metadata="",
        )
        self.session.batcher.submit(op)
        return op


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def granted(grant_id: int, *, session_ms: int = 31000, time_ms: int = 1000, index: int = 10,
            lease_ms: int = 0, depth: int = 1) -> lock_pb.AcquireResponse:
    return lock_pb.AcquireResponse(
        outcome=types_pb.Outcome.GRANTED,
        grant=types_pb.Grant(
            id=grant_id, token=grant_id, depth=depth,
            deadlines=types_pb.Deadlines(session_ms=session_ms, lease_ms=lease_ms),
        ),
        stamp=types_pb.Stamp(index=index, time_ms=time_ms),
    )


def queued(index: int = 10) -> lock_pb.AcquireResponse:
    return lock_pb.AcquireResponse(
        outcome=types_pb.Outcome.QUEUED, position=1,
        stamp=types_pb.Stamp(index=index, time_ms=1000),
    )


def results(*made: tuple[str, Any], session_ms: int = 31000) -> lock_pb.ExecuteResponse:
    return lock_pb.ExecuteResponse(
        results=[lock_pb.OperationResult(result=Oneof(field, value)) for field, value in made],  # type: ignore[arg-type]
        deadlines=types_pb.Deadlines(session_ms=session_ms), cluster=CLUSTER,
    )


def done(latch: Latch) -> bool:
    return latch.is_set()
