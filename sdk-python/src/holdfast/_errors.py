"""Everything that can go wrong, as one tree.

HoldfastError
  SessionExpiredError, SessionNotFoundError, NotHolderError, StaleRequestError,
  RequestIDReusedError, FrozenError, ConversionWaitingError, CompactedError,
  QueueFullError, QuotaExceededError, RateLimitedError,
  PermissionDeniedError, UnauthenticatedError, InternalError
  InvalidArgumentError (a ValueError)
    InvalidNameError, InvalidModeError, InvalidTTLError
  UnavailableError
    NotLeaderError, NoQuorumError, OutcomeUnknownError, ShuttingDownError, CircuitOpenError
  HeldError, WaitLimitError, WaitCancelledError, DeadlockVictimError, RevokedError
  ForkedError, LostError, ReleasedError, ClosedError
"""

from __future__ import annotations

import enum
from typing import ClassVar

from ._types import Blocker, CycleStep


class Reason(str, enum.Enum):
    """Why a call failed. Programs decide by it, or by the class, never by message text."""

    SESSION_EXPIRED = "SESSION_EXPIRED"
    NOT_HOLDER = "NOT_HOLDER"
    STALE_REQUEST = "STALE_REQUEST"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    FROZEN = "FROZEN"
    CONVERSION_WAITING = "CONVERSION_WAITING"
    COMPACTED = "COMPACTED"
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    NOT_LEADER = "NOT_LEADER"
    NO_QUORUM = "NO_QUORUM"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    QUEUE_FULL = "QUEUE_FULL"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    RATE_LIMITED = "RATE_LIMITED"
    INVALID_NAME = "INVALID_NAME"
    INVALID_MODE = "INVALID_MODE"
    INVALID_TTL = "INVALID_TTL"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    INTERNAL = "INTERNAL"
    # Outcomes of an acquire or a conversion that brought no grant.
    HELD = "HELD"
    WAIT_LIMIT_REACHED = "WAIT_LIMIT_REACHED"
    CANCELLED = "CANCELLED"
    DEADLOCK_VICTIM = "DEADLOCK_VICTIM"
    REVOKED = "REVOKED"
    # What the client finds itself.
    UNAVAILABLE = "UNAVAILABLE"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    FORKED = "FORKED"
    LOST = "LOST"
    RELEASED = "RELEASED"
    CLOSED = "CLOSED"


class LostReason(str, enum.Enum):
    """Why a lock was lost."""

    EXPIRED = "expired"
    """The session, the lease or the longest hold ran out, as far as the client knows."""
    REVOKED = "revoked"
    """An operator ended it."""
    VICTIM = "victim"
    """Its owner was the victim of a deadlock and had asked to release everything."""
    CLOSED = "closed"
    """The client, or its session, was closed while the lock was held."""
    FORKED = "forked"
    """The cluster was replaced or restored; or this process is a fork of the one that holds it."""


class HoldfastError(Exception):
    """A failed call."""

    reason: Reason = Reason.INTERNAL
    _by_reason: ClassVar[dict[Reason, type[HoldfastError]]] = {}

    message: str
    """What and which, for people."""
    hint: str
    """What to try, for people; may be empty."""
    field: str
    """The argument at fault, with `InvalidArgumentError`."""
    limit: str
    """The limit that was passed, in words."""
    retry_after: float
    """Seconds to wait before trying again; 0 if the server did not say."""
    ended: str
    """Why the session or grant ended, in the words of the contract; empty if it did not."""
    position: int
    """Place in the queue when last heard of; 0 if it did not wait."""
    blockers: tuple[Blocker, ...]
    """Who was in the way when last heard: the first 16."""
    blockers_total: int
    """How many were in the way."""
    cycle: tuple[CycleStep, ...]
    """The deadlock, with `DeadlockVictimError`."""

    def __init__(
        self, message: str = "", *, hint: str = "", field: str = "", limit: str = ""
    ) -> None:
        super().__init__(message)
        self.message, self.hint, self.field, self.limit = message, hint, field, limit
        self.retry_after = 0.0
        self.ended = ""
        self.position = 0
        self.blockers = ()
        self.blockers_total = 0
        self.cycle = ()
        self._leader = ""  # with NOT_LEADER: where to go
        self._final = False  # no other attempt can do better
        self._unreached = False  # not the server's word, but that of the way to it

    def __init_subclass__(cls) -> None:
        HoldfastError._by_reason[cls.reason] = cls

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r})"

    def __str__(self) -> str:
        text = self.message or self.reason.value.lower()
        if isinstance(self.__cause__, Exception):
            text += f": {self.__cause__}"
        return f"{text} (hint: {self.hint})" if self.hint else text


def error(
    reason: Reason,
    message: str = "",
    *,
    cause: BaseException | None = None,
    hint: str = "",
    field: str = "",
    limit: str = "",
) -> HoldfastError:
    """Make the error of a reason."""
    made = HoldfastError._by_reason[reason](message, hint=hint, field=field, limit=limit)
    made.__cause__ = cause
    return made


class SessionExpiredError(HoldfastError):
    """The session has ended, and with it everything it held."""

    reason = Reason.SESSION_EXPIRED


