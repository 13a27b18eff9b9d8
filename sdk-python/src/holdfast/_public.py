"""What the blocking and the asynchronous classes have in common: everything that does not wait."""

from __future__ import annotations

import inspect
import logging
import ssl
from collections.abc import Callable
from typing import Any

from typing_extensions import Self, TypedDict, Unpack

from ._core import Cancel, Config, Core, Options, Use
from ._engine import Latch
from ._errors import HoldfastError, InvalidModeError, LostReason
from ._types import Claim, DeadlockAction, Mode, label


class AcquireOptions(TypedDict, total=False):
    """The options of an acquire. Times are in seconds.

    wait: how long to wait in the queue, up to 24 h; 0 means: try once. Without it an acquire waits
        until it is cancelled.
    priority: -100 to 100; higher goes first.
    lease: the grant ends this long after it was given unless `renew` is called; 0.1 to 30 days.
    max_hold: the grant ends after this long, whatever is renewed.
    lock_delay: keep the names shut for this long if the grant ends uncleanly, up to 60.
    on_deadlock: what else ends if this request is the victim of a deadlock.
    reentrant: whether a grant that the owner already has may serve this request; True unless given.
    metadata: shown to those who look at the lock, at most 4 KiB.
    cancel: ends the wait from outside.
    """

    wait: float | None
    priority: int
    lease: float | None
    max_hold: float | None
    lock_delay: float
    on_deadlock: DeadlockAction
    reentrant: bool
    metadata: str
    cancel: Cancel | None


class ConvertOptions(TypedDict, total=False):
    """The options of a conversion, as in `AcquireOptions`."""

    wait: float | None
    priority: int
    on_deadlock: DeadlockAction
    cancel: Cancel | None


class ClientOptions(TypedDict, total=False):
    """The options of a client. Times are in seconds.

    namespace: names in different namespaces have nothing to do with each other; "default".
    ttl: how long the session outlives its last renewal, 1 to 86400; 30. Below 5 locks do not survive
        a fail-over of the server.
    metadata: shown to those who list sessions (program, host, version ...), at most 4 KiB.
    call_timeout: for calls that do not wait for a lock; 10.
    safety_margin: count locks as lost this much earlier; 0.
    follow_leader: go to the leader's own address; True. Turn it off if clients reach the nodes only
        through a proxy.
    tls: for https endpoints; the system's certificates unless given.
    logger: where the client tells people what they may want to know; the logger "holdfast".
    tracer_provider, meter_provider: of OpenTelemetry; the global ones unless given.
    """

    namespace: str
    ttl: float
    metadata: str
    call_timeout: float
    safety_margin: float
    follow_leader: bool
    tls: ssl.SSLContext | None
    logger: logging.Logger
    tracer_provider: Any
    meter_provider: Any


def core_of(endpoints: tuple[str, ...], options: ClientOptions) -> Core:
    return Core(Config(endpoints=endpoints, **options))


class LockBase:
    """One or more names to acquire together, each in a mode. Making one asks nobody."""

    def __init__(self, core: Core, claims: tuple[Claim, ...], defaults: Options) -> None:
        self._core, self._claims, self._defaults = core, claims, defaults

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The names and modes that an acquire asks for."""
        return self._claims

    def shared(self) -> Self:
        """The same lock for reading together with others."""
        return self.mode(Mode.SHARED)

    def exclusive(self) -> Self:
        """The same lock for oneself alone."""
        return self.mode(Mode.EXCLUSIVE)

    def mode(self, mode: Mode) -> Self:
        """The same lock in another mode."""
        if not isinstance(mode, Mode):
            raise InvalidModeError(
                f"mode: {mode!r} is not a mode",
                field="mode",
                hint="one of " + ", ".join(m.name for m in Mode),
            )
        claims = tuple(Claim(c.name, mode) for c in self._claims)
        return type(self)(self._core, claims, self._defaults)

    def __repr__(self) -> str:
        names = ", ".join(f"{c.name} {c.mode.value}" for c in self._claims)
        return f"<{type(self).__name__} {names}>"


class HandleBase:
    """A lock that is held. It says when the lock is at risk and when it is lost. May be used from
    any thread or task."""

    def __init__(self, core: Core, use: Use) -> None:
        self._core, self._use = core, use

    @property
    def name(self) -> str:
        """The first name that is held."""
        return self._use.hold.claims[0].name

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The names and modes that are held."""
        return self._use.hold.claims

    @property
    def token(self) -> int:
        """The fencing token: hand it to the resource with every access (`holdfast.fence`).

        It is greater than that of every earlier grant. A raised conversion brings a new one.
        """
        return self._use.hold.token

    @property
    def grant_id(self) -> int:
        """The id of the grant, which never changes."""
        return self._use.hold.id

    @property
    def session_id(self) -> int:
        """The id of the session that holds the lock."""
        return self._use.hold.s.id

    @property
    def lost_reason(self) -> LostReason | None:
        """Why the lock was lost; None if it was not."""
        lost = self._use.hold.lost
        return lost.lost_reason if lost is not None else None

    @property
    def released(self) -> bool:
        """Whether the handle was released."""
        return self._use.released

    @property
    def held(self) -> bool:
        """Whether the lock may be relied on now; `check` tells why if not."""
        return self._core.check(self._use) is None

    def check(self) -> None:
        """Return while the lock may be relied on; raise `LostError` or `ReleasedError` if not.

        It looks at the clock at the time of the call, so that a program that was stopped for a while
        finds out before its next write.
        """
        e = self._core.check(self._use)
        if e is not None:
            raise e

    @property
    def remaining(self) -> float:
        """Seconds for which the lock may be relied on without another renewal; 0 if it is lost."""
        hold = self._use.hold
        if self._core.check(self._use) is not None:
            return 0.0
        with hold.s.lock:
            return max(0.0, (hold.usable() - hold.s.clock()) / 1e9)

    def on_lost(self, callback: Callable[[LostReason], object]) -> None:
        """Call back, from the client's own thread, when the lock is lost; soon if it is. The callback
        must be short, and must not wait for a lock."""
        hold = self._use.hold

        def tell() -> None:
            if hold.lost is None:
                return
            try:
                callback(hold.lost.lost_reason)
            except Exception:
                self._core.config.logger.exception("on_lost of %s", hold.name)

        hold.loss.add(lambda: _ignore(hold.s.engine.soon(tell)))

    def __repr__(self) -> str:
        e: HoldfastError | None = self._use.hold.lost
        state = "lost" if e else "released" if self._use.released else "held"
        return f"<{type(self).__name__} {label(self.claims)} #{self.token} {state}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a handle cannot be pickled: a lock belongs to the process that holds it")


def _ignore(_: object) -> None:
    pass


class Sign:
    """Whether something has happened."""

    def __init__(self, latch: Latch) -> None:
        self._latch = latch

    def is_set(self) -> bool:
        return self._latch.is_set()

    def __bool__(self) -> bool:
        return self._latch.is_set()


def name_for(name: str | Callable[..., str], fn: Callable[..., Any], args: Any, kwargs: Any) -> str:
    """The name that a decorated call locks: a template of its arguments, or a function of them."""
    if callable(name):
        return name(*args, **kwargs)
    if "{" not in name:
        return name
    bound = inspect.signature(fn).bind(*args, **kwargs)
    bound.apply_defaults()
    return name.format(**bound.arguments)


__all__ = ["AcquireOptions", "ClientOptions", "ConvertOptions", "Unpack"]
