"""A child of a fork never renews or trusts its parent's lease, and can open its own client."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

import holdfast
from conftest import eventually
from holdfast import AsyncClient, Client, LostReason

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def in_child(f: Callable[[], object]) -> str:
    """Run something in a forked child. Returns "ok" or what went wrong."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # a child that hangs is a failure, not a hang
        try:
            f()
            said = "ok"
        except BaseException as e:
            said = f"{type(e).__name__}: {e}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said or "it hung"


def test_child_holds_nothing_of_its_parents(url: str, name: str) -> None:
    with Client(url) as c, c.lock(name).hold() as h:

        def child() -> None:
            assert threading.active_count() == 1  # nobody renews here
            assert not h.held
            assert h.lost
            assert h.lost_reason is LostReason.FORKED
            with pytest.raises(holdfast.LostError):
                h.check()
            assert h.remaining == 0
            h.release()  # releases nothing
            assert c.lock(name).try_acquire() is None  # the client begins anew, as somebody else
            assert c.session_id() != h.session_id
            c.close()

        assert in_child(child) == "ok"
        assert h.held
        h.check()
        assert c.get_lock(name).holders[0].grant.token == h.token


def test_own_client_in_children_one_after_the_other(url: str, name: str) -> None:
    """As prefork servers do; the parent's keep-alive goes on meanwhile."""
    with Client(url, ttl=2.0) as c, c.lock(name).hold() as h:
        for i in range(20):
            c.lock(f"other/{name}/{i}").acquire().release()
            assert in_child(lambda: child_of(url, f"forked/{name}")) == "ok"
        h.check()
        started = c._core._opening
        assert started is not None
        session = started.job.outcome()
        renewed = session.renewed
        eventually(lambda: session.renewed > renewed)
        h.check()


def child_of(url: str, name: str) -> None:
    with Client(url) as own, own.lock(name).hold() as mine:
        assert mine.held


def test_fork_while_threads_use_the_client(url: str, name: str) -> None:
    """Whatever locks were taken at the moment of the fork, the child does not hang."""
    with Client(url) as c:
        stop = threading.Event()

        def work(i: int) -> None:
            while not stop.is_set():
                with c.lock(f"{name}/{i}").hold() as h:
                    h.check()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        try:
            for _ in range(20):

                def child() -> None:
                    with c.lock(f"{name}/child").hold():
                        pass
                    c.close()

                assert in_child(child) == "ok"
        finally:
            stop.set()
            for t in threads:
                t.join()
        with c.lock(name).hold():
            pass


def test_child_does_not_release_what_a_with_block_holds(url: str, name: str) -> None:
    with Client(url) as c:

        def child() -> None:
            with pytest.raises(holdfast.LostError):
                holding.__exit__(None, None, None)

        holding = c.lock(name).acquire()
        assert in_child(child) == "ok"
        assert holding.held
        assert c.get_lock(name).holders_total == 1
        holding.release()


def test_child_that_ends_in_the_usual_way_disturbs_nobody(url: str, name: str) -> None:
    """The destructors of a child that runs its interpreter down touch nothing of the parent's: the
    descriptors beneath are shared."""
    program = """
import os, sys, time, holdfast
with holdfast.Client(sys.argv[1], ttl=2.0) as c, c.lock(sys.argv[2]).hold() as h:
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            raise SystemExit(0)
        assert os.waitpid(pid, 0)[1] == 0
        with c.lock(sys.argv[2] + "/x").hold():
            h.check()
    session = c._core._opening.job.outcome()
    renewed = session.renewed
    while session.renewed == renewed:
        time.sleep(0.01)
        h.check()
print("parent ok")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, url, name],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.stdout == "parent ok\n", done.stderr


def mp_child(pipe: Connection, url: str, name: str) -> None:
    async def main() -> int:
        async with AsyncClient(url) as c, c.lock(name).hold() as h:
            return h.token

    pipe.send(asyncio.run(main()))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(url: str, name: str, method: str) -> None:
    async def main() -> None:
        async with AsyncClient(url) as c, c.lock(f"{name}/parent").hold() as h:
            context = multiprocessing.get_context(method)
            ours, theirs = context.Pipe()
            process = context.Process(target=mp_child, args=(theirs, url, f"{name}/child"))  # type: ignore[attr-defined]
            process.start()
            assert await asyncio.to_thread(ours.poll, 30)
            assert ours.recv() > h.token
            await asyncio.to_thread(process.join, 30)
            assert process.exitcode == 0
            h.check()

    asyncio.run(main())


def test_fork_that_python_was_not_told_of(url: str, name: str, monkeypatch) -> None:
    """As made by an extension: the process id gives it away at the next use."""
    with Client(url) as c:
        h = c.lock(name).acquire()
        real = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: real + 1)
        engine = c._core._engine
        assert not h.held
        assert h.lost_reason is LostReason.FORKED
        monkeypatch.undo()
        c._core._pid = os.getpid()
        assert engine is not None
        engine.stop()


def test_unused_client_goes_on_in_the_child(url: str, name: str) -> None:
    c = Client(url)

    def child() -> None:
        with c.lock(name).hold():
            pass
        c.close()

    assert in_child(child) == "ok"
    c.close()


def test_handles_do_not_travel(url: str, name: str) -> None:
    import pickle

    with Client(url) as c, c.lock(name).hold() as h, pytest.raises(TypeError, match="belongs to"):
        pickle.dumps(h)

