"""Three real nodes, and what happens when the leader is killed; and what a closed client leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from conftest import Server, eventually, open_sockets
from holdfast import AsyncClient, Client


def leader_of(c: Client) -> str:
    status = c.admin.status()
    (url,) = [m.client_url for m in status.members if m.node_id == status.leader_id]
    return url


def test_leader_is_killed(cluster: Server) -> None:
    """Locks, queues and tokens survive; nobody is lost, and a wait goes on where it stood."""
    with Client(*cluster.urls) as c, Client(*cluster.urls) as other:
        with c.lock("a").hold() as h:
            box: list[int] = []

            def wait() -> None:
                with other.lock("a").hold() as granted:
                    box.append(granted.token)

            thread = threading.Thread(target=wait)
            thread.start()
            eventually(lambda: c.get_lock("a").waiters_total == 1)
            os.kill(cluster.pid_of(leader_of(c)), signal.SIGKILL)
            for i in range(20):
                with c.lock(f"b/{i}").hold():
                    h.check()
            assert h.held
            assert c.get_lock("a").holders[0].grant.token == h.token
            assert c.get_lock("a").waiters_total == 1
        thread.join(30)
        assert not thread.is_alive()
        assert box[0] > h.token


def test_followers_lead_to_the_leader(cluster: Server) -> None:
    """A client that knows one follower alone finds the leader by its answers."""
    with Client(*cluster.urls) as c:
        lead = leader_of(c)
        (follower, *_) = [u for u in cluster.urls if u != lead]
        with Client(follower) as one:
            with one.lock("x").hold() as h:
                assert h.held
            transport = one._core._transport
            assert transport is not None
            eventually(lambda: transport._leader is not None and transport._leader.base == lead)
        c.admin.transfer_leadership()
        with c.lock("x").hold():
            pass


async def test_loops_across_a_fail_over(cluster: Server) -> None:
    """Exactly once: after the fail-over nothing is held that nobody has a handle of."""
    async with AsyncClient(*cluster.urls) as c:
        tokens: list[int] = []

        async def loop(i: int) -> None:
            for _ in range(10):
                async with c.lock(f"n/{i % 8}").hold() as h:
                    h.check()
                    tokens.append(h.token)

        tasks = [asyncio.create_task(loop(i)) for i in range(32)]
        status = await c.admin.status()
        (url,) = [m.client_url for m in status.members if m.node_id == status.leader_id]
        os.kill(cluster.pid_of(url), signal.SIGKILL)
        await asyncio.gather(*tasks)
        assert len(set(tokens)) == 320
        assert [x async for x in c.list_locks("n")] == []


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_closed_client_leaves_nothing(url: str, name: str, kind: str) -> None:
    threads, sockets = threading.active_count(), open_sockets()

    def blocking() -> None:
        with Client(url) as c, c.lock(name).hold():
            events = c.watch(name)
            next(events)

    async def asynchronous() -> None:
        async with AsyncClient(url) as c, c.lock(name).hold():
            events = c.watch(name)
            await events.__anext__()
            waits = [asyncio.create_task(c.lock(name).acquire()) for _ in range(5)]
            await asyncio.sleep(0)
            for w in waits:
                w.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1

    for _ in range(3):
        blocking() if kind == "blocking" else asyncio.run(asynchronous())
    eventually(lambda: threading.active_count() <= threads)
    eventually(lambda: open_sockets() <= sockets)
