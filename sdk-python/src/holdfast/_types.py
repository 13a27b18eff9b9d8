"""The nouns of the service as Python sees them. No generated type leaves the package."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mode(enum.Enum):
    """How a lock is held. Two owners may hold a name together only in compatible modes."""

    EXCLUSIVE = "X"
    """Nobody else may hold the name, nor anything below it."""
    SHARED = "S"
    """Many may hold it together, nobody exclusively meanwhile."""
    INTENTION_SHARED = "IS"
    """A shared claim somewhere below."""
    INTENTION_EXCLUSIVE = "IX"
    """An exclusive claim somewhere below."""
    SHARED_INTENTION_EXCLUSIVE = "SIX"
    """Shared here, exclusive claims below."""

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    def covers(self, other: Mode) -> bool:
        """Whether holding this mode makes a claim of the other superfluous."""
        return other in _COVERED[self]


_COVERED: dict[Mode, frozenset[Mode]] = {
    Mode.EXCLUSIVE: frozenset(Mode),
    Mode.SHARED_INTENTION_EXCLUSIVE: frozenset(Mode) - {Mode.EXCLUSIVE},
    Mode.SHARED: frozenset({Mode.SHARED, Mode.INTENTION_SHARED}),
    Mode.INTENTION_EXCLUSIVE: frozenset({Mode.INTENTION_EXCLUSIVE, Mode.INTENTION_SHARED}),
    Mode.INTENTION_SHARED: frozenset({Mode.INTENTION_SHARED}),
}


class DeadlockAction(enum.Enum):
    """What happens to a request that is chosen as the victim of a deadlock."""

    ABORT_WAIT = "abort-wait"
    """The wait ends; what the owner holds stays held."""
    RELEASE_OWNER = "release-owner"
    """All waits and all grants of the owner end."""


@dataclass(frozen=True)
class Claim:
    """One lock name with the mode in which it is asked for or held."""

    name: str
    mode: Mode = Mode.EXCLUSIVE


@dataclass(frozen=True)
class Stamp:
    """The place in the log at which something happened, and the cluster time then."""

    index: int
    offset: int
    time_ms: int
    """Elapsed time of the cluster in milliseconds; it is no date."""


@dataclass(frozen=True)
class Blocker:
    """One holder, ghost or earlier waiter in the way of a request."""

    kind: str
    """`holder`, `ghost` (left behind by an unclean end) or `waiter` (waits ahead)."""
    name: str
    mode: Mode
    session_id: int
    owner: str
    grant_id: int
    request_id: int


@dataclass(frozen=True)
class CycleStep:
    """One owner of a deadlock and what it waits for; the last waits for the first."""

    session_id: int
    owner: str
    request_id: int
    claim: Claim


@dataclass(frozen=True)
class GrantInfo:
    """A grant as the server has it."""

    id: int
    token: int
    claims: tuple[Claim, ...]
    depth: int
    expires_in: float
    """Seconds left on its nearest deadline unless renewed; 0 if not known."""


@dataclass(frozen=True)
class HolderInfo:
    """A grant on one name."""

    session_id: int
    owner: str
    mode: Mode
    implied: bool
    """Whether the claim is implied by claims further down."""
    grant: GrantInfo
    metadata: str
    session_metadata: str
    age: float


@dataclass(frozen=True)
class WaiterInfo:
    """A waiting request on one name."""

    session_id: int
    owner: str
    request_id: int
    mode: Mode
    claims: tuple[Claim, ...]
    position: int
    priority: int
    age: float
    wait_left: float
    metadata: str
    converts: int
    """The grant that is being converted; 0 for an acquire."""


@dataclass(frozen=True)
class GhostInfo:
    """What an unclean end left on a name."""

    grant_id: int
    mode: Mode
    expires_in: float


@dataclass(frozen=True)
class LockInfo:
    """One lock: who holds it, who waits (the first 1000 of each), what unclean ends left."""

    name: str
    holders: tuple[HolderInfo, ...]
    holders_total: int
    waiters: tuple[WaiterInfo, ...]
    waiters_total: int
    ghosts: tuple[GhostInfo, ...]


@dataclass(frozen=True)
class SessionInfo:
    """One session."""

    id: int
    namespace: str
    metadata: str
    ttl: float
    expires_in: float
    age: float
    grants: int
    waiting: int
    implicit: bool
    """Whether it lives and dies with one grant."""


@dataclass(frozen=True)
class LockEvent:
    """Something that happened to a lock.

    `kind` is `PROGRESS` (nothing happened; the cursor moves on), `GRANTED`, `QUEUED`, `RELEASED`,
    `EXPIRED`, `REVOKED`, `CANCELLED`, `CONVERTED` or `DEADLOCK`.
    """

    kind: str
    claims: tuple[Claim, ...]
    session_id: int
    owner: str
    request_id: int
    grant_id: int
    token: int
    outcome: str
    """Of a wait that ended without a grant; empty otherwise."""
    ended: str
    """Why a grant ended; empty otherwise."""
    cycle: tuple[CycleStep, ...]
    detail: str
    stamp: Stamp
    cursor: str
    """Give it to `watch` to resume after this event."""


@dataclass(frozen=True)
class WaitStep:
    """One blocker in the chain of those in the way."""

    distance: int
    """1 blocks the request directly."""
    blocker: Blocker
    age: float
    session_metadata: str
    session_expires_in: float
    session_at_risk: bool
    """Its session seems to be without renewal."""


@dataclass(frozen=True)
class Explanation:
    """Why a request waits. The steps are breadth first, the first 64."""

    waiting: bool
    waiter: WaiterInfo | None
    steps: tuple[WaitStep, ...]
    stamp: Stamp


@dataclass(frozen=True)
class Leader:
    """Who leads an election."""

    value: str
    """What the leader announced."""
    token: int
    """Its fencing token; a later leader has a greater one."""
    session_id: int


def label(claims: tuple[Claim, ...]) -> str:
    """Name claims in messages."""
    names = [c.name for c in claims]
    if len(names) > 3:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return ", ".join(names)
