"""A session on a virtual clock: deadlines, risk, loss, renewal, batches, ids, repairs."""

from __future__ import annotations

import asyncio

import pytest
from protobuf.wkt.google.protobuf.duration_pb import Duration

import holdfast
from fakes import CLUSTER, MS, World, granted, queued, results, settle
from holdfast._batch import WINDOW
from holdfast._errors import LostReason, Reason, error
from holdfast._gen.holdfast.v1 import errors_pb, lock_pb, session_pb, types_pb
from holdfast._transport import Timing

Kind = session_pb.SessionEventKind


async def hold(w: World, grant_id: int = 1, **more: int):
    op = w.submit()
    w.script.answer(lambda r: results(("acquire", granted(grant_id, **more))))
    await settle()
    assert op.error is None
    assert op.hold is not None
    return op.hold


async def test_usable_until_99_percent_less_the_margin() -> None:
    """HF-2.9, HF-11.2: 30 s x 0.99 - 50 ms, by the clock at every use."""
    w = World()
    h = await hold(w)
    w.at(29.649)
    assert h.check() is None
    w.at(29.651)
    lost = h.check()
    assert lost is not None
    assert lost.lost_reason is LostReason.EXPIRED
    assert h.loss.is_set()
    assert w.session.ended is not None
    await settle()
    assert w.script.closed == [True]  # it is given up, so that the next need not wait


async def test_margin_is_two_round_trips() -> None:
    w = World(trip_ms=100)
    assert w.session.usable(w.session.expires) - w.start == int(29.7e9) - 200 * MS
    w = World(margin=1.0)
    assert w.session.usable(w.session.expires) - w.start == int(29.7e9) - 1050 * MS


async def test_anchor_is_the_instant_before_sending() -> None:
    """An answer that was long on its way gives no more than it may."""
    w = World()
    s = w.session
    s.anchor(Timing(w.start + 5 * 10**9, 0), types_pb.Stamp(index=9, time_ms=6000),
             types_pb.Deadlines(session_ms=36000))
    late = s.usable(s.expires)
    assert late - w.start == 5 * 10**9 + int(29.7e9) - 50 * MS
    # T stood still for a while: the older anchor says less, and is not taken.
    s.anchor(Timing(w.start + 5 * 10**9, 0), types_pb.Stamp(index=10, time_ms=9000),
             types_pb.Deadlines(session_ms=36000))
    assert s.usable(s.expires) == late
    s.anchor(Timing(w.start, 0), None, types_pb.Deadlines(session_ms=99000))  # errors anchor none
    assert s.usable(s.expires) == late


async def test_at_risk_and_calm_again() -> None:
    """HF-11.3: half the ttl has passed since the last command known to have renewed it."""
    w = World()
    s = w.session
    w.at(14.9)
    s.inspect_once()
    assert not s.at_risk.is_set()
    w.at(15.1)
    s.inspect_once()
    risk = s.at_risk
    assert risk.is_set()
    s.anchor(Timing(w.now, 0), types_pb.Stamp(index=9, time_ms=16000),
             types_pb.Deadlines(session_ms=46000))
    assert not s.at_risk.is_set()
    assert risk.is_set()
    w.at(60)
    s.inspect_once()
    assert isinstance(s.ended, holdfast.SessionExpiredError)


async def test_looks_at_least_every_second_and_at_every_deadline() -> None:
    w = World()
    assert w.session.inspect_once() == 10**9
    await hold(w, lease_ms=1500)
    look = w.session.inspect_once()
    assert look is not None
    assert abs(look - (495 - 50) * MS) <= MS
    w.at(0.5)
    w.session.inspect_once()
    assert [h.lost.lost_reason for h in w.lost if h.lost] == [LostReason.EXPIRED]
    assert w.session.ended is None  # the loss of one grant leaves its session alone


async def test_renewal_is_due_at_a_third_with_jitter() -> None:
    """HF-11.1: ttl/3 after the last command that renewed, 10 % of jitter; at most ttl/10 after a
    failure."""
    w = World()
    s = w.session
    drawn = [s.until_renewal(0) for _ in range(500)]
    assert 9.0 <= min(drawn) < 9.2
    assert 10.8 < max(drawn) <= 11.0
    w.at(4)
    await hold(w)  # any command renews
    assert 9.0 <= s.until_renewal(0) <= 11.0
    assert max(s.until_renewal(9) for _ in range(500)) <= 3.0 * 1.0


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (types_pb.EndReason.REVOKED, LostReason.REVOKED),
        (types_pb.EndReason.RESTORED, LostReason.FORKED),
        (types_pb.EndReason.SESSION_EXPIRED, LostReason.EXPIRED),
    ],
)
async def test_session_that_the_service_ended(
    ended: types_pb.EndReason, reason: LostReason
) -> None:
    w = World()
    h = await hold(w)
    waiting = w.submit("b")
    w.script.answer(lambda r: results(("acquire", queued())))
    await settle()
    w.session.listener._take(
        session_pb.EventsResponse(kind=Kind.ENDED, ended=ended, detail="why", cluster=CLUSTER),
        anew=False,
    )
    assert h.lost is not None
    assert (h.lost.lost_reason, h.lost.detail) == (reason, "why")
    assert isinstance(waiting.error, holdfast.SessionExpiredError)
    await settle()
    assert w.script.closed == []  # the service knows


