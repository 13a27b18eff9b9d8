"""What both clients do, written once. It waits with `Face.wait` and with nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import ssl
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ._batch import Op
from ._clock import Clock, system_clock
from ._convert import duration_out
from ._engine import Engine, Face, Job, Latch, within
from ._errors import (
    ClosedError,
    DeadlockVictimError,
    HoldfastError,
    InvalidArgumentError,
    LostError,
    Reason,
    SessionExpiredError,
    SessionNotFoundError,
    WaitLimitError,
    error,
)
from ._gen.holdfast.v1 import session_pb
from ._hold import Hold, Owner, acquire_op, convert_op, renew_op
from ._outcome import describe, raised
from ._retry import backoff
from ._session import Session
from ._telemetry import Telemetry
from ._transport import STREAM_SILENCE, Clients, Kind, Transport, parse_endpoint
from ._types import Claim, DeadlockAction, Mode, label

TTL = 30.0
TTL_SURVIVES = 5.0  # below it a fail-over may end the session
CALL_TIMEOUT = 10.0
RELEASE_GRACE = 5.0  # how long a release is tried for a caller that has gone
WAIT_MOST = 24 * 3600.0  # the longest wait the service allows; a longer one is asked for again

T = TypeVar("T")


class Cancel:
    """Ends waits from outside: give it to an acquire, and call `cancel` from another thread."""

    def __init__(self) -> None:
        self._latch = Latch()

    def cancel(self) -> None:
        """End every wait that this was given to, now and later."""
        self._latch.set()

    @property
    def cancelled(self) -> bool:
        return self._latch.is_set()


@dataclass(frozen=True)
class Config:
    """The options of a client; see `Client`."""

    endpoints: tuple[str, ...]
    namespace: str = ""
    ttl: float = TTL
    metadata: str = ""
    call_timeout: float = CALL_TIMEOUT
    safety_margin: float = 0.0
    follow_leader: bool = True
    tls: ssl.SSLContext | None = None
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("holdfast"))
    tracer_provider: Any = None
    meter_provider: Any = None
    clock: Clock = system_clock
    stream_silence: float = STREAM_SILENCE


@dataclass(frozen=True)
class Options:
    """The options of an acquire; see `Lock.acquire`."""

    wait: float | None = None
    priority: int = 0
    lease: float | None = None
    max_hold: float | None = None
    lock_delay: float = 0.0
    on_deadlock: DeadlockAction = DeadlockAction.ABORT_WAIT
    reentrant: bool = True
    metadata: str = ""
    cancel: Cancel | None = None

    def changed(self, **given: Any) -> Options:
        """These options with those that were given."""
        return replace(self, **given) if given else self

    @property
    def latch(self) -> Latch | None:
        return self.cancel._latch if self.cancel else None

    @property
    def wire_wait(self) -> float:
        return WAIT_MOST if self.wait is None else min(self.wait, WAIT_MOST)


class Use:
    """One handle's use of a hold."""

    def __init__(self, hold: Hold, started: float) -> None:
        self.hold, self.started = hold, started
        self.released = False


class Run:
    """One attempt of `run`: what was acquired within it."""

    def __init__(self) -> None:
        self.uses: list[Use] = []


