"""A circuit breaker for one endpoint (HF-11.8).

Counting and timing are circuitbreaker's. Added here are what a two-step call needs: one probe at a
time, attempts that say nothing, and attempts from before the last change of state, which say
nothing any more.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable
from dataclasses import dataclass

from circuitbreaker import CircuitBreaker

from ._errors import (
    ForkedError,
    HoldfastError,
    InternalError,
    NotLeaderError,
    QueueFullError,
    QuotaExceededError,
    RateLimitedError,
    UnavailableError,
)

FAILURES = 5  # so many in a row open it
OPEN_FOR = 2  # seconds; then it lets one probe through


class Verdict(enum.Enum):
    """What an attempt says about the endpoint it was made at."""

    SUCCESS = 1  # it answered; contention and refusals are answers
    FAILURE = 2  # it is not well
    EXCLUDED = 3  # nothing: the caller went away, or asked too much


class _Failure(Exception):
    pass


@dataclass
class Attempt:
    """An attempt that was allowed. It must be reported once."""

    generation: int
    probe: bool


class Breaker:
    """Used from the loop of the engine alone."""

    def __init__(self, name: str, changed: Callable[[str, str], None] | None = None) -> None:
        self._steps = CircuitBreaker(
            failure_threshold=FAILURES,
            recovery_timeout=OPEN_FOR,
            expected_exception=_Failure,
            name=name,
        )
        self._changed = changed
        self._state = "closed"
        self._generation = 0
        self._probing = False

    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        state = str(self._steps.state).replace("_", "-")
        if state != self._state:
            before, self._state = self._state, state
            self._generation += 1
            self._probing = False
            if self._changed:
                self._changed(before, state)
        return state

    def allow(self) -> Attempt | None:
        """Ask to make an attempt."""
        state = self.state()
        if state == "open" or self._probing:
            return None
        self._probing = state == "half-open"
        return Attempt(self._generation, self._probing)

    def report(self, attempt: Attempt, verdict: Verdict) -> None:
        """Tell how an attempt ended."""
        self.state()
        if attempt.generation != self._generation:
            return
        if attempt.probe:
            self._probing = False
        if verdict is Verdict.SUCCESS:
            self._steps.reset()
        elif verdict is Verdict.FAILURE:
            with contextlib.suppress(_Failure), self._steps:
                raise _Failure
        self.state()


def judge(e: BaseException | None) -> Verdict:
    """What the outcome of an attempt says about the endpoint. A cancelled attempt says nothing."""
    if e is None or isinstance(e, NotLeaderError):
        return Verdict.SUCCESS
    if not isinstance(e, HoldfastError):
        return Verdict.FAILURE if isinstance(e, Exception) else Verdict.EXCLUDED
    if isinstance(e, (RateLimitedError, QueueFullError, QuotaExceededError)):
        return Verdict.EXCLUDED
    if isinstance(e, (UnavailableError, InternalError, ForkedError)):
        return Verdict.FAILURE
    return Verdict.SUCCESS
