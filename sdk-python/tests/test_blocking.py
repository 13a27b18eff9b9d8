"""The blocking client against a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

import holdfast
from conftest import eventually
from holdfast import Client, Mode


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as c:
        yield c


@pytest.fixture
def other(url: str) -> Iterator[Client]:
    with Client(url) as c:
        yield c


def in_thread(f):
    box = []

    def run():
        try:
            box.append(f())
        except BaseException as e:
            box.append(e)

    thread = threading.Thread(target=run)
    thread.start()

    def result():
        thread.join(30)
        assert not thread.is_alive()
        if isinstance(box[0], BaseException):
            raise box[0]
        return box[0]

    return result


def waiters(c: Client, name: str) -> int:
    return c.get_lock(name).waiters_total


def test_hold_and_release(client: Client, name: str) -> None:
    with client.lock(name).hold() as h:
        assert h.held
        assert h.token > 0
        assert 0 < h.remaining <= 30
        assert not h.lost
        assert not h.at_risk
        h.check()
        info = client.get_lock(name)
        assert [x.grant.token for x in info.holders] == [h.token]
    assert client.get_lock(name).holders == ()
    with pytest.raises(holdfast.ReleasedError):
        h.check()
    h.release()  # does nothing


def test_tokens_rise(client: Client, name: str) -> None:
    tokens = []
    for _ in range(3):
        with client.lock(name).hold() as h:
            tokens.append(h.token)
    assert tokens == sorted(set(tokens))


def test_contention(client: Client, other: Client, name: str) -> None:
    with client.lock(name).hold() as h:
        assert other.lock(name).try_acquire() is None
        with pytest.raises(holdfast.HeldError) as held:
            other.lock(name).acquire(wait=0)
        assert held.value.blockers[0].session_id == h.session_id
        assert "is held by session" in str(held.value)
        with pytest.raises(holdfast.WaitLimitError, match="the wait limit has passed"):
            other.lock(name).acquire(wait=0.1)
        waiting = in_thread(lambda: other.lock(name).acquire(wait=20))
        eventually(lambda: waiters(client, name) == 1)
    with waiting() as granted:
        assert granted.token > h.token


def test_cancel_from_outside(client: Client, other: Client, name: str) -> None:
    cancel = holdfast.Cancel()
    with client.lock(name).hold():
        waiting = in_thread(lambda: other.lock(name).acquire(cancel=cancel))
        eventually(lambda: waiters(client, name) == 1)
        cancel.cancel()
        with pytest.raises(holdfast.WaitCancelledError):
            waiting()
        eventually(lambda: waiters(client, name) == 0)
    with pytest.raises(holdfast.WaitCancelledError):
        other.lock(name).acquire(cancel=cancel)


def test_a_thread_reenters_and_another_waits(client: Client, name: str) -> None:
    lock = client.lock(name)
    with lock.hold() as outer:
        with lock.hold() as inner, lock.shared().hold() as weaker:
            assert inner.token == outer.token == weaker.token
            assert client.get_lock(name).holders[0].grant.depth == 1  # counted here alone
        assert outer.held
        with pytest.raises(holdfast.HeldError):
            lock.acquire(wait=0, reentrant=False)
        assert in_thread(lock.try_acquire)() is None
    assert client.get_lock(name).holders_total == 0


def test_shared_and_exclusive(client: Client, other: Client, name: str) -> None:
    with client.lock(name).shared().hold(), other.lock(name).shared().hold() as reader:
        assert client.get_lock(name).holders_total == 2
        assert other.lock(name).shared().exclusive().try_acquire() is None
        assert reader.claims == (holdfast.Claim(name, Mode.SHARED),)


def test_convert(client: Client, other: Client, name: str) -> None:
    with client.lock(name).shared().hold() as h:
        token = h.token
        h.upgrade()
        assert h.token > token
        assert other.lock(name).shared().try_acquire() is None
        h.downgrade()
        with other.lock(name).shared().hold():
            with pytest.raises(holdfast.WaitLimitError):
                h.upgrade(wait=0.1)
            assert h.claims[0].mode is Mode.SHARED
        h.convert(name, Mode.EXCLUSIVE)
        assert h.claims[0].mode is Mode.EXCLUSIVE


def test_many_names_at_once_and_drop(client: Client, other: Client, name: str) -> None:
    a, b = f"{name}/a", f"{name}/b"
    with client.lock_all(client.lock(a), client.lock(b).shared()).hold() as h:
        assert {c.name for c in h.claims} == {a, b}
        assert other.lock(a).try_acquire() is None
        h.drop(a)
        taken = other.lock(a).try_acquire()
        assert taken is not None
        taken.release()
        assert [c.name for c in h.claims] == [b]


def test_hierarchy(client: Client, other: Client, name: str) -> None:
    with client.lock(f"{name}/1").hold():
        assert other.lock(name).try_acquire() is None
        with other.lock(f"{name}/2").hold():
            pass


def test_priority_goes_first(client: Client, other: Client, name: str) -> None:
    order: list[int] = []

    def take(priority: int) -> None:
        with other.lock(name).hold(priority=priority):
            order.append(priority)

    with client.lock(name).hold():
        low = in_thread(lambda: take(0))
        eventually(lambda: waiters(client, name) == 1)
        high = in_thread(lambda: take(10))
        eventually(lambda: waiters(client, name) == 2)
    low()
    high()
    assert order == [10, 0]


def test_lease_ends_unless_renewed(client: Client, name: str) -> None:
    h = client.lock(name).acquire(lease=1.0)
    h.renew()
    assert h.held
    assert h.lost.wait(10)
    assert h.lost_reason is holdfast.LostReason.EXPIRED
    with pytest.raises(holdfast.LostError):
        h.check()
    h.release()
    eventually(lambda: client.get_lock(name).holders_total == 0)  # the server is a little later
    with client.lock(name).hold() as again:
        assert again.session_id == h.session_id


def test_with_block_tells_a_loss(client: Client, name: str) -> None:
    seen: list[holdfast.LostReason] = []
    with pytest.raises(holdfast.LostError) as lost, client.lock(name).hold() as h:
        h.on_lost(seen.append)
        client.admin.revoke_grant(h.grant_id, "maintenance")
        assert h.lost.wait(10)
        assert not h.held
    assert lost.value.lost_reason is holdfast.LostReason.REVOKED
    assert "maintenance" in lost.value.detail
    eventually(lambda: seen == [holdfast.LostReason.REVOKED])


def test_own_error_is_not_hidden(client: Client, name: str) -> None:
    with pytest.raises(KeyError), client.lock(name).hold() as h:
        client.admin.revoke_grant(h.grant_id)
        assert h.lost.wait(10)
        raise KeyError("own")


def test_revoked_session(url: str, name: str) -> None:
    with Client(url) as c:
        h = c.lock(name).acquire()
        before = c.session_id()
        c.admin.revoke_session(before, "gone")
        assert h.lost.wait(10)
        assert h.lost_reason is holdfast.LostReason.REVOKED
        with c.lock(name).hold() as again:
            assert again.session_id != before


def test_close_releases(client: Client, url: str, name: str) -> None:
    c = Client(url)
    h = c.lock(name).acquire()
    waiting = in_thread(lambda: client.lock(name).acquire(wait=20))
    eventually(lambda: waiters(client, name) == 1)
    c.close()
    c.close()
    assert h.lost_reason is holdfast.LostReason.CLOSED
    waiting().release()
    with pytest.raises(holdfast.ClosedError):
        c.lock(name).acquire()
    with pytest.raises(holdfast.ClosedError):
        c.get_lock(name)


def test_close_ends_waits(client: Client, url: str, name: str) -> None:
    c = Client(url)
    with client.lock(name).hold():
        waiting = in_thread(lambda: c.lock(name).acquire())
        eventually(lambda: waiters(client, name) == 1)
        c.close()
        with pytest.raises(holdfast.ClosedError):
            waiting()
        assert waiters(client, name) == 0


def test_locked(client: Client, other: Client, name: str) -> None:
    @client.locked(name + "/{order}")
    def work(order: int, *, by: str = "x") -> str:
        assert client.get_lock(f"{name}/{order}").holders_total == 1
        return f"{order} {by}"

    @client.locked(lambda order: f"{name}/{order}", on_busy="skip")
    def skip(order: int) -> int:
        return order

    assert work(7, by="me") == "7 me"
    assert work.__name__ == "work"
    assert skip(8) == 8
    with other.lock(f"{name}/8").hold():
        assert skip(8) is None


def test_run_retries_the_victim_of_a_deadlock(client: Client, other: Client, name: str) -> None:
    a, b = f"{name}/a", f"{name}/b"
    both = threading.Barrier(2)
    attempts = {"x": 0, "y": 0}

    def work(c: Client, who: str, first: str, second: str) -> str:
        def once() -> str:
            attempts[who] += 1
            c.lock(first).acquire()
            if attempts[who] == 1:
                both.wait(20)
            c.lock(second).acquire()
            return who

        return c.run(once)

    one = in_thread(lambda: work(client, "x", a, b))
    two = in_thread(lambda: work(other, "y", b, a))
    assert {one(), two()} == {"x", "y"}
    assert sum(attempts.values()) >= 3
    assert client.get_lock(a).holders_total == 0
    assert client.get_lock(b).holders_total == 0
    assert client.admin.deadlocks(5)


def test_deadlock_spells_out_the_cycle(client: Client, other: Client, name: str) -> None:
    x, y = f"{name}/x", f"{name}/y"
    ready = threading.Barrier(2)

    def hold(c: Client, first: str, second: str) -> None:
        with c.lock(first).hold():
            ready.wait(20)
            with c.lock(second).hold():
                pass

    errors = []
    for result in [in_thread(lambda: hold(client, x, y)), in_thread(lambda: hold(other, y, x))]:
        try:
            result()
        except holdfast.DeadlockVictimError as e:
            errors.append(e)
    (victim,) = errors
    assert {step.claim.name for step in victim.cycle} == {x, y}
    assert "to resolve a deadlock" in str(victim)


def test_election(client: Client, other: Client, name: str) -> None:
    first, second = client.election(name), other.election(name)
    assert first.leader() is None
    lead = first.campaign("one")
    assert second.leader() == holdfast.Leader("one", lead.token, lead.session_id)
    seen = second.observe()
    assert next(seen).value == "one"
    waiting = in_thread(lambda: second.campaign("two"))
    eventually(lambda: waiters(client, name) == 1)
    first.resign()
    next_lead = waiting()
    assert next(seen).value == "two"
    seen.close()
    next_lead.release()


def test_reads(client: Client, other: Client, name: str) -> None:
    holds = [client.lock(f"{name}/{i}").acquire(metadata=f"m{i}") for i in range(5)]
    listed = list(other.list_locks(name, page_size=2))
    assert [x.name for x in listed] == [name, *(f"{name}/{i}" for i in range(5))]
    assert any(s.id == client.session_id() for s in other.list_sessions(page_size=1))
    waiting = in_thread(lambda: other.lock(f"{name}/0").acquire(wait=20))
    eventually(lambda: waiters(client, f"{name}/0") == 1)
    why = client.explain_lock(f"{name}/0")
    assert why.waiting
    assert why.steps[0].blocker.session_id == client.session_id()
    assert why.waiter is not None
    same = client.explain_request(why.waiter.session_id, why.waiter.request_id, stale=True)
    assert same.waiting
    for h in holds:
        h.release()
    waiting().release()
    status = client.admin.status()
    assert status.healthy
    assert len(status.members) == 1


def test_watch(client: Client, other: Client, name: str) -> None:
    events = other.watch(name)
    assert next(events).kind == "PROGRESS"
    with client.lock(name).hold() as h:
        granted = next(e for e in events if e.kind != "PROGRESS")
        assert (granted.kind, granted.token) == ("GRANTED", h.token)
        assert granted.claims == (holdfast.Claim(name),)
    assert next(e for e in events if e.kind != "PROGRESS").kind == "RELEASED"
    events.close()
    resumed = other.watch(name, cursor=granted.cursor)
    assert next(e for e in resumed if e.kind != "PROGRESS").kind == "RELEASED"
    resumed.close()


def test_malformed(client: Client) -> None:
    with pytest.raises(holdfast.InvalidNameError) as bad:
        client.lock("a//b").acquire()
    assert "operations" not in str(bad.value)
    with pytest.raises(holdfast.InvalidArgumentError):
        client.lock("a").acquire(lease=0)
    with pytest.raises(holdfast.InvalidArgumentError):
        client.lock("a").acquire(priority=10**12)
    with pytest.raises(holdfast.InvalidArgumentError):
        client.lock_all().acquire()
    with pytest.raises(holdfast.InvalidArgumentError):
        Client()
    with pytest.raises(holdfast.InvalidArgumentError):
        Client("ftp://x")
    with pytest.raises(holdfast.InvalidArgumentError):
        Client("http://x", safety_margin=20)
    with pytest.raises(holdfast.InvalidModeError):
        client.lock("a").mode("X")  # type: ignore[arg-type]
    # One malformed operation in a batch does not hurt the others (HF-11.6).
    results = [in_thread(lambda i=i: client.lock("ok" if i else "a//b").acquire(wait=20))
               for i in range(2)]
    with pytest.raises(holdfast.InvalidNameError):
        results[0]()
    results[1]().release()


def test_ttl_out_of_range(url: str) -> None:
    with Client(url, ttl=0.5) as c, pytest.raises(holdfast.InvalidTTLError):
        c.lock("a").acquire()


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9", call_timeout=0.3) as c:
        started = time.monotonic()
        with pytest.raises(holdfast.UnavailableError) as e:
            c.lock("a").acquire()
        assert time.monotonic() - started < 5
        assert e.value.__cause__ is not None
        with pytest.raises(holdfast.UnavailableError):
            c.get_lock("a")


def test_no_holdfast_there(server) -> None:
    """The admin port speaks HTTP, and nothing of Holdfast."""
    admin = f"http://127.0.0.1:{server.port + 2}"
    with Client(admin, call_timeout=5) as c, pytest.raises(holdfast.InternalError, match="of this"):
        c.get_lock("a")


def test_namespaces_share_nothing(client: Client, url: str, name: str) -> None:
    with Client(url, namespace="elsewhere") as c, client.lock(name).hold(), c.lock(name).hold():
        assert c.get_lock(name).holders_total == 1
