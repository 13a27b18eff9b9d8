"""Reads: one lock, pages of locks and sessions, events, explanations; and what operators do."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ._convert import (
    cycle_in,
    event_in,
    explanation_in,
    lock_in,
    mode_in,
    name_in,
    seconds_in,
    session_in,
    stamp_in,
)
from ._core import Core
from ._engine import Engine, Face, Latch
from ._errors import CompactedError, HoldfastError, retryable
from ._gen.holdfast.v1 import admin_pb, cluster_pb, lock_pb, session_pb
from ._retry import pause
from ._transport import ADMIN, ADMIN_TIMEOUT, READ, Clients, Kind, Transport, parse_endpoint
from ._types import (
    Claim,
    CycleStep,
    Explanation,
    Leader,
    LockEvent,
    LockInfo,
    Mode,
    SessionInfo,
    Stamp,
)

T = TypeVar("T")
BUFFER = 1024  # events that wait to be read


async def get_lock(core: Core, face: Face, name: str, *, stale: bool = False) -> LockInfo:
    request = lock_pb.GetLockRequest(name=name, namespace=core.config.namespace, stale=stale)

    def ask(n: Clients) -> Any:
        return n.lock.get_lock(request)

    answer = await core.call(face, f"get {name}", READ, ask)
    return lock_in(answer.lock)


async def explain(core: Core, face: Face, request: lock_pb.ExplainWaitRequest) -> Explanation:
    def ask(n: Clients) -> Any:
        return n.lock.explain_wait(request)

    return explanation_in(await core.call(face, "explain", READ, ask))


class End(Exception):
    """There is no more."""


class Pages(Generic[T]):
    """A list that is fetched page by page, as it is read."""

    def __init__(self, fetch: Callable[[str], Any]) -> None:
        self._fetch = fetch
        self._token = ""
        self._items: deque[T] = deque()
        self._more = True

    async def next(self, face: Face) -> T:
        while not self._items:
            if not self._more:
                raise End
            items, self._token = await self._fetch(self._token)
            self._more = bool(self._token)
            self._items.extend(items)
        return self._items.popleft()


def list_locks(
    core: Core, face: Face, prefix: str, *, page_size: int, stale: bool
) -> Pages[LockInfo]:
    async def fetch(token: str) -> tuple[Sequence[LockInfo], str]:
        request = lock_pb.ListLocksRequest(
            prefix=prefix,
            namespace=core.config.namespace,
            page_size=page_size,
            page_token=token,
            stale=stale,
        )

        def ask(n: Clients) -> Any:
            return n.lock.list_locks(request)

        answer = await core.call(face, f"list {prefix}", READ, ask)
        return [lock_in(lock) for lock in answer.locks], answer.next_page_token

    return Pages(fetch)


def list_sessions(core: Core, face: Face, *, page_size: int, stale: bool) -> Pages[SessionInfo]:
    async def fetch(token: str) -> tuple[Sequence[SessionInfo], str]:
        request = session_pb.ListSessionsRequest(
            namespace=core.config.namespace, page_size=page_size, page_token=token, stale=stale
        )

        def ask(n: Clients) -> Any:
            return n.session.list_sessions(request)

        answer = await core.call(face, "list sessions", READ, ask)
        return [session_in(s) for s in answer.sessions], answer.next_page_token

    return Pages(fetch)


class Watcher:
    """Reads lock events in the engine, from node to node, and keeps them until they are read."""

    def __init__(self, core: Core, prefix: str, cursor: str) -> None:
        core.here()
        self._engine: Engine
        self._engine, transport = core.start()
        self._request = lock_pb.WatchLocksRequest(
            prefix=prefix, namespace=core.config.namespace, cursor=cursor
        )
        self._queue: deque[LockEvent | HoldfastError] = deque()
        self._arrived = Latch()
        self._room: asyncio.Event | None = None
        self._job = self._engine.job(self._read(transport))

    async def next(self, face: Face) -> LockEvent:
        """The next event; raises the error that ends the watch, or tells of a gap in it."""
        while True:
            arrived = self._arrived
            if self._queue:
                item = self._queue.popleft()
                if len(self._queue) == BUFFER // 2:
                    self._engine.soon(self._make_room)
                if isinstance(item, HoldfastError):
                    raise item
                return item
            if self._job.done.is_set():
                self._job.outcome()
                raise End
            await face.wait(arrived, self._job.done)

    def close(self) -> None:
        self._job.cancel()

    def _put(self, item: LockEvent | HoldfastError) -> None:
        arrived, self._arrived = self._arrived, Latch()
        self._queue.append(item)
        arrived.set()

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()

    async def _read(self, transport: Transport) -> None:
        failures = 0

        def begin(n: Clients) -> Any:
            return n.lock.watch_locks(self._request)

        while True:
            failure: HoldfastError | None = None
            try:
                async with contextlib.aclosing(transport.stream(begin)) as stream:
                    async for e in stream:
                        failures = 0
                        if e.cursor:
                            self._request.cursor = e.cursor
                        self._put(event_in(e))
                        while len(self._queue) >= BUFFER:
                            self._room = asyncio.Event()
                            await self._room.wait()
            except HoldfastError as e:
                failure = e
                if isinstance(e, CompactedError) and self._request.cursor:
                    self._request.cursor = ""
                    self._put(e)
                    continue
                if not retryable(e):
                    raise
            failures += 1
            await asyncio.sleep(pause(failures, failure))


async def leader(core: Core, face: Face, name: str, *, stale: bool = False) -> Leader | None:
    """Who leads an election: the exclusive holder of its lock."""
    info = await get_lock(core, face, name, stale=stale)
    for h in info.holders:
        if h.mode is Mode.EXCLUSIVE and not h.implied:
            return Leader(h.metadata, h.grant.token, h.session_id)
    return None


class Observer:
    """Sees the present leader and then each new one."""

    def __init__(self, core: Core, name: str) -> None:
        self._core, self._name = core, name
        self._watcher = Watcher(core, name, "")
        self._last = 0

    async def next(self, face: Face) -> Leader:
        while True:
            try:
                if not self._may_change(await self._watcher.next(face)):
                    continue
            except CompactedError:
                pass  # events were missed: look
            found = await leader(self._core, face, self._name)
            if found is not None and found.token > self._last:
                self._last = found.token
                return found

    def _may_change(self, e: LockEvent) -> bool:
        if e.kind == "PROGRESS":
            return True
        return e.kind in ("GRANTED", "CONVERTED") and any(c.name == self._name for c in e.claims)

    def close(self) -> None:
        self._watcher.close()


@dataclass(frozen=True)
class Member:
    """One node of the cluster."""

    node_id: str
    peer_address: str
    client_url: str
    """Empty if it could not be asked."""
    role: str
    """`leader`, `follower` or `learner`."""
    reachable: bool
    applied_index: int


@dataclass(frozen=True)
class Status:
    """The cluster as one node sees it."""

    cluster_id: str
    epoch: int
    node_id: str
    leader_id: str
    """Empty if none is known."""
    term: int
    members: tuple[Member, ...]
    stamp: Stamp
    state_hash: str
    semantics_version: int
    sessions: int
    grants: int
    waiting: int
    server_version: str
    uptime: float
    healthy: bool
    """There is a leader, and it reaches a majority."""


@dataclass(frozen=True)
class Deadlock:
    """A cycle that was resolved."""

    cycle: tuple[CycleStep, ...]
    victim: CycleStep | None
    """None if it was resolved by turning an edge of the queue."""
    stamp: Stamp
    age: float


class Operator:
    """The calls of operators. Done twice they do the same, so they are repeated freely."""

    def __init__(self, core: Core, face: Face) -> None:
        self._core, self._face = core, face

    async def _do(self, what: str, ask: Callable[[Clients], Any]) -> Any:
        return await self._core.call(self._face, what, ADMIN, ask, ADMIN_TIMEOUT)

    async def revoke_grant(self, grant_id: int, reason: str) -> None:
        request = admin_pb.RevokeGrantRequest(grant_id=grant_id, reason=reason)
        await self._do(f"revoke grant {grant_id}", lambda n: n.admin.revoke_grant(request))

    async def revoke_session(self, session_id: int, reason: str) -> None:
        request = admin_pb.RevokeSessionRequest(session_id=session_id, reason=reason)
        await self._do(f"revoke session {session_id}", lambda n: n.admin.revoke_session(request))

    async def deadlocks(self, most: int, stale: bool) -> list[Deadlock]:
        request = admin_pb.ListDeadlocksRequest(
            namespace=self._core.config.namespace, page_size=most, stale=stale
        )
        answer = await self._do("list deadlocks", lambda n: n.admin.list_deadlocks(request))
        return [_deadlock_in(d) for d in answer.deadlocks]

    async def status(self, endpoint: str) -> Status:
        request = cluster_pb.GetStatusRequest()

        def ask(n: Clients) -> Any:
            return n.cluster.get_status(request)

        if not endpoint:
            return _status_in(await self._do("status", ask))
        base = parse_endpoint(endpoint)

        async def ask_one(transport: Transport) -> Any:
            answer, _ = await transport.attempt(transport.node(base), Kind(), ask)
            return answer

        return _status_in(await self._core.ask(self._face, "status", ask_one))

    async def add_member(self, node_id: str, peer_address: str) -> None:
        request = cluster_pb.AddMemberRequest(node_id=node_id, peer_address=peer_address)
        await self._do(f"add member {node_id}", lambda n: n.cluster.add_member(request))

    async def promote_member(self, node_id: str) -> None:
        request = cluster_pb.PromoteMemberRequest(node_id=node_id)
        await self._do(f"promote member {node_id}", lambda n: n.cluster.promote_member(request))

    async def remove_member(self, node_id: str) -> None:
        request = cluster_pb.RemoveMemberRequest(node_id=node_id)
        await self._do(f"remove member {node_id}", lambda n: n.cluster.remove_member(request))

    async def transfer_leadership(self, node_id: str) -> str:
        request = cluster_pb.TransferLeadershipRequest(node_id=node_id)
        answer = await self._do(
            "transfer leadership", lambda n: n.cluster.transfer_leadership(request)
        )
        return str(answer.leader_id)


def _deadlock_in(d: admin_pb.Deadlock) -> Deadlock:
    victim = None
    if d.victim is not None:
        v = d.victim
        victim = CycleStep(v.session_id, v.owner, v.request_id, Claim(v.name, mode_in(v.mode)))
    return Deadlock(cycle_in(d.cycle), victim, stamp_in(d.stamp), seconds_in(d.age))


def _status_in(s: cluster_pb.GetStatusResponse) -> Status:
    members = tuple(
        Member(
            m.node_id,
            m.peer_address,
            m.client_url,
            name_in(m.role).lower(),
            m.reachable,
            m.applied_index,
        )
        for m in s.members
    )
    return Status(
        s.cluster.cluster_id if s.cluster else "",
        s.cluster.epoch if s.cluster else 0,
        s.node_id,
        s.leader_id,
        s.term,
        members,
        stamp_in(s.stamp),
        s.state_hash,
        s.semantics_version,
        s.sessions,
        s.grants,
        s.waiting,
        s.server_version,
        seconds_in(s.uptime),
        s.healthy,
    )