class Core:
    """The client beneath `Client` and `AsyncClient`."""

    def __init__(self, config: Config) -> None:
        bases = list(dict.fromkeys(parse_endpoint(e) for e in config.endpoints))
        if not bases:
            raise InvalidArgumentError(
                "endpoints: none given", field="endpoints", hint='Client("http://127.0.0.1:7480")'
            )
        margin = config.safety_margin
        if margin < 0 or (margin > 0 and margin >= config.ttl / 2):
            raise InvalidArgumentError(
                f"safety_margin: {margin} with a ttl of {config.ttl}",
                field="safety_margin",
                limit="at least 0 and below half of the ttl",
            )
        if config.ttl < TTL_SURVIVES:
            config.logger.warning(
                "a session with a ttl of %s s does not survive a fail-over of the "
                "server; at least %s s are advised",
                config.ttl,
                TTL_SURVIVES,
            )
        self.config = config
        self.telemetry = Telemetry(config.tracer_provider, config.meter_provider)
        self._bases = bases
        self._pid = os.getpid()
        self._clean()
        _cores.add(self)

    def _clean(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._engine: Engine | None = None
        self._transport: Transport | None = None
        self._opening: Opening | None = None
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._owners: weakref.WeakKeyDictionary[object, Owner] = weakref.WeakKeyDictionary()
        self._runs: weakref.WeakKeyDictionary[object, list[Run]] = weakref.WeakKeyDictionary()

    def here(self) -> None:
        """Notice a fork that Python was not told of. Called at every use."""
        if self._pid != os.getpid():
            self.fork()

    def fork(self) -> None:
        """This is the child of a fork: it holds nothing, and may begin anew."""
        closed, sessions = self._closed, list(self._sessions)
        self._pid = os.getpid()
        if self._engine is not None:
            _left_behind.append((self._engine, self._transport, self._opening))
        for session in sessions:
            _left_behind.append((session,))
            session.fork()
        self._clean()
        self._closed = closed

    def start(self) -> tuple[Engine, Transport]:
        """The engine and the transport, begun with the first use."""
        with self._lock:
            if self._closed:
                raise ClosedError("the client is closed")
            if self._engine is None or self._transport is None:
                c = self.config
                self._engine = Engine("holdfast")
                self._transport = Transport(
                    self._bases,
                    clock=c.clock,
                    log=c.logger,
                    follow=c.follow_leader,
                    tls=(lambda: c.tls) if c.tls is not None else None,  # type: ignore[arg-type, return-value]
                    silence=c.stream_silence,
                )
            return self._engine, self._transport

    # Calls.

    async def ask(
        self,
        face: Face,
        what: str,
        coroutine: Callable[[Transport], Coroutine[Any, Any, T]],
        timeout: float | None = None,
    ) -> T:
        """Run a call in the engine and wait for it."""
        self.here()
        engine, transport = self.start()
        job = engine.job(coroutine(transport))
        try:
            if await face.wait(job.done, timeout=timeout or self.config.call_timeout):
                return job.outcome()
        except BaseException:
            job.cancel()
            raise
        job.cancel()
        raise error(Reason.UNAVAILABLE, f"{what}: no answer in time", cause=transport.last)

    async def call(
        self,
        face: Face,
        what: str,
        kind: Kind,
        ask: Callable[[Clients], Any],
        timeout: float | None = None,
    ) -> Any:
        """Make a call, repeated until it is answered, and wait for it."""

        async def asking(transport: Transport) -> Any:
            answer, _ = await transport.retrying(kind, ask)
            return answer

        return await self.ask(face, what, asking, timeout)

    # The session.

    async def session(self, face: Face, cancel: Latch | None = None) -> Session:
        """The live session. It is opened if there is none; callers that come while one is being
        opened wait for that one, and when the last of them has gone the attempt ends."""
        self.here()
        engine, transport = self.start()
        with self._lock:
            if self._closed:
                raise ClosedError("the client is closed")
            opening = self._opening
            if opening is None or opening.over():
                opening = self._opening = Opening(engine.job(self._open(engine, transport)))
            opening.waiters += 1
        try:
            done = await face.wait(opening.job.done, cancel, timeout=self.config.call_timeout)
        finally:
            with self._lock:
                opening.waiters -= 1
                if opening.waiters == 0 and not opening.job.done.is_set():
                    opening.job.cancel()
                    if self._opening is opening:
                        self._opening = None
        if opening.job.done.is_set():
            return opening.job.outcome()
        if done:
            raise error(Reason.CANCELLED, "open session", cause=transport.last)
        raise error(Reason.UNAVAILABLE, "no session could be opened", cause=transport.last)

    async def _open(self, engine: Engine, transport: Transport) -> Session:
        """Open a session. It is retried with one nonce, so that a lost answer leaves no second
        session behind."""
        c = self.config
        request = session_pb.OpenSessionRequest(
            namespace=c.namespace,
            ttl=duration_out(c.ttl),
            metadata=c.metadata,
            nonce=secrets.token_hex(16),
        )

        def begin(n: Clients) -> Any:
            return n.session.open_session(request)

        answer, at = await transport.retrying(Kind(control=True), begin)
        session = Session(
            answer,
            at,
            engine=engine,
            transport=transport,
            clock=c.clock,
            log=c.logger,
            namespace=c.namespace,
            ttl=c.ttl,
            margin=c.safety_margin,
            on_loss=self._lost,
        )
        self._sessions.add(session)
        session.begin()
        return session

    def _lost(self, hold: Hold) -> None:
        if hold.lost is not None:
            self.telemetry.lost(hold.lost.lost_reason)

    async def close(self, face: Face) -> None:
        """Release everything, and end the engine."""
        self.here()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            engine, transport, opening = self._engine, self._transport, self._opening
        if engine is None or transport is None:
            return
        job = engine.job(self._shut_down(transport, opening))
        job.done.add(engine.stop)  # whatever becomes of the caller
        await face.wait(job.done)
        engine.stop()
        job.outcome()

    async def _shut_down(self, transport: Transport, opening: Opening | None) -> None:
        try:
            if opening is not None:
                if not opening.job.done.is_set():
                    opening.job.cancel()
                elif opening.job.error is None:
                    patience = max(RELEASE_GRACE, self.config.call_timeout)
                    await within(opening.job.outcome().close(), patience)
            for session in list(self._sessions):
                if session.telling is not None:
                    await _settled(session.telling)
        except asyncio.TimeoutError:
            raise error(
                Reason.UNAVAILABLE,
                "close: no answer in time; what is held is released when the session expires",
                cause=transport.last,
            ) from None
        finally:
            transport.close()

    # Owners.

    def owner(self, face: Face, session: Session | None) -> Owner | None:
        """On whose behalf the caller acts: its thread or task. None if that is new to the session."""
        key = face.owner()
        with self._lock:
            own = self._owners.get(key)
            if own is not None and own.s.ended is None:
                return own
            if session is None:
                return None
            own = self._owners[key] = session.new_owner()
            return own

    # Acquiring.

    async def acquire(self, face: Face, claims: tuple[Claim, ...], o: Options) -> Use:
        """Acquire for the owner that calls."""
        self.here()
        if not claims:
            raise InvalidArgumentError("claims: a lock needs at least one name", field="claims")
        watched = self.telemetry.acquire(claims)
        failure: BaseException | None = None
        token = 0
        try:
            hold = await self._acquire(face, claims, o)
            token = hold.token
        except BaseException as e:
            failure = e
            raise
        finally:
            if watched is not None:
                watched.end(failure, token)
        use = Use(hold, time.monotonic())
        runs = self._runs.get(face.owner())
        if runs:
            runs[-1].uses.append(use)
        return use

    async def _acquire(self, face: Face, claims: tuple[Claim, ...], o: Options) -> Hold:
        if o.cancel is not None and o.cancel.cancelled:
            raise error(Reason.CANCELLED, label(claims))
        own = self.owner(face, None)
        if own is not None and o.reentrant and o.lease is None:
            again = own.reenter(claims)
            if again is not None:
                return again
        session = await self.session(face, o.latch)
        owned = self.owner(face, session)
        assert owned is not None
        while True:
            op = acquire_op(
                owned,
                claims,
                o.wire_wait,
                priority=max(-(2**31), min(2**31 - 1, o.priority)),
                lease=o.lease,
                max_hold=o.max_hold,
                lock_delay=o.lock_delay,
                on_deadlock=o.on_deadlock,
                reentrant=o.reentrant,
                metadata=o.metadata,
            )
            owned.s.batcher.submit(op)
            await self._outcome(face, owned.s, op, o)
            if isinstance(op.error, WaitLimitError) and o.wait is None:
                continue  # the longest wait the service allows has passed, not one of the caller's
            if op.error is not None:
                raise op.error
            assert op.hold is not None
            return op.hold

    def _patience(self, o: Options) -> float | None:
        """How long to wait for the answer: a request with a wait limit must not hang because no node
        can be reached."""
        return None if o.wait is None else max(0.0, o.wait) + self.config.call_timeout

    async def _outcome(self, face: Face, s: Session, op: Op, o: Options) -> None:
        """Wait for the outcome of an operation. If the caller goes first it is abandoned: the wait
        is cancelled, and a grant that came first is given back (HF-7.5)."""
        try:
            in_time = await face.wait(op.done, o.latch, timeout=self._patience(o))
        except BaseException:
            self._forsake(s, op)
            raise
        with s.lock:
            if op.final:
                return
            if in_time:
                e = error(Reason.CANCELLED, f"{op.label}: the wait was cancelled", cause=op.failure)
                if op.waiting:
                    describe(op, e)
            else:
                e = error(Reason.UNAVAILABLE, f"{op.label}: no answer in time", cause=op.failure)
            s.batcher.abandon(op)
        raise e

    def _forsake(self, s: Session, op: Op) -> None:
        """The caller of an operation was cut off while it waited."""
        with s.lock:
            if not op.final:
                s.batcher.abandon(op)
            elif op.error is None and op.hold is not None and s.ended is None:
                if op.kind.value == "acquire":
                    release = op.hold.drop_use()
                    if release is not None:
                        s.batcher.submit(release)
                elif op.kind.value == "convert" and raised(op) and op.hold.lost is None:
                    s.outcomes.undo(op)

    # Handles.

    def check(self, use: Use) -> HoldfastError | None:
        """Why the handle may not be relied on; None if it may."""
        self.here()
        hold = use.hold
        with hold.s.lock:
            if use.released:
                return error(Reason.RELEASED, f"{hold.name} was released")
            return hold.check()

    async def release(self, face: Face, use: Use) -> None:
        """Give up a handle's use of its hold, and with the last use the grant."""
        self.here()
        hold, s = use.hold, use.hold.s
        with s.lock:
            if use.released:
                return
            use.released = True
            op = hold.drop_use()
        self.telemetry.released(time.monotonic() - use.started)
        if op is None or s.ended is not None:
            return
        try:
            s.batcher.submit(op)
        except HoldfastError:
            return  # the session is over, and the grant with it
        if not await face.wait(op.done, timeout=max(RELEASE_GRACE, self.config.call_timeout)):
            raise error(
                Reason.UNAVAILABLE, f"release {op.label}: no answer in time", cause=s.transport.last
            )
        if isinstance(op.error, (SessionExpiredError, SessionNotFoundError, ClosedError)):
            return
        if op.error is not None:
            raise op.error

    async def renew(self, face: Face, use: Use) -> None:
        """Renew the lease."""
        self._demand(use)
        op, s = renew_op(use.hold), use.hold.s
        s.batcher.submit(op)
        await self._outcome(face, s, op, Options(wait=0))
        if op.error is not None:
            raise op.error
        self._demand(use)

    def _demand(self, use: Use) -> None:
        e = self.check(use)
        if e is not None:
            raise e

    async def convert(
        self, face: Face, use: Use, name: str, mode: Mode, o: Options, *, drop: bool = False
    ) -> None:
        """Change one claim. Conversions of one hold go one after the other: the next begins when the
        outcome of the one before is known, even if its caller has gone."""
        self._demand(use)
        hold, s = use.hold, use.hold.s
        with s.lock:
            turn = hold.turn()
        try:
            mine = await face.wait(turn, o.latch, timeout=self._patience(o))
            self._demand(use)
            if not mine or not turn.is_set():
                raise error(
                    Reason.UNAVAILABLE if not mine else Reason.CANCELLED,
                    f"convert {name}: another conversion of the same lock is under way",
                )
            op = convert_op(
                hold,
                name,
                mode,
                o.wire_wait,
                drop=drop,
                priority=o.priority,
                on_deadlock=o.on_deadlock,
            )
            with s.lock:
                hold.converting = True
                for c in hold.claims:
                    if c.name == name:
                        op.before = c.mode
                s.batcher.submit(op)
        except BaseException:
            with s.lock:
                hold.leave_turn(turn)
            raise
        await self._outcome(face, s, op, o)
        if not isinstance(op.error, HoldfastError) or hold.lost is not None:
            self._demand(use)
        if isinstance(op.error, WaitLimitError) and o.wait is None:
            await self.convert(face, use, name, mode, o, drop=drop)
            return
        if op.error is not None:
            raise op.error

    async def convert_all(self, face: Face, use: Use, mode: Mode, o: Options) -> None:
        """Convert every name whose mode is another."""
        for c in use.hold.claims:
            if c.mode is not mode:
                await self.convert(face, use, c.name, mode, o)

    # Lines of work.

    async def run(self, face: Face, fn: Callable[[], Awaitable[T]]) -> T:
        """Run a function as one line of work, and again if it was the victim of a deadlock."""
        self.here()
        runs = self._runs.setdefault(face.owner(), [])
        outermost = not runs
        failures = 0
        while True:
            run = Run()
            runs.append(run)
            try:
                return await self._run_once(face, run, fn)
            except DeadlockVictimError:
                if not outermost:
                    raise
            finally:
                runs.remove(run)
            failures += 1
            await face.wait(timeout=backoff(failures))

    async def _run_once(self, face: Face, run: Run, fn: Callable[[], Awaitable[T]]) -> T:
        failed = False
        try:
            return await fn()
        except BaseException:
            failed = True
            raise
        finally:
            for use in reversed(run.uses):
                try:
                    await self.release(face, use)
                except HoldfastError as e:
                    if not failed:
                        raise
                    self.config.logger.warning("release of %s: %s", use.hold.name, e)

    async def leave(self, face: Face, use: Use, failed: bool) -> None:
        """The end of a `with`: release; a loss meanwhile is told, but never instead of the error
        that is on its way already."""
        lost = None if use.released else self.check(use)
        try:
            await self.release(face, use)
        except HoldfastError as e:
            if not failed:
                raise
            self.config.logger.warning("release of %s: %s", use.hold.name, e)
        if isinstance(lost, LostError) and not failed:
            raise lost


class Opening:
    """A session that is being opened, or is open."""

    def __init__(self, job: Job[Session]) -> None:
        self.job = job
        self.waiters = 0

    def over(self) -> bool:
        if not self.job.done.is_set():
            return False
        return self.job.error is not None or self.job.outcome().ended is not None


async def _settled(job: Job[None]) -> None:
    """Wait for another job, within the engine."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    job.done.add(lambda: _ignore(loop.call_soon_threadsafe(settle)))
    await future


def _ignore(_: object) -> None:
    pass


_cores: weakref.WeakSet[Core] = weakref.WeakSet()
_left_behind: list[tuple[object, ...]] = []


def _after_fork_in_child() -> None:
    for core in list(_cores):
        core.fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
