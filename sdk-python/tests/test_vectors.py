"""The breaker behaves as in every other language: conformance/vectors/breaker.json."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import circuitbreaker
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from holdfast._breaker import FAILURES, OPEN_FOR, Breaker, Verdict, judge
from holdfast._errors import Reason, error
from holdfast._transport import call_error

VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "conformance/vectors/breaker.json").read_text()
)
VERDICTS = {
    "success": Verdict.SUCCESS,
    "failure": Verdict.FAILURE,
    "excluded": Verdict.EXCLUDED,
}


def failure_of(outcome: str) -> BaseException | None:
    """The error that the SDK makes of an outcome."""
    made: dict[str, BaseException | None] = {
        "granted": None, "held": None, "queued": None,
        "transport_error": call_error(ConnectionRefusedError("refused")),
        "attempt_timeout": call_error(asyncio.TimeoutError()),
        "unknown": call_error(ConnectError(Code.UNKNOWN, "?")),
        "unavailable": call_error(ConnectError(Code.UNAVAILABLE, "?")),
        "caller_cancelled": asyncio.CancelledError(),
        "older_epoch": error(Reason.FORKED),
        "not_found": error(Reason.SESSION_NOT_FOUND),
        "failed_precondition": error(Reason.NOT_HOLDER),
        "out_of_range": error(Reason.COMPACTED),
    }
    return made[outcome] if outcome in made else error(Reason[outcome.upper()])


def test_settings() -> None:
    assert VECTORS["settings"] == {
        "consecutive_failures": FAILURES, "open_ms": OPEN_FOR * 1000, "half_open_attempts": 1,
    }


@pytest.mark.parametrize("outcome", VECTORS["outcomes"])
def test_outcomes(outcome: str) -> None:
    assert judge(failure_of(outcome)) is VERDICTS[VECTORS["outcomes"][outcome]]


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda c: c["name"])
def test_case(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(circuitbreaker, "monotonic", lambda: now)
    breaker = Breaker("test")
    attempts = {}
    for i, step in enumerate(case["steps"]):
        now = 1000.0 + step["at_ms"] / 1000
        for _ in range(step.get("times", 1)):
            if "done" in step:
                breaker.report(attempts[step["done"]], judge(failure_of(step["outcome"])))
                continue
            attempt = breaker.allow()
            assert (attempt is not None) == step["allowed"], (i, step)
            if attempt is None:
                continue
            if "allow" in step:
                attempts[step["allow"]] = attempt
            else:
                breaker.report(attempt, judge(failure_of(step["call"])))
        assert breaker.state() == step["state"], (i, step)
