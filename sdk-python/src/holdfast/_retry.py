"""When to try again: full jitter over 50 ms, doubling to 2 s (HF-11.7)."""

from __future__ import annotations

import random

from ._errors import HoldfastError

FIRST = 0.05
MOST = 2.0


def ceiling(failures: int) -> float:
    """The longest wait after so many failures in a row, from 1 on."""
    return min(MOST, FIRST * 2.0 ** min(max(0, failures - 1), 16))


def backoff(failures: int) -> float:
    """How long to wait before the next attempt, in seconds."""
    return random.random() * ceiling(failures)


def pause(failures: int, e: BaseException | None) -> float:
    """The wait before the next attempt after an error: the server's advice if that is longer."""
    wait = backoff(failures)
    return max(wait, e.retry_after) if isinstance(e, HoldfastError) else wait
