"""A clock that runs while the machine sleeps. Deadlines are judged by it (HF-11.2)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Nanoseconds since some fixed instant, suspend included."""

SUSPEND_LEAP = 31 * 24 * 3600 * 10**9
"""How far `LeapClock` jumps when it suspects a suspend: past every deadline there can be."""


class LeapClock:
    """For systems without a clock that runs during suspend.

    It follows the monotonic clock. If the wall clock has run more than a second ahead of that, the
    machine may have slept for any length of time: it leaps, and whatever was held counts as lost.
    """

    def __init__(self, monotonic: Clock = time.monotonic_ns, wall: Clock = time.time_ns) -> None:
        self._monotonic, self._wall = monotonic, wall
        self._lock = threading.Lock()
        self._leapt = 0
        self._last = monotonic(), wall()

    def __call__(self) -> int:
        with self._lock:
            mono, wall = self._monotonic(), self._wall()
            ahead = (wall - self._last[1]) - (mono - self._last[0])
            if ahead > 10**9:
                self._leapt += SUSPEND_LEAP
            if ahead > 10**9 or ahead < 0:  # or it was set back: measure from here
                self._last = mono, wall
            return mono + self._leapt


def _system() -> Clock:
    if hasattr(time, "CLOCK_BOOTTIME"):
        boot = time.CLOCK_BOOTTIME
        return lambda: time.clock_gettime_ns(boot)
    return LeapClock()


system_clock: Clock = _system()
