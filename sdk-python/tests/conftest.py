"""Real servers for the tests. The binary is bin/holdfast of the repository, or HOLDFAST_BIN."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BINARY = os.environ.get("HOLDFAST_BIN") or str(
    Path(__file__).resolve().parents[2] / "bin" / "holdfast"
)


def free_ports(nodes: int) -> int:
    """A client port for the first of some nodes; each has three in a row, 100 apart."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            others = [port + 100 * n + i for n in range(nodes) for i in range(3)][1:]
            if others[-1] > 65535:
                continue
            try:
                for other in others:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", other))
            except OSError:
                continue
            return port


class Server:
    """`holdfast dev` with one or more nodes."""

    def __init__(self, nodes: int = 1) -> None:
        self.port = free_ports(nodes)
        self._dir = tempfile.TemporaryDirectory(prefix="holdfast-test-")
        self._process = subprocess.Popen(
            [BINARY, "dev", "--dir", self._dir.name, "--client-port", str(self.port),
             "--nodes", str(nodes)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        self.pids: list[int] = []
        self.urls: list[str] = []
        said = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said.append(line)
            row = re.match(r"n\d+\s+(\d+)\s+(http://\S+)", line)
            if row:
                self.pids.append(int(row[1]))
                self.urls.append(row[2])
            if len(self.urls) == nodes:
                break
        assert len(self.urls) == nodes, "".join(said)
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        assert self._process.stdout is not None
        for _ in self._process.stdout:
            pass

    def pid_of(self, url: str) -> int:
        return self.pids[self.urls.index(url)]

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._dir.cleanup()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def cluster() -> Iterator[Server]:
    running = Server(3)
    yield running
    running.stop()


@pytest.fixture
def url(server: Server) -> str:
    return server.urls[0]


_count = 0


@pytest.fixture
def name() -> str:
    """A lock name that no other test uses."""
    global _count
    _count += 1
    return f"test/{_count}"


def eventually(what: Callable[[], object], within: float = 20.0) -> None:
    """Wait until something is so. The time is a bound on a failure, and nothing waits for it."""
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def open_sockets() -> int:
    """Sockets that this process has open."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    return count
