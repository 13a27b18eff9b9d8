"""Pure logic: clocks, back-off, errors, fences, names of decorated calls."""

from __future__ import annotations

import sqlite3

import pytest

import holdfast
from holdfast import Mode, Reason, fence
from holdfast._clock import SUSPEND_LEAP, LeapClock, system_clock
from holdfast._convert import duration_out, error_in, lost_by_name
from holdfast._engine import Latch
from holdfast._errors import LostReason, error, retryable
from holdfast._gen.holdfast.v1 import errors_pb, types_pb
from holdfast._public import name_for
from holdfast._retry import backoff, ceiling, pause
from holdfast._transport import parse_endpoint

S = 10**9


def test_system_clock_runs() -> None:
    assert 0 < system_clock() <= system_clock()


def test_leap_clock() -> None:
    """HF-11.2: a wall clock that ran more than 1 s ahead of the monotonic one means lost."""
    mono, wall = 3600 * S, 10**6 * S
    clock = LeapClock(lambda: mono, lambda: wall)
    for m, w, want, what in [
        (60 * S, 60 * S, 60 * S, "both run"),
        (60 * S, 60 * S + 9 * S // 10, 60 * S, "the wall clock runs ahead a little"),
        (0, S // 5, SUSPEND_LEAP, "and a little more"),
        (60 * S, 60 * S, 60 * S, "both run again"),
        (S, -3600 * S, S, "the wall clock is set back"),
        (S, S + S // 2, S, "which is forgotten"),
        (S, 8 * 3600 * S, SUSPEND_LEAP + S, "the machine slept"),
    ]:
        before = clock()
        mono += m
        wall += w
        assert clock() - before == want, what


def test_backoff() -> None:
    """HF-11.7: 50 ms doubling to 2 s, full jitter; the server's advice if that is longer."""
    assert [ceiling(n) for n in range(1, 9)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert ceiling(10**6) == 2.0
    drawn = [backoff(7) for _ in range(1000)]
    assert 0 <= min(drawn) < 0.2
    assert 1.8 < max(drawn) <= 2
    e = error(Reason.RATE_LIMITED)
    e.retry_after = 5
    assert pause(1, e) == 5


def test_every_reason_has_an_error() -> None:
    """HF-11.10: the whole catalogue, each with a class of its own that is exported."""
    wire = {r.name for r in errors_pb.ErrorReason} - {"UNSPECIFIED"}
    assert wire <= set(Reason.__members__)
    refusals = {"HELD", "WAIT_LIMIT_REACHED", "CANCELLED", "DEADLOCK_VICTIM", "REVOKED"}
    others = {"UNSPECIFIED", "GRANTED", "QUEUED", "SESSION_ENDED"}
    assert {o.name for o in types_pb.Outcome} == refusals | others
    classes = set()
    for reason in Reason:
        made = error(reason) if reason is not Reason.LOST else holdfast.LostError("a", 1)
        assert made.reason is reason
        assert getattr(holdfast, type(made).__name__) is type(made)
        assert str(made)
        classes.add(type(made))
    assert len(classes) == len(Reason)
    for name in wire:
        value = errors_pb.ErrorReason[name]
        assert error_in(errors_pb.Error(reason=value, message="m")).reason.name == name


def test_error_of_tomorrow_is_internal_and_final() -> None:
    made = error_in(errors_pb.Error(reason=999, message="new"))  # type: ignore[arg-type]
    assert isinstance(made, holdfast.InternalError)
    assert not retryable(made)


def test_error_text() -> None:
    e = error(Reason.UNAVAILABLE, "get a", cause=ConnectionError("refused"), hint="is it up?")
    assert str(e) == "get a: refused (hint: is it up?)"
    assert repr(e) == "UnavailableError('get a')"
    assert str(holdfast.HeldError()) == "held"


def test_loss_by_end() -> None:
    """HF-11.3."""
    assert {r.name: lost_by_name(r.name) for r in types_pb.EndReason} == {
        "UNSPECIFIED": LostReason.EXPIRED,
        "RELEASED": LostReason.CLOSED,
        "CLOSED": LostReason.CLOSED,
        "ABANDONED": LostReason.EXPIRED,
        "SESSION_EXPIRED": LostReason.EXPIRED,
        "LEASE_EXPIRED": LostReason.EXPIRED,
        "MAX_HOLD_REACHED": LostReason.EXPIRED,
        "REVOKED": LostReason.REVOKED,
        "DEADLOCK_VICTIM": LostReason.VICTIM,
        "RESTORED": LostReason.FORKED,
    }
    assert lost_by_name("of tomorrow") is LostReason.EXPIRED


def test_modes_cover() -> None:
    covered = {m.value: {o.value for o in Mode if m.covers(o)} for m in Mode}
    assert covered == {
        "X": {"X", "S", "IS", "IX", "SIX"}, "SIX": {"S", "IS", "IX", "SIX"},
        "S": {"S", "IS"}, "IX": {"IX", "IS"}, "IS": {"IS"},
    }


def test_durations_are_rounded_up() -> None:
    made = duration_out(1.0001)
    assert made is not None
    assert (made.seconds, made.nanos) == (1, 10**6)
    zero = duration_out(0)
    assert zero is not None
    assert (zero.seconds, zero.nanos) == (0, 0)
    assert duration_out(None) is None


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("127.0.0.1:7480", "http://127.0.0.1:7480"),
        (" https://a.example/ ", "https://a.example"),
        ("http://[::1]:7480", "http://[::1]:7480"),
        ("https://a/b/", "https://a/b"),
    ],
)
def test_endpoints(text: str, base: str) -> None:
    assert parse_endpoint(text) == base


@pytest.mark.parametrize("text", ["", "ftp://a", "http://", "http://a?b", "http://u@a", "http://a:x"])
def test_bad_endpoints(text: str) -> None:
    with pytest.raises(holdfast.InvalidArgumentError):
        parse_endpoint(text)


def test_names_of_decorated_calls() -> None:
    def f(a: int, b: str = "y", *, c: int = 3) -> None: ...

    assert name_for("x/{a}/{b}/{c}", f, (1,), {"c": 5}) == "x/1/y/5"
    assert name_for("plain", f, (1,), {}) == "plain"
    assert name_for(lambda a: f"n/{a}", f, (1,), {}) == "n/1"


def test_latch() -> None:
    latch = Latch()
    calls: list[int] = []
    latch.add(lambda: calls.append(1))

    def gone() -> None:
        calls.append(9)

    latch.add(gone)
    latch.remove(gone)
    latch.set()
    latch.set()
    latch.add(lambda: calls.append(2))
    assert calls == [1, 2]


W, R = fence.Access.WRITE, fence.Access.READ
RULE = [
    (5, W, True),
    (5, W, True),  # the holder goes on writing
    (4, W, False),  # somebody who held it before
    (4, R, False),
    (6, R, True),  # a reader that was granted later
    (5, W, False),  # the writer from before that reader is too old now
    (5, R, True),  # but it may read what it wrote itself
    (7, W, True),
    (6, R, False),
    (0, W, False),  # no token at all
    (-1, R, False),
]


class Memory:
    def __init__(self) -> None:
        self.value, self.version, self.refuse = "", 0, 3

    def get(self, key: str) -> tuple[str, int]:
        return self.value, self.version

    def put(self, key: str, value: str, version: int) -> bool:
        if self.refuse:
            self.refuse -= 1
            self.version += 1
            return False
        if version != self.version:
            return False
        self.value, self.version = value, version + 1
        return True


@pytest.mark.parametrize("kind", ["guard", "store", "sqlite"])
def test_fences(kind: str) -> None:
    """HF-6.4 and HF-11.4, access by access."""
    guard, store, sql = fence.Guard(), Memory(), fence.SQL()
    db = sqlite3.connect(":memory:")
    cursor = db.cursor()
    cursor.execute(sql.schema)
    for token, access, admitted in RULE:
        try:
            if kind == "guard":
                guard.check("r", token, access)
            elif kind == "store":
                fence.compare_and_set(store, "r", token, access)
            else:
                sql.check(cursor, "r", token, access)
            assert admitted, (token, access)
        except fence.StaleError as e:
            assert not admitted, (token, access)
            assert e.token == token
    cursor.close()
    db.close()


def test_fence_text() -> None:
    mark = fence.Mark(2**63 - 1, 7)
    assert fence.Mark.parse(str(mark)) == mark
    assert fence.Mark.parse("") == fence.Mark()
    for bad in ("7", "a b", "1 2 3", "-1 2"):
        with pytest.raises(ValueError, match="not a fence mark"):
            fence.Mark.parse(bad)
    assert "$1, $2, $3" in fence.SQL(placeholder="$").statement()
    assert "%s, %s, %s" in fence.SQL(placeholder="%s").statement(R)


def test_fence_over_http() -> None:
    guard = fence.Guard()

    def app(environ, start):
        start("200 OK", [])
        return [b""]

    guarded = fence.wsgi(guard, lambda e: e["PATH_INFO"], app)
    statuses: list[str] = []

    def ask(method: str, token: str) -> str:
        environ = {"REQUEST_METHOD": method, "PATH_INFO": "/orders/42"}
        if token:
            headers: dict[str, str] = {}
            if token.isdecimal():
                fence.set_header(headers, int(token))
            environ["HTTP_HOLDFAST_TOKEN"] = headers.get(fence.HEADER, token)
        list(guarded(environ, lambda status, headers: statuses.append(status)))
        return statuses[-1][:3]

    for method, token, want in [
        ("PUT", "", "428"), ("PUT", "x", "428"), ("PUT", "-1", "428"), ("PUT", "7", "200"),
        ("PUT", "6", "412"), ("GET", "6", "412"), ("GET", "8", "200"), ("PUT", "7", "412"),
    ]:
        assert ask(method, token) == want
