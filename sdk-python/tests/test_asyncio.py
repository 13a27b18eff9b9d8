"""The asynchronous client against a real server: what is asyncio's own."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

import holdfast
from holdfast import AsyncClient


@pytest_asyncio.fixture
async def client(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url) as c:
        yield c


@pytest_asyncio.fixture
async def other(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url) as c:
        yield c


async def until(what: Callable[[], Awaitable[object]], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not await what():
        assert time.monotonic() < deadline, "it did not happen"


async def waiters(c: AsyncClient, name: str) -> int:
    return (await c.get_lock(name)).waiters_total


async def waiting(c: AsyncClient, name: str, n: int = 1) -> None:
    async def so() -> bool:
        return await waiters(c, name) == n

    await until(so)


async def free(c: AsyncClient, name: str) -> None:
    async def so() -> bool:
        return (await c.get_lock(name)).holders_total == 0

    await until(so)


async def test_hold_and_release(client: AsyncClient, other: AsyncClient, name: str) -> None:
    async with client.lock(name).hold(wait=5) as h:
        assert h.held
        assert await other.lock(name).try_acquire() is None
        async with client.lock(name).hold() as again:  # the same task
            assert again.token == h.token
        with pytest.raises(holdfast.WaitLimitError):
            await other.lock(name).acquire(wait=0.1)
    taken = await other.lock(name).try_acquire()
    assert taken is not None
    async with taken:
        assert taken.token > h.token


async def test_another_task_is_another_owner(client: AsyncClient, name: str) -> None:
    async with client.lock(name).hold():
        assert await asyncio.create_task(client.lock(name).try_acquire()) is None


async def test_timeout_around_a_wait(client: AsyncClient, other: AsyncClient, name: str) -> None:
    async with client.lock(name).hold():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(other.lock(name).acquire(), 0.1)
        await waiting(client, name, 0)
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await other.lock(name).acquire()
            await waiting(client, name, 0)
    await free(client, name)


async def test_task_group(client: AsyncClient, other: AsyncClient, name: str) -> None:
    if sys.version_info < (3, 11):
        return
    async with client.lock(name).hold():

        async def fail() -> None:
            await waiting(client, name)
            raise KeyError("own")

        with pytest.raises(ExceptionGroup) as group:  # noqa: F821
            async with asyncio.TaskGroup() as g:
                g.create_task(other.lock(name).acquire())
                g.create_task(fail())
        assert [type(e) for e in group.value.exceptions] == [KeyError]
        await waiting(client, name, 0)
    await free(client, name)


async def test_cancelled_waits_leave_nothing(
    client: AsyncClient, other: AsyncClient, name: str
) -> None:
    """Whenever the cancellation comes, before, with or after the grant."""
    for steps in range(40):
        task = asyncio.create_task(other.lock(name).acquire())
        for _ in range(steps * 5):
            await asyncio.sleep(0)
        task.cancel()
        try:
            handle = await task
        except asyncio.CancelledError:
            continue
        await handle.release()
    await free(client, name)
    await waiting(client, name, 0)


async def test_cancelled_conversion_is_undone(
    client: AsyncClient, other: AsyncClient, name: str
) -> None:
    mine = await client.lock(name).shared().acquire()
    theirs = await other.lock(name).shared().acquire()
    task = asyncio.create_task(mine.upgrade())
    await waiting(client, name)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await waiting(client, name, 0)
    await theirs.release()
    await mine.upgrade()
    assert mine.claims[0].mode is holdfast.Mode.EXCLUSIVE
    await mine.release()


async def test_release_in_a_cancelled_task(client: AsyncClient, name: str) -> None:
    held = asyncio.Event()

    async def work() -> None:
        async with client.lock(name).hold():
            held.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await client.get_lock(name)).holders_total == 0


async def test_cancel_on_loss(client: AsyncClient, name: str) -> None:
    with pytest.raises(holdfast.LostError) as lost:
        async with client.lock(name).hold(cancel_on_loss=True) as h:
            await client.admin.revoke_grant(h.grant_id)
            await asyncio.sleep(3600)
    assert lost.value.lost_reason is holdfast.LostReason.REVOKED
    task = asyncio.current_task()
    assert task is not None
    if sys.version_info >= (3, 11):
        assert task.cancelling() == 0
    await asyncio.sleep(0)  # nothing is left of the cancellation


async def test_lost_can_be_awaited(client: AsyncClient, name: str) -> None:
    h = await client.lock(name).acquire()
    assert not await h.lost.wait(0)
    await client.admin.revoke_grant(h.grant_id, "why")
    assert await h.lost.wait(10)
    with pytest.raises(holdfast.LostError, match="why"):
        h.check()


async def test_locked_and_run(client: AsyncClient, other: AsyncClient, name: str) -> None:
    @client.locked(name + "/{x}", on_busy="skip")
    async def work(x: int) -> int:
        return x

    assert await work(1) == 1
    async with other.lock(f"{name}/1").hold():
        assert await work(1) is None

    async def leave_open() -> str:
        await client.lock(name).acquire()
        return "done"

    assert await client.run(leave_open) == "done"
    await free(client, name)


async def test_election_and_reads(client: AsyncClient, other: AsyncClient, name: str) -> None:
    election = client.election(name)
    lead = await election.campaign("me")
    seen = other.election(name).observe()
    assert (await seen.__anext__()).value == "me"
    assert [x.name async for x in other.list_locks(name)] == [name]
    assert [s.id async for s in other.list_sessions() if s.id == lead.session_id]
    events = other.watch(name)
    assert (await events.__anext__()).kind == "PROGRESS"
    await election.resign()
    async for e in events:
        if e.kind == "RELEASED":
            break
    await events.aclose()  # type: ignore[attr-defined]
    await seen.aclose()  # type: ignore[attr-defined]
    assert await election.leader() is None
    assert (await client.admin.status()).healthy


async def test_500_waits_and_punctual_renewals(url: str, name: str) -> None:
    """Waits cannot block renewals (HF-11.1): 500 callers wait, and the session is not once at risk,
    though the loop of the caller is blocked for longer than the session lives."""
    async with AsyncClient(url, ttl=2.0) as c, AsyncClient(url) as holder:
        gate = await holder.lock(name).acquire()
        tasks = [asyncio.create_task(c.lock(name).shared().acquire()) for _ in range(500)]
        await waiting(holder, name, 500)
        risky = threading.Event()
        done = threading.Event()
        session = await c._core.session(holdfast._aclient._face)

        def look() -> None:
            while not done.wait(0.01):
                if session.at_risk.is_set():
                    risky.set()

        watcher = threading.Thread(target=look)
        watcher.start()
        time.sleep(3)  # noqa: ASYNC251 - this is what a busy event loop looks like
        done.set()
        watcher.join()
        assert not risky.is_set()
        await gate.release()
        handles = await asyncio.gather(*tasks)
        assert len({h.grant_id for h in handles}) == 500
        assert all(h.held for h in handles)


async def test_many_loops_share_batches(client: AsyncClient, name: str) -> None:
    """Concurrent operations travel together: few batches carry many operations (HF-11.6)."""
    session = await client._core.session(holdfast._aclient._face)
    sizes: list[int] = []
    send = session.batcher._send

    def counting(ops, request):
        sizes.append(len(ops))
        return send(ops, request)

    session.batcher._send = counting  # type: ignore[method-assign]

    async def loop(i: int) -> None:
        for _ in range(10):
            async with client.lock(f"{name}/{i}").hold():
                pass

    await asyncio.gather(*(loop(i) for i in range(64)))
    assert sum(sizes) == 64 * 10 * 2
    assert len(sizes) < sum(sizes) / 5


def test_one_client_serves_several_loops(url: str, name: str) -> None:
    c = AsyncClient(url)

    async def work() -> int:
        async with c.lock(name).hold() as h:
            return h.session_id

    assert asyncio.run(work()) == asyncio.run(work())
    asyncio.run(c.close())


def test_loop_that_closes_while_it_waits(url: str, name: str) -> None:
    async def main() -> None:
        holder, c = AsyncClient(url), AsyncClient(url)
        await holder.lock(name).acquire()
        task = asyncio.create_task(c.lock(name).acquire())
        await waiting(holder, name)
        assert not task.done()
        clients.extend([holder, c])

    clients: list[AsyncClient] = []
    asyncio.run(main())

    async def finish() -> None:
        await waiting(clients[0], name, 0)
        for c in clients:
            await c.close()

    asyncio.run(finish())
