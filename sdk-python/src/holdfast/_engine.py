"""The thread that does the work of a client, and how callers of both kinds wait for it.

All calls and timers run as asyncio tasks in one thread of the client's own, so that renewals are
on time whatever the program does in its own loop. The logic above is written once, as coroutines
whose only way to wait is `Face.wait`: `Blocking` waits with the thread, and then such a coroutine
never suspends; `Awaiting` waits with the caller's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import selectors
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from ._errors import Reason, error

T = TypeVar("T")


class Latch:
    """Something that happens once, for whoever waits. It may be set from anywhere."""

    __slots__ = ("_callbacks", "_lock", "_set")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._callbacks: list[Callable[[], None]] | None = None

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        with self._lock:
            if self._set:
                return
            self._set = True
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()

    def add(self, callback: Callable[[], None]) -> None:
        """Call back when it is set: at once if it is. The callback must not wait."""
        with self._lock:
            if not self._set:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(callback)
                return
        callback()

    def remove(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if self._callbacks and callback in self._callbacks:
                self._callbacks.remove(callback)


class Face(Protocol):
    """How a caller waits."""

    async def wait(self, *latches: Latch | None, timeout: float | None = None) -> bool:
        """Wait until one of the latches is set; False if the time is over before."""
        ...

    def owner(self) -> object:
        """The thread or task that calls, as a thing that dies with it."""
        ...


class _Anchor(threading.local):
    """One object for each thread, which goes when the thread does."""

    def __init__(self) -> None:
        self.it = _Thread()


class _Thread:
    pass


_anchor = _Anchor()


class Blocking:
    """Waits with the thread."""

    async def wait(self, *latches: Latch | None, timeout: float | None = None) -> bool:
        waited = [latch for latch in latches if latch is not None]
        if any(latch.is_set() for latch in waited):
            return True
        happened = threading.Event()
        for latch in waited:
            latch.add(happened.set)
        try:
            return happened.wait(timeout)
        finally:
            for latch in waited:
                latch.remove(happened.set)

    def owner(self) -> object:
        return _anchor.it


class Awaiting:
    """Waits with the event loop of the caller."""

    async def wait(self, *latches: Latch | None, timeout: float | None = None) -> bool:
        waited = [latch for latch in latches if latch is not None]
        if any(latch.is_set() for latch in waited):
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not future.done():
                future.set_result(None)

        def happened() -> None:
            with contextlib.suppress(RuntimeError):  # the caller's loop is closed
                loop.call_soon_threadsafe(settle)

        for latch in waited:
            latch.add(happened)
        timer = None if timeout is None else loop.call_later(max(0.0, timeout), settle)
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()
            for latch in waited:
                latch.remove(happened)
        return any(latch.is_set() for latch in waited)

    def owner(self) -> object:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("this must be called from an asyncio task")
        return task


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits with `Blocking`: it never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("holdfast: a blocking call tried to suspend")


async def within(coroutine: Coroutine[Any, Any, T], timeout: float | None) -> T:
    """Await something for so long; raises `asyncio.TimeoutError` when the time is over.

    As `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes together with
    the result.
    """
    task = asyncio.ensure_future(coroutine)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # it is nobody's business any more
        raise
    if not done:
        task.cancel()
        await asyncio.wait({task})
        if task.cancelled():
            raise asyncio.TimeoutError
    return task.result()


class Job(Generic[T]):
    """A coroutine that runs in the engine, and what came of it."""

    def __init__(self, engine: Engine, coroutine: Coroutine[Any, Any, T]) -> None:
        self.done = Latch()
        self.result: T | None = None
        self.error: BaseException | None = None
        self._engine = engine
        self._task: asyncio.Task[T] | None = None
        engine._jobs.add(self)
        if not engine.soon(self._begin, coroutine):
            coroutine.close()
            self._abort()

    def _abort(self) -> None:
        """It was cancelled, or the engine has ended and with it the job."""
        if not self.done.is_set():
            self.error = error(Reason.CLOSED, "the client is closed")
            self.done.set()

    def _begin(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._task = self._engine.spawn(coroutine)
        self._task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[T]) -> None:
        self._engine._jobs.discard(self)
        if task.cancelled():
            self._abort()
            return
        self.error = task.exception()
        if self.error is None:
            self.result = task.result()
        self.done.set()

    def cancel(self) -> None:
        self._engine.soon(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def outcome(self) -> T:
        """The result, or its error; only when it is done."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class Engine:
    """One thread with one event loop. It ends with `stop`."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._jobs: set[Job[Any]] = set()
        self._stopped = False
        _engines.add(self)
        # The thread must not carry the context of whoever called first, spans and all.
        empty = contextvars.Context()
        self._thread = threading.Thread(target=empty.run, args=(self._run,), name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            while self._tasks:
                for task in self._tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.wait(self._tasks, timeout=1.0))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.run_until_complete(asyncio.sleep(0))  # aborted connections say goodbye
        finally:
            self.loop.close()
            for job in list(self._jobs):
                job._abort()

    def soon(self, f: Callable[..., object], *args: object) -> bool:
        """Call something in the engine's thread, soon; False after its end."""
        try:
            self.loop.call_soon_threadsafe(f, *args)
        except RuntimeError:
            return False
        return True

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task; only from the engine's thread."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def job(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        """Begin a coroutine from any thread."""
        return Job(self, coroutine)

    def stop(self) -> None:
        """End all tasks and the thread."""
        if not self._stopped:
            self._stopped = True
            self.soon(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()


# Engines of the parent stay referenced in a child, so that no destructor of theirs ever runs there:
# the descriptors beneath are shared with the parent.
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_left_behind: list[Engine] = []


def _after_fork_in_child() -> None:
    for engine in list(_engines):
        _left_behind.append(engine)
        engine._selector.close()  # this process's descriptor alone
        engine._stopped = True
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