async def test_unknown_session_and_new_epoch_are_forks() -> None:
    w = World()
    h = await hold(w)
    w.session.refused(error(Reason.SESSION_NOT_FOUND, "session 7 is not known"))
    assert h.lost is not None
    assert h.lost.lost_reason is LostReason.FORKED
    w = World()
    w.session.same_history(types_pb.ClusterRef(cluster_id="c", epoch=1))
    assert w.session.ended is None
    w.session.same_history(types_pb.ClusterRef(cluster_id="c", epoch=2))
    assert w.session.ended is not None


async def test_retry_has_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF-11.7, HF-7.1."""
    monkeypatch.setattr("holdfast._batch.pause", lambda failures, e: 0.0)
    w = World()
    op = w.submit()
    w.script.answer(lambda r: error(Reason.OUTCOME_UNKNOWN, "?"))
    w.script.answer(lambda r: results(("error", errors_pb.Error(
        reason=errors_pb.ErrorReason.NO_QUORUM))))
    w.script.answer(lambda r: results(("acquire", granted(3))))
    for _ in range(5):
        await settle()
    assert op.hold is not None
    sent = [b.operations[0] for b in w.script.batches]
    assert len(sent) == 3
    assert sent[0] == sent[1] == sent[2]
    assert sent[0].operation is not None
    assert sent[0].operation.value.request_id == 1


async def test_company_gathers_while_a_batch_is_away() -> None:
    """HF-11.6: what comes meanwhile goes together when it comes back."""
    w = World()
    first = w.submit("a")
    await settle()
    later = [w.submit(f"c{i}") for i in range(5)]
    await settle()
    assert [len(b.operations) for b in w.script.batches] == [1]
    w.script.answer(lambda r: results(("acquire", granted(1))))
    await settle()
    assert first.hold is not None
    assert [len(b.operations) for b in w.script.batches] == [1, 5]
    assert [b.acked for b in w.script.batches] == [0, 1]
    assert [op.id for op in later] == [2, 3, 4, 5, 6]


async def test_a_second_batch_goes_for_32_or_beside_one_that_is_late() -> None:
    """HF-11.6: and never a third."""
    w = World()
    w.submit("a")
    await settle()
    for i in range(32):
        w.submit(f"b{i}")
    await settle()
    assert [len(b.operations) for b in w.script.batches] == [1, 32]
    for i in range(50):
        w.submit(f"c{i}")
    w.at(1)
    await settle()
    assert len(w.script.batches) == 2
    w = World(trip_ms=10)
    w.submit("a")
    await settle()
    w.submit("b")
    w.at(0.019)
    w.session.batcher._pump()
    await settle()
    assert len(w.script.batches) == 1
    w.at(0.021)
    w.session.batcher._pump()
    await settle()
    assert len(w.script.batches) == 2


async def test_window_of_ids() -> None:
    """HF-7.2: no id 512 or more above the oldest that has had no answer; QUEUED is an answer."""
    w = World()
    for i in range(WINDOW + 10):
        w.submit(f"n{i}")
    await settle()
    assert [len(b.operations) for b in w.script.batches] == [WINDOW]
    w.script.answer(lambda r: results(*[("acquire", queued()) for _ in r.operations]))
    await settle()
    assert [len(b.operations) for b in w.script.batches] == [WINDOW, 10]


async def test_malformed_operation_alone_is_refused() -> None:
    """HF-11.6: then its operations are sent one by one."""
    w = World()
    ops = [w.submit(n) for n in ("a", "b//c")]
    refusal = error(Reason.INVALID_NAME, "operations[1].acquire.claims[0].name: empty segment",
                    field="operations[1].acquire.claims[0].name")
    alone = error(Reason.INVALID_NAME, "operations[0].acquire.claims[0].name: empty segment",
                  field="operations[0].acquire.claims[0].name")
    w.script.answer(lambda r: refusal)
    await settle()
    w.script.answer(lambda r: results(("acquire", granted(1))))
    w.script.answer(lambda r: alone)
    await settle()
    assert ops[0].hold is not None
    assert isinstance(ops[1].error, holdfast.InvalidNameError)
    assert ops[1].error.field == "claims[0].name"
    assert ops[1].error.message == "claims[0].name: empty segment"


async def test_abandoned_before_it_was_sent() -> None:
    w = World()
    op = w.submit()
    w.session.batcher.abandon(op)
    await settle()
    assert w.script.batches == []
    assert isinstance(op.error, holdfast.WaitCancelledError)


async def test_grant_that_came_first_is_given_back() -> None:
    """HF-7.5: a cancel follows an abandoned acquire, and a grant that came first is released."""
    w = World()
    op = w.submit()
    await settle()
    w.at(1)  # the first batch is late
    w.session.batcher.abandon(op)
    await settle()
    (cancel,) = w.script.batches[1].operations
    assert cancel.operation is not None
    assert (cancel.operation.field, cancel.operation.value.request_id) == ("cancel", 1)
    w.at(2)  # and so is the second
    w.script.answer(lambda r: results(("acquire", granted(4))))
    await settle()
    (release,) = w.script.batches[2].operations
    assert release.operation is not None
    assert (release.operation.field, release.operation.value.grant_id) == ("release", 4)
    assert w.session.holds == {}


async def test_event_is_faster_than_its_answer() -> None:
    w = World()
    op = w.submit()
    await settle()
    grant = granted(6)
    w.session.listener._take(
        session_pb.EventsResponse(kind=Kind.OUTCOME, request_id=1, outcome=grant.outcome,
                                  grant=grant.grant, stamp=grant.stamp, cluster=CLUSTER),
        anew=False,
    )
    assert op.hold is not None
    w.script.answer(lambda r: results(("acquire", queued())))
    await settle()
    assert op.hold.uses == op.hold.depth == 1


async def test_loss_is_told_before_its_grant() -> None:
    w = World()
    op = w.submit()
    await settle()
    w.session.listener._take(
        session_pb.EventsResponse(kind=Kind.LOST, grant=types_pb.Grant(id=8),
                                  ended=types_pb.EndReason.REVOKED, cluster=CLUSTER),
        anew=False,
    )
    w.script.answer(lambda r: results(("acquire", granted(8))))
    await settle()
    assert op.hold is not None
    assert op.hold.lost is not None
    assert op.hold.lost.lost_reason is LostReason.REVOKED


async def test_stream_that_begins_anew_is_repaired() -> None:
    """HF-11.6: waits are repeated by their ids, grants looked at with a renewal; those with a lease
    are not renewed behind their holder's back."""
    w = World()
    h = await hold(w, 1, index=10)
    timed = await hold(w, 2, index=10, lease_ms=20000)
    op = w.submit("b")
    w.script.answer(lambda r: results(("acquire", queued(index=20))))
    await settle()
    before = len(w.script.batches)
    w.session.listener._take(
        session_pb.EventsResponse(kind=Kind.STATE, stamp=types_pb.Stamp(index=30),
                                  deadlines=types_pb.Deadlines(session_ms=31000), cluster=CLUSTER),
        anew=True,
    )
    await settle()
    sent = [o.operation for b in w.script.batches[before:] for o in b.operations]
    fields = sorted((o.field, o.value.request_id) for o in sent if o is not None)
    assert fields == [("acquire", op.id), ("renew", op.id + 1)]
    assert timed.untold == 30

    def answer(r: lock_pb.ExecuteRequest) -> lock_pb.ExecuteResponse:
        made = []
        for o in r.operations:
            assert o.operation is not None
            if o.operation.field == "acquire":
                made.append(("acquire", granted(9, index=25)))
            else:
                made.append(("error", errors_pb.Error(
                    reason=errors_pb.ErrorReason.NOT_HOLDER, ended=types_pb.EndReason.REVOKED)))
        return results(*made)

    w.script.answer(answer)
    w.script.answer(answer)
    await settle()
    assert op.hold is not None
    assert h.lost is not None
    assert h.lost.lost_reason is LostReason.REVOKED
    w.session.end(error(Reason.CLOSED), LostReason.CLOSED, "")
    await settle()


async def test_rate_limit_waits_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    w = World()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda delay, f: asked.append(delay))
    w.submit()
    w.script.answer(lambda r: results(("error", errors_pb.Error(
        reason=errors_pb.ErrorReason.RATE_LIMITED, retry_after=Duration(seconds=3)))))
    await settle()
    assert asked == [3.0]
