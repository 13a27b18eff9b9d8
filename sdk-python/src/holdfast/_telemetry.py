"""What the client tells OpenTelemetry. Without its API, or without a provider, it does nothing."""

from __future__ import annotations

import time
from typing import Any

from ._errors import HoldfastError, LostReason
from ._types import Claim, label

try:
    from opentelemetry import metrics, trace
except ImportError:  # pragma: no cover - the RPC library of today brings it along
    metrics = None  # type: ignore[assignment]
    trace = None  # type: ignore[assignment]

INSTRUMENTATION = "holdfast"


class Telemetry:
    """Names are the same in every SDK."""

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        self._on = trace is not None and metrics is not None
        if not self._on:
            return
        self._tracer = trace.get_tracer(INSTRUMENTATION, tracer_provider=tracer_provider)
        meter = metrics.get_meter(INSTRUMENTATION, meter_provider=meter_provider)
        self._acquires = meter.create_counter(
            "holdfast.client.acquires", description="Acquires by outcome"
        )
        self._losses = meter.create_counter(
            "holdfast.client.losses", description="Locks lost while they were held, by reason"
        )
        self._wait = meter.create_histogram(
            "holdfast.client.acquire.duration",
            unit="s",
            description="Time from the call to the outcome of an acquire",
        )
        self._held = meter.create_histogram(
            "holdfast.client.hold.duration",
            unit="s",
            description="Time from the grant to the release by its holder",
        )

    def acquire(self, claims: tuple[Claim, ...]) -> Acquiring | None:
        """Begin the span of an acquire."""
        return Acquiring(self, claims) if self._on else None

    def lost(self, reason: LostReason) -> None:
        if self._on:
            self._losses.add(1, {"holdfast.reason": reason.value})

    def released(self, held: float) -> None:
        """End the time that a handle was held."""
        if self._on:
            self._held.record(held)


class Acquiring:
    """One acquire under way."""

    def __init__(self, telemetry: Telemetry, claims: tuple[Claim, ...]) -> None:
        self._t = telemetry
        self._start = time.monotonic()
        self._span = telemetry._tracer.start_span(
            "holdfast acquire",
            kind=trace.SpanKind.CLIENT,
            attributes={"holdfast.lock": label(claims), "holdfast.mode": str(claims[0].mode)},
        )

    def end(self, e: BaseException | None, token: int) -> None:
        outcome = "GRANTED"
        if isinstance(e, HoldfastError):
            outcome = e.reason.value
        elif e is not None:
            outcome = "CANCELLED"
        if e is not None:
            self._span.set_status(trace.StatusCode.ERROR, outcome)
        else:
            self._span.set_attribute("holdfast.token", token)
        attributes = {"holdfast.outcome": outcome}
        self._t._acquires.add(1, attributes)
        self._t._wait.record(time.monotonic() - self._start, attributes)
        self._span.end()
