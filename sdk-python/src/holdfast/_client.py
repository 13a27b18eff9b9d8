"""The blocking client: the core, waited for with the thread."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar

from typing_extensions import ParamSpec, Self, Unpack

from . import _reads
from ._core import Core, Options
from ._engine import Blocking, drive
from ._errors import HeldError, WaitLimitError
from ._gen.holdfast.v1.lock_pb import ExplainWaitRequest
from ._public import (
    AcquireOptions,
    ClientOptions,
    ConvertOptions,
    HandleBase,
    LockBase,
    Sign,
    core_of,
    name_for,
)
from ._reads import Deadlock, Status
from ._types import Claim, Explanation, Leader, LockEvent, LockInfo, Mode, SessionInfo

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_face = Blocking()


class Signal(Sign):
    """Something that may happen to a lock."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it; False if the time was over before."""
        return drive(_face.wait(self._latch, timeout=timeout))


class Handle(HandleBase):
    """A lock that is held, and a context manager that releases it.

    If the lock was lost within a `with` block that raises nothing else, its end raises `LostError`.
    """

    @property
    def lost(self) -> Signal:
        """Set when the lock is lost. A release is no loss."""
        return Signal(self._use.hold.loss)

    @property
    def at_risk(self) -> Signal:
        """Set while a renewal is overdue: half of the ttl has passed since the last one."""
        return Signal(self._use.hold.s.at_risk)

    def release(self) -> None:
        """Give the lock back. It may be called again, and on a lock that is lost: both do nothing.

        If it raises, the release goes on in the background until it succeeds or the session ends.
        """
        drive(self._core.release(_face, self._use))

    def renew(self) -> None:
        """Raise the deadline of the lease. Locks without a lease are renewed by themselves."""
        drive(self._core.renew(_face, self._use))

    def upgrade(self, **options: Unpack[ConvertOptions]) -> None:
        """Make every name exclusive, waiting for the others to leave.

        Two holders of a shared lock who both upgrade are a deadlock; one gets `DeadlockVictimError`
        and stays shared.
        """
        o = Options(**options)
        drive(self._core.convert_all(_face, self._use, Mode.EXCLUSIVE, o))

    def downgrade(self) -> None:
        """Make every name shared, at once, and let other readers in."""
        drive(self._core.convert_all(_face, self._use, Mode.SHARED, Options()))

    def convert(self, name: str, mode: Mode, **options: Unpack[ConvertOptions]) -> None:
        """Change the mode of one name. It waits if others are in the way, keeping the old mode."""
        drive(self._core.convert(_face, self._use, name, mode, Options(**options)))

    def drop(self, name: str) -> None:
        """Give up one of several names and keep the others."""
        o = Options()
        drive(self._core.convert(_face, self._use, name, Mode.EXCLUSIVE, o, drop=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        e: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        drive(self._core.leave(_face, self._use, e is not None))


class Holding:
    """A `with` block that holds a lock: it acquires on entry and releases on exit."""

    def __init__(self, lock: Lock, o: Options) -> None:
        self._lock, self._options = lock, o
        self._handles: list[Handle] = []

    def __enter__(self) -> Handle:
        handle = self._lock._acquire(self._options)
        self._handles.append(handle)
        return handle

    def __exit__(
        self,
        kind: type[BaseException] | None,
        e: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handles.pop().__exit__(kind, e, traceback)


class Lock(LockBase):
    """One or more names to acquire together, each in a mode. Making one asks nobody."""

    def acquire(self, **options: Unpack[AcquireOptions]) -> Handle:
        """Wait until the lock is held, its wait limit passes (`WaitLimitError`) or it is cancelled.

        The calling thread is the owner: what it holds already is re-entered without a call, and it
        never waits for itself. While nobody can be reached it goes on trying; but if no session can
        be opened within the call timeout, it fails (`UnavailableError`).
        """
        return self._acquire(self._defaults.changed(**options))

    def _acquire(self, o: Options) -> Handle:
        return Handle(self._core, drive(self._core.acquire(_face, self._claims, o)))

    def try_acquire(self, **options: Unpack[AcquireOptions]) -> Handle | None:
        """Take the lock if it is free; None if it is held."""
        try:
            return self._acquire(self._defaults.changed(**{**options, "wait": 0.0}))
        except HeldError:
            return None

    def hold(self, **options: Unpack[AcquireOptions]) -> Holding:
        """Hold the lock for the length of a `with` block."""
        return Holding(self, self._defaults.changed(**options))


class Election:
    """Elects one leader among those who campaign under a name.

    The leader is the holder of the lock of that name; what it announces is the metadata of its grant.
    """

    def __init__(self, core: Core, name: str, o: Options) -> None:
        self._core, self.name, self._options = core, name, o
        self._lead: Handle | None = None

    def campaign(self, value: str = "", **options: Unpack[AcquireOptions]) -> Handle:
        """Wait until this client leads, and announce a value. Lead while the handle is held."""
        o = self._options.changed(**{**options, "metadata": value, "reentrant": False})
        lock = Lock(self._core, (Claim(self.name),), o)
        self._lead = lock._acquire(o)
        return self._lead

    def resign(self) -> None:
        """Give leadership up, if this client has it through this election; the next one leads."""
        lead, self._lead = self._lead, None
        if lead is not None:
            lead.release()

    def leader(self, *, stale: bool = False) -> Leader | None:
        """Who leads; None if nobody does."""
        return drive(_reads.leader(self._core, _face, self.name, stale=stale))

    def observe(self) -> Iterator[Leader]:
        """The present leader and then each new one. It may skip those that led for a moment."""
        observer = _reads.Observer(self._core, self.name)
        try:
            while True:
                yield drive(observer.next(_face))
        finally:
            observer.close()


class Admin:
    """What operators do."""

    def __init__(self, core: Core) -> None:
        self._do = _reads.Operator(core, _face)

    def revoke_grant(self, grant_id: int, reason: str = "") -> None:
        """End a grant, whoever holds it. Its holder is told the reason."""
        drive(self._do.revoke_grant(grant_id, reason))

    def revoke_session(self, session_id: int, reason: str = "") -> None:
        """End a session with all it holds and waits for."""
        drive(self._do.revoke_session(session_id, reason))

    def deadlocks(self, most: int = 100, *, stale: bool = False) -> list[Deadlock]:
        """Resolved deadlocks, the newest first; the server keeps the last 1000."""
        return drive(self._do.deadlocks(most, stale))

    def status(self, endpoint: str = "") -> Status:
        """The cluster as a node sees it: the one at an endpoint, or whichever answers."""
        return drive(self._do.status(endpoint))

    def add_member(self, node_id: str, peer_address: str) -> None:
        """Take a started node in: as a learner first, as a voter once it has caught up."""
        drive(self._do.add_member(node_id, peer_address))

    def promote_member(self, node_id: str) -> None:
        """Make a learner a voter."""
        drive(self._do.promote_member(node_id))

    def remove_member(self, node_id: str) -> None:
        """Take a node out."""
        drive(self._do.remove_member(node_id))

    def transfer_leadership(self, node_id: str = "") -> str:
        """Hand leadership to a voter, or to one of the leader's choice. Returns the new leader's id,
        empty if it is not known yet."""
        return drive(self._do.transfer_leadership(node_id))


class Client:
    """Talks to one cluster in one namespace. A program needs one; any thread may use it.

    It connects with its first use, opens its session with the first acquire, and renews it from a
    thread of its own until `close`. After a fork the child has a client that holds nothing.
    """

    def __init__(self, *endpoints: str, **options: Unpack[ClientOptions]) -> None:
        """The endpoints are base URLs of the nodes, such as `http://127.0.0.1:7480`. Names are
        resolved again after failures. Options: see `ClientOptions`."""
        self._core = core_of(endpoints, options)

    def lock(self, name: str, **defaults: Unpack[AcquireOptions]) -> Lock:
        """Name a lock, exclusive unless `shared` or `mode` say otherwise."""
        return Lock(self._core, (Claim(name),), Options(**defaults))

    def lock_all(self, *locks: Lock | str, **defaults: Unpack[AcquireOptions]) -> Lock:
        """Several locks, granted all at once or not at all, so that no order can deadlock."""
        claims = tuple(
            c for lock in locks for c in ((Claim(lock),) if isinstance(lock, str) else lock.claims)
        )
        return Lock(self._core, claims, Options(**defaults))

    def locked(
        self,
        name: str | Callable[..., str],
        *,
        on_busy: str = "raise",
        **options: Unpack[AcquireOptions],
    ) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
        """Decorate a function that runs while the lock is held.

        The name may be a template of the arguments, such as `"orders/{order_id}"`, or a function of
        them. With `on_busy="skip"` a call that cannot have the lock returns None instead of raising;
        then it does not wait unless a `wait` is given.
        """
        if on_busy not in ("raise", "skip"):
            raise ValueError(f"on_busy: {on_busy!r} is neither 'raise' nor 'skip'")
        if on_busy == "skip":
            options.setdefault("wait", 0.0)

        def decorate(fn: Callable[P, R]) -> Callable[P, R | None]:
            @functools.wraps(fn)
            def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
                lock = self.lock(name_for(name, fn, args, kwargs))
                try:
                    handle = lock.acquire(**options)
                except (HeldError, WaitLimitError):
                    if on_busy == "skip":
                        return None
                    raise
                with handle:
                    return fn(*args, **kwargs)

            return call

        return decorate

    def run(self, fn: Callable[[], T]) -> T:
        """Run a function as one line of work: what it acquires and still holds is released at its end.

        If it fails because it was the victim of a deadlock, it is run again after a pause, so it must
        be able to begin anew. Within another `run` that is left to the outermost one.
        """

        async def call() -> T:
            return fn()

        return drive(self._core.run(_face, call))

    def election(self, name: str, **options: Unpack[AcquireOptions]) -> Election:
        """Name an election."""
        return Election(self._core, name, Options(**options))

    @property
    def admin(self) -> Admin:
        """The calls of operators."""
        return Admin(self._core)

    def session_id(self) -> int:
        """The id of the client's session, which is opened if there is none."""
        return drive(self._core.session(_face)).id

    def get_lock(self, name: str, *, stale: bool = False) -> LockInfo:
        """One lock: who holds it, who waits, what unclean ends left behind.

        With `stale` the node that is asked answers from its own state, which may lag; also without a
        quorum.
        """
        return drive(_reads.get_lock(self._core, _face, name, stale=stale))

    def list_locks(
        self, prefix: str = "", *, page_size: int = 0, stale: bool = False
    ) -> Iterator[LockInfo]:
        """The locks at and below a prefix by name; pages are fetched as they are read."""
        pages = _reads.list_locks(self._core, _face, prefix, page_size=page_size, stale=stale)
        return _each(pages)

    def list_sessions(self, *, page_size: int = 0, stale: bool = False) -> Iterator[SessionInfo]:
        """The sessions of the namespace by id."""
        return _each(_reads.list_sessions(self._core, _face, page_size=page_size, stale=stale))

    def watch(self, prefix: str = "", *, cursor: str = "") -> Iterator[LockEvent]:
        """What happens to the locks at and below a prefix, until the iterator is closed.

        It reconnects and resumes by itself. The first event is `PROGRESS`, after which nothing is
        missed. If events were missed after all, `CompactedError` ends it; watch anew then.
        """
        watcher = _reads.Watcher(self._core, prefix, cursor)
        try:
            while True:
                yield drive(watcher.next(_face))
        except _reads.End:
            return
        finally:
            watcher.close()

    def explain_lock(self, name: str, *, stale: bool = False) -> Explanation:
        """What the last waiter in the lock's queue waits for."""
        request = ExplainWaitRequest(name=name, namespace=self._core.config.namespace, stale=stale)
        return drive(_reads.explain(self._core, _face, request))

    def explain_request(
        self, session_id: int, request_id: int, *, stale: bool = False
    ) -> Explanation:
        """What one waiting request waits for."""
        request = ExplainWaitRequest(session_id=session_id, request_id=request_id, stale=stale)
        return drive(_reads.explain(self._core, _face, request))

    def close(self) -> None:
        """Release everything, and end the client's thread and connections. May be called again.

        Handles that were still held are lost.
        """
        drive(self._core.close(_face))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        e: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception:
            if e is None:
                raise
            self._core.config.logger.warning("close", exc_info=True)


def _each(pages: _reads.Pages[T]) -> Iterator[T]:
    while True:
        try:
            yield drive(pages.next(_face))
        except _reads.End:
            return


__all__ = ["Admin", "Client", "Election", "Handle", "Holding", "Lock", "Signal"]