class SessionNotFoundError(HoldfastError):
    """There never was such a session, or it ended long ago."""

    reason = Reason.SESSION_NOT_FOUND


class NotHolderError(HoldfastError):
    """The grant is not held, or not any more."""

    reason = Reason.NOT_HOLDER


class StaleRequestError(HoldfastError):
    """Whether the request took effect is not known any more."""

    reason = Reason.STALE_REQUEST


class RequestIDReusedError(HoldfastError):
    """The request id was used for another command: a fault in the client library."""

    reason = Reason.REQUEST_ID_REUSED


class FrozenError(HoldfastError):
    """An operator has frozen the prefix."""

    reason = Reason.FROZEN


class ConversionWaitingError(HoldfastError):
    """Another conversion of the same grant waits."""

    reason = Reason.CONVERSION_WAITING


class CompactedError(HoldfastError):
    """Events were missed because the reader fell behind."""

    reason = Reason.COMPACTED


class QueueFullError(HoldfastError):
    """Too many wait for the name already."""

    reason = Reason.QUEUE_FULL


class QuotaExceededError(HoldfastError):
    """The session or principal has as much as it may have."""

    reason = Reason.QUOTA_EXCEEDED


class RateLimitedError(HoldfastError):
    """Too many requests are on their way."""

    reason = Reason.RATE_LIMITED


class PermissionDeniedError(HoldfastError):
    """The caller may not do this."""

    reason = Reason.PERMISSION_DENIED


class UnauthenticatedError(HoldfastError):
    """The caller could not be identified."""

    reason = Reason.UNAUTHENTICATED


class InternalError(HoldfastError):
    """A fault in the server, or an endpoint that does not serve Holdfast."""

    reason = Reason.INTERNAL


class InvalidArgumentError(HoldfastError, ValueError):
    """An argument is missing, malformed or out of range; `field` names it."""

    reason = Reason.INVALID_ARGUMENT


class InvalidNameError(InvalidArgumentError):
    """The lock name is malformed."""

    reason = Reason.INVALID_NAME


class InvalidModeError(InvalidArgumentError):
    """The mode is not one of the five, or not allowed here."""

    reason = Reason.INVALID_MODE


class InvalidTTLError(InvalidArgumentError):
    """The time to live is out of range."""

    reason = Reason.INVALID_TTL


class UnavailableError(HoldfastError):
    """No endpoint could be reached, or none could serve: not now, maybe later or elsewhere."""

    reason = Reason.UNAVAILABLE


class NotLeaderError(UnavailableError):
    """The node that was asked could not reach the leader."""

    reason = Reason.NOT_LEADER


class NoQuorumError(UnavailableError):
    """The cluster has no majority."""

    reason = Reason.NO_QUORUM


class OutcomeUnknownError(UnavailableError):
    """The command may or may not have taken effect."""

    reason = Reason.OUTCOME_UNKNOWN


class ShuttingDownError(UnavailableError):
    """The node that was asked is shutting down."""

    reason = Reason.SHUTTING_DOWN


class CircuitOpenError(UnavailableError):
    """The circuit breakers of all endpoints are open."""

    reason = Reason.CIRCUIT_OPEN


class HeldError(HoldfastError):
    """The lock is held by somebody else, and the acquire did not want to wait."""

    reason = Reason.HELD


class WaitLimitError(HoldfastError):
    """The wait limit passed."""

    reason = Reason.WAIT_LIMIT_REACHED


class WaitCancelledError(HoldfastError):
    """The wait was cancelled."""

    reason = Reason.CANCELLED


class DeadlockVictimError(HoldfastError):
    """The wait closed a deadlock and was chosen to end; `cycle` spells it out."""

    reason = Reason.DEADLOCK_VICTIM


class RevokedError(HoldfastError):
    """An operator ended the wait."""

    reason = Reason.REVOKED


class ForkedError(HoldfastError):
    """An answer came from another cluster, or from an older epoch of this one."""

    reason = Reason.FORKED


class ReleasedError(HoldfastError):
    """The handle was released."""

    reason = Reason.RELEASED


class ClosedError(HoldfastError):
    """The client is closed."""

    reason = Reason.CLOSED


class LostError(HoldfastError):
    """A lock was lost. It is final: nothing is acquired again behind one's back."""

    reason = Reason.LOST
    name: str
    """The names of the handle."""
    token: int
    """Its token."""
    lost_reason: LostReason
    """Why."""
    detail: str
    """An operator's reason, or what the client saw."""

    def __init__(
        self,
        name: str = "",
        token: int = 0,
        lost_reason: LostReason = LostReason.EXPIRED,
        detail: str = "",
    ) -> None:
        text = f"{name} (token {token}) was lost: {lost_reason.value}"
        super().__init__(f"{text}: {detail}" if detail else text)
        self.name, self.token, self.lost_reason, self.detail = name, token, lost_reason, detail


def retryable(e: BaseException | None) -> bool:
    """Whether the same call may do better later or elsewhere."""
    if not isinstance(e, HoldfastError):
        return False
    if isinstance(e, InternalError):
        return not e._final
    return isinstance(e, (UnavailableError, RateLimitedError, ForkedError))
