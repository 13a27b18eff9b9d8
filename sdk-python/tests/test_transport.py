"""Which node is asked, and what failures on the way are, over small servers of the test's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

import holdfast
from holdfast._gen.holdfast.v1 import errors_pb, lock_pb, types_pb
from holdfast._transport import ATTEMPT_TIMEOUT, Kind, Transport

Answer = Callable[[bytes], Awaitable[tuple[int, str, bytes]]]
READ = Kind()


class Node:
    """Speaks just enough HTTP/1.1."""

    def __init__(self) -> None:
        self.answer: Answer = ok()
        self.calls = 0
        self.asked = asyncio.Event()
        self.connections = 0

    async def begin(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = [
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ]
                body = await reader.readexactly(length)
                self.calls += 1
                self.asked.set()
                status, kind, content = await self.answer(body)
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(content)}\r\n\r\n".encode()
                )
                writer.write(content)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def end(self) -> None:
        self._server.close()


def ok(*, epoch: int = 1, leader: str = "", cluster: str = "c") -> Answer:
    made = lock_pb.GetLockResponse(
        cluster=types_pb.ClusterRef(cluster_id=cluster, epoch=epoch, leader=leader)
    )

    async def answer(body: bytes) -> tuple[int, str, bytes]:
        return 200, "application/proto", made.to_binary()

    return answer


def refused(reason: errors_pb.ErrorReason, leader: str = "") -> Answer:
    import base64
    import json

    detail = errors_pb.Error(reason=reason, message="no", leader=leader).to_binary()
    text = json.dumps({
        "code": "unavailable", "message": "no",
        "details": [{"type": "holdfast.v1.Error",
                     "value": base64.b64encode(detail).decode().rstrip("=")}],
    })

    async def answer(body: bytes) -> tuple[int, str, bytes]:
        return 503, "application/json", text.encode()

    return answer


async def hang(body: bytes) -> tuple[int, str, bytes]:
    await asyncio.Event().wait()
    raise AssertionError


async def drop(body: bytes) -> tuple[int, str, bytes]:
    raise ConnectionError


class World:
    def __init__(self, nodes: list[Node], urls: list[str]) -> None:
        self.nodes, self.urls = nodes, urls
        self.now = 10**12
        self.t = self.transport(urls)

    def transport(self, urls: list[str]) -> Transport:
        return Transport(urls, clock=lambda: self.now, log=logging.getLogger("test"), follow=True,
                         tls=None)

    async def get(self, kind: Kind = READ) -> None:
        request = lock_pb.GetLockRequest(name="a")
        await self.t.once(kind, lambda n: n.lock.get_lock(request))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    nodes = [Node(), Node()]
    made = World(nodes, [await n.begin() for n in nodes])
    yield made
    made.t.close()
    for n in nodes:
        await n.end()
    await asyncio.sleep(0)


async def test_connection_is_used_again(world: World) -> None:
    for _ in range(5):
        await world.get()
    assert (world.nodes[0].calls, world.nodes[0].connections) == (5, 1)
    await asyncio.gather(*(world.get() for _ in range(5)))
    assert world.nodes[0].connections <= 5  # one for each call under way


async def test_control_calls_have_connections_of_their_own(world: World) -> None:
    world.nodes[0].answer = hang
    waiting = asyncio.create_task(world.get())
    await world.nodes[0].asked.wait()
    world.nodes[0].answer = ok()
    await world.get(Kind(control=True, bypass=True))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):  # and not a failed call
        await waiting


async def test_attempt_ends_in_time(world: World) -> None:
    world.nodes[0].answer = hang
    with pytest.raises(holdfast.UnavailableError, match="no answer in time"):
        await world.get(Kind(timeout=0.05))
    assert ATTEMPT_TIMEOUT > 2  # a node without a quorum says so within 2 s


async def test_failure_goes_to_the_next_node(world: World) -> None:
    world.nodes[0].answer = drop
    with pytest.raises(holdfast.UnavailableError) as e:
        await world.get()
    assert isinstance(e.value.__cause__, OSError)
    await world.get()
    assert world.nodes[1].calls == 1


async def test_not_leader_is_followed_at_once(world: World) -> None:
    """HF-11.7."""
    world.nodes[0].answer = refused(errors_pb.ErrorReason.NOT_LEADER, world.urls[1])
    await world.get()
    assert [n.calls for n in world.nodes] == [1, 1]
    await world.get()
    assert [n.calls for n in world.nodes] == [1, 2]  # it is remembered


async def test_leader_that_cannot_be_reached_is_not_followed_for_a_while(world: World) -> None:
    world.nodes[0].answer = refused(errors_pb.ErrorReason.NOT_LEADER, world.urls[1])
    world.nodes[1].answer = drop
    with pytest.raises(holdfast.UnavailableError):
        await world.get()
    with pytest.raises(holdfast.NotLeaderError):
        await world.get()
    assert [n.calls for n in world.nodes] == [2, 1]
    world.now += 11 * 10**9
    world.nodes[1].answer = ok()
    await world.get()
    await world.get()
    assert world.nodes[1].calls >= 2


async def test_answers_tell_the_leader(world: World) -> None:
    world.nodes[0].answer = ok(leader=world.urls[1])
    await world.get()
    await world.get()
    assert [n.calls for n in world.nodes] == [1, 1]


async def test_older_epoch_and_other_cluster_are_refused(world: World) -> None:
    """HF-11.7: an epoch that falls is refused."""
    world.nodes[0].answer = ok(epoch=2)
    await world.get()
    for other in (ok(epoch=1), ok(epoch=2, cluster="d")):
        world.nodes[0].answer = world.nodes[1].answer = other
        with pytest.raises(holdfast.ForkedError):
            await world.get()


async def test_all_breakers_open(world: World) -> None:
    """HF-11.8: renewals and releases go past them, and are not counted."""
    for n in world.nodes:
        n.answer = drop
    past = Kind(control=True, bypass=True)
    for _ in range(20):
        with pytest.raises(holdfast.UnavailableError):
            await world.get(past)
    for _ in range(10):
        with pytest.raises(holdfast.UnavailableError):
            await world.get()
    with pytest.raises(holdfast.CircuitOpenError):
        await world.get()
    before = sum(n.calls for n in world.nodes)
    for n in world.nodes:
        n.answer = ok()
    await world.get(past)
    assert sum(n.calls for n in world.nodes) == before + 1


async def test_detail_decides_and_never_the_text(world: World) -> None:
    for reason in errors_pb.ErrorReason:
        if reason in (errors_pb.ErrorReason.UNSPECIFIED, errors_pb.ErrorReason.NOT_LEADER):
            continue
        world.t = world.transport(world.urls[:1])
        world.nodes[0].answer = refused(reason)
        with pytest.raises(holdfast.HoldfastError) as e:
            await world.get()
        assert e.value.reason.name == reason.name
        world.t.close()


async def test_encryption_is_not_talked_away() -> None:
    t = Transport(["https://a:1"], clock=lambda: 0, log=logging.getLogger("test"), follow=True,
                  tls=None)
    secure = t.node("https://a:1")
    assert not t._heard("http://a:2", secure)
    assert t._heard("https://a:2", secure)
    assert not t._heard("not a url at all?", secure)
