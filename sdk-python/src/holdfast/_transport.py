"""Which node to ask, and how. Nothing else in the package knows the RPC library.

A transport finds the leader if its address is known, else the endpoints in turn, past those whose
circuit breaker is open. It lives in the loop of the engine and is not used from anywhere else.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from pyqwest import Client as HTTPClient

from . import _http
from ._breaker import Attempt, Breaker, Verdict, judge
from ._clock import Clock
from ._convert import error_in
from ._engine import within
from ._errors import (
    HoldfastError,
    InternalError,
    InvalidArgumentError,
    NotLeaderError,
    RateLimitedError,
    Reason,
    error,
    retryable,
)
from ._gen.holdfast.v1.errors_pb import Error
from ._gen.holdfast.v1.types_pb import ClusterRef
from ._retry import pause
from ._services import (
    AdminServiceClient,
    ClusterServiceClient,
    LockServiceClient,
    SessionServiceClient,
)

ATTEMPT_TIMEOUT = 3.0  # a node without a quorum says so within 2 s
ADMIN_TIMEOUT = 30.0
LEADER_HOPS = 3  # how often in a row NOT_LEADER is followed at once
DISTRUST = 10 * 10**9  # how long the address of a leader that failed is not followed, ns
REDIAL_AT_MOST = 10**9  # how often an endpoint's connections are given up, ns
STREAM_FIRST = 5.0  # a stream that hangs must not keep its breaker from another probe
STREAM_SILENCE = 45.0  # the server is never silent for longer than 10 s
RESPONSE_BYTES = 64 << 20


class Answer(Protocol):
    """What every answer has."""

    cluster: ClusterRef | None


T = TypeVar("T", bound=Answer)
Call = Callable[["Clients"], Awaitable[T]]


@dataclass(frozen=True)
class Kind:
    """How a call is made."""

    control: bool = False  # beside the calls for data, which cannot block it
    bypass: bool = False  # past the circuit breakers, and not counted by them
    timeout: float = ATTEMPT_TIMEOUT  # of one attempt, seconds; 0 means none


READ = Kind()
ADMIN = Kind(timeout=ADMIN_TIMEOUT)


@dataclass(frozen=True)
class Timing:
    """When an attempt that was answered began, and how long it took, in nanoseconds."""

    sent: int
    took: int


class Clients:
    """The services of one node over connections of their own."""

    def __init__(self, base: str, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self.http = _http.Transport(base, tls)
        options: dict[str, Any] = {
            "http_client": HTTPClient(self.http),
            "send_compression": None,  # messages are small
            "accept_compression": (),
            "read_max_bytes": RESPONSE_BYTES,
        }
        self.lock = LockServiceClient(base, **options)
        self.session = SessionServiceClient(base, **options)
        self.cluster = ClusterServiceClient(base, **options)
        self.admin = AdminServiceClient(base, **options)


class Node:
    """One endpoint: its breaker and its connections."""

    def __init__(
        self, base: str, breaker: Breaker, tls: Callable[[], ssl.SSLContext] | None
    ) -> None:
        self.base, self.breaker = base, breaker
        self.control, self.data = Clients(base, tls), Clients(base, tls)
        self._redialled: int | None = None
        self._distrusted = 0

    def failed(self, now: int) -> None:
        """Note a failure on the way: the name is resolved again before the next call."""
        self._distrusted = now + DISTRUST
        if self._redialled is None or now - self._redialled >= REDIAL_AT_MOST:
            self._redialled = now
            self.control.http.redial()
            self.data.http.redial()

    def trusted(self, now: int) -> bool:
        return now >= self._distrusted

    def close(self) -> None:
        self.control.http.close()
        self.data.http.close()


def parse_endpoint(text: str) -> str:
    """Make a base URL of what a person may write: host:port, or a URL without a query."""
    full = text.strip()
    if "://" not in full:
        full = "http://" + full
    try:
        url = urlsplit(full)
        bad = (
            not url.hostname
            or url.scheme not in ("http", "https")
            or bool(url.query)
            or bool(url.fragment)
            or "@" in url.netloc
            or (url.port is not None and url.port < 1)
        )
    except ValueError:
        bad = True
    if bad:
        raise InvalidArgumentError(
            f"endpoints: {text!r} is not a base URL",
            field="endpoints",
            hint='such as "http://127.0.0.1:7480"',
        )
    return f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"


class Transport:
    """Finds a node to ask."""

    def __init__(
        self,
        endpoints: list[str],
        *,
        clock: Clock,
        log: logging.Logger,
        follow: bool,
        tls: Callable[[], ssl.SSLContext] | None,
        silence: float = STREAM_SILENCE,
    ) -> None:
        self._clock, self._log, self._follow, self._tls = clock, log, follow, tls
        self._silence = silence
        self._known: dict[str, Node] = {}
        self._nodes = list(dict.fromkeys(self.node(base) for base in endpoints))
        self._leader: Node | None = None
        self._next = 0
        self._cluster_id, self._epoch = "", 0
        self.last: HoldfastError | None = None  # of the last attempt; None if it was answered

    def node(self, base: str) -> Node:
        """The node of a base URL, made if it is new."""
        if base not in self._known:

            def changed(before: str, now: str) -> None:
                self._log.info("circuit breaker of %s: %s, was %s", base, now, before)

            self._known[base] = Node(base, Breaker(base, changed), self._tls)
        return self._known[base]

    def _pick(self, bypass: bool) -> tuple[Node, Attempt | None]:
        candidates = [
            self._nodes[(self._next + i) % len(self._nodes)] for i in range(len(self._nodes))
        ]
        if self._leader is not None and self._leader.trusted(self._clock()):
            candidates.insert(0, self._leader)
        for node in candidates:
            if bypass:
                if node.breaker.state() == "closed":
                    return node, None
            elif (attempt := node.breaker.allow()) is not None:
                return node, attempt
        if bypass:
            return candidates[0], None
        raise error(
            Reason.CIRCUIT_OPEN, "the circuit breakers of all endpoints are open", cause=self.last
        )

    def _advance(self, node: Node, e: HoldfastError) -> None:
        """Make the next attempt go elsewhere after a failure."""
        self.last = e
        if self._leader is node:
            self._leader = None
        if self._nodes[self._next % len(self._nodes)] is node:
            self._next = (self._next + 1) % len(self._nodes)

    def _heard(self, leader: str, source: Node) -> bool:
        """Note where the leader is, and say whether that is news worth following at once."""
        if not leader or not self._follow:
            return False
        try:
            base = parse_endpoint(leader)
        except InvalidArgumentError:
            return False
        if source.base.startswith("https://") and not base.startswith("https://"):
            return False  # an answer does not talk us out of encryption
        node = self.node(base)
        if not node.trusted(self._clock()):
            return False
        self._leader = node
        return node is not source

    def _accept(self, ref: ClusterRef | None) -> None:
        """Refuse an answer of another cluster or of an older epoch (HF-11.7)."""
        if ref is None or not ref.cluster_id:
            return
        if not self._cluster_id:
            self._cluster_id, self._epoch = ref.cluster_id, ref.epoch
        if ref.cluster_id != self._cluster_id:
            raise error(
                Reason.FORKED,
                f"the answer is from cluster {ref.cluster_id}, not {self._cluster_id}",
                hint="do all endpoints belong to one cluster?",
            )
        if ref.epoch < self._epoch:
            raise error(
                Reason.FORKED,
                f"the answer is from epoch {ref.epoch}, after one from epoch {self._epoch}",
                hint="a node serves a history that was replaced",
            )
        self._epoch, self.last = ref.epoch, None

    async def once(self, kind: Kind, call: Call[T]) -> tuple[T, Timing]:
        """Make one attempt at the best node, and follow NOT_LEADER to the address it names."""
        hop = 0
        while True:
            node, attempt = self._pick(kind.bypass)
            failure: BaseException | None = None
            try:
                return await self.attempt(node, kind, call)
            except HoldfastError as e:
                failure = e
                if not retryable(e) or isinstance(e, RateLimitedError):
                    raise
                if isinstance(e, NotLeaderError) and self._heard(e._leader, node):
                    hop += 1
                    if hop <= LEADER_HOPS:
                        continue
                self._advance(node, e)
                raise
            except BaseException as e:
                failure = e
                raise
            finally:
                if attempt is not None:
                    node.breaker.report(attempt, judge(failure))

    async def attempt(self, node: Node, kind: Kind, call: Call[T]) -> tuple[T, Timing]:
        """Make one call to one node."""
        sent = self._clock()
        try:
            asked = call(node.control if kind.control else node.data)
            answer = await within(_unmasked(asked), kind.timeout or None)
        except Exception as e:
            failure = call_error(e)
            if failure._unreached:
                node.failed(self._clock())
            raise failure from failure.__cause__
        at = Timing(sent, self._clock() - sent)
        ref = getattr(answer, "cluster", None)  # some answers to operators have none
        self._accept(ref)
        if ref is not None:
            self._heard(ref.leader, node)
        return answer, at

    async def retrying(self, kind: Kind, call: Call[T]) -> tuple[T, Timing]:
        """Make a call until it is answered or its error is final."""
        failures = 0
        while True:
            try:
                return await self.once(kind, call)
            except HoldfastError as e:
                if not retryable(e):
                    raise
                failures += 1
                wait = pause(failures, e)
            await asyncio.sleep(wait)

    async def stream(self, begin: Callable[[Clients], AsyncIterator[T]]) -> AsyncGenerator[T, None]:
        """Read one stream from one node until it breaks, goes silent, or is not read any more."""
        node, attempt = self._pick(False)
        messages = begin(node.data)
        failure: BaseException | None = None
        patience = min(self._silence, STREAM_FIRST)
        try:
            while True:
                try:
                    message = await within(_unmasked(messages.__anext__()), patience)
                except StopAsyncIteration:
                    return
                patience = self._silence
                if attempt is not None:
                    node.breaker.report(attempt, Verdict.SUCCESS)
                    attempt = None
                self._accept(message.cluster)
                if message.cluster is not None:
                    self._heard(message.cluster.leader, node)
                yield message
        except Exception as e:
            failure = call_error(e)
            self._broken(node, failure)
            raise failure from failure.__cause__
        except BaseException as e:
            failure = e
            raise
        finally:
            if attempt is not None:
                node.breaker.report(attempt, judge(failure))
            close = getattr(messages, "aclose", None)
            if close is not None:
                await close()

    def _broken(self, node: Node, e: HoldfastError) -> None:
        if e._unreached:
            node.failed(self._clock())
        if not retryable(e):
            return
        if not (isinstance(e, NotLeaderError) and self._heard(e._leader, node)):
            self._advance(node, e)

    def close(self) -> None:
        """Close every connection."""
        for node in self._known.values():
            node.close()


_BY_CODE = {
    Code.INVALID_ARGUMENT: Reason.INVALID_ARGUMENT,
    Code.OUT_OF_RANGE: Reason.INVALID_ARGUMENT,
    Code.PERMISSION_DENIED: Reason.PERMISSION_DENIED,
    Code.UNAUTHENTICATED: Reason.UNAUTHENTICATED,
    Code.RESOURCE_EXHAUSTED: Reason.RATE_LIMITED,
    Code.UNAVAILABLE: Reason.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: Reason.UNAVAILABLE,
    Code.CANCELED: Reason.UNAVAILABLE,
    Code.ABORTED: Reason.UNAVAILABLE,
}


def call_error(e: BaseException) -> HoldfastError:
    """Turn the failure of a call into an error of ours.

    By the detail that the server sends; else by what lies beneath, since the client calls whatever
    it does not know unavailable; else by the code.
    """
    if isinstance(e, HoldfastError):
        return e
    if isinstance(e, asyncio.TimeoutError):
        return _on_the_way("no answer in time", None)
    if not isinstance(e, ConnectError):
        if isinstance(e, OSError):
            return _on_the_way("the call failed", e)
        return error(Reason.INTERNAL, "the call failed", cause=e)
    for detail in e.details:
        if detail.type_name == "holdfast.v1.Error":
            message = Error.from_binary(detail.message_bytes)
            if int(message.reason) != 0:
                return error_in(message)
    cause = e.__cause__
    if isinstance(cause, (OSError, asyncio.TimeoutError)):
        return _on_the_way("the call failed", cause)
    made = error(_BY_CODE.get(e.code, Reason.INTERNAL), "the call failed", cause=e)
    if isinstance(made, InternalError) and e.code in (Code.UNIMPLEMENTED, Code.NOT_FOUND):
        made._final = True
        made.hint = "does the endpoint serve Holdfast, of this version?"
    made._unreached = e.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    return made


V = TypeVar("V")


async def _unmasked(asked: Awaitable[V]) -> V:
    """The client disguises a cancelled task as a failed call, which would break time-outs."""
    try:
        return await asked
    except ConnectError as e:
        if isinstance(e.__cause__, asyncio.CancelledError):
            raise e.__cause__ from None
        raise


def _on_the_way(message: str, cause: BaseException | None) -> HoldfastError:
    made = error(Reason.UNAVAILABLE, message, cause=cause)
    made._unreached = True
    return made
