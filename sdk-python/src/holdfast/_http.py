"""HTTP/1.1 in pure asyncio, below the Connect client.

The engine that comes with the Connect client keeps its threads for the whole process, and a child
made by fork() has none of them: its first call hangs. Sockets and an event loop that belong to one
client are simply left behind by a fork (docs/adr).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from urllib.parse import urlsplit

import h11
from pyqwest import Headers, Request, Response

from ._engine import within

CONNECT_TIMEOUT = 2.0  # seconds
IDLE_MOST = 4  # connections that are kept for later calls
HEADER_BYTES_MOST = 64 << 10
KEEP_ALIVE_AFTER = 5  # seconds of silence on a connection


class Transport:
    """Connections to one node. Every call under way has one of its own."""

    def __init__(self, base_url: str, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        url = urlsplit(base_url)
        self._host = url.hostname or ""
        self._secure = url.scheme == "https"
        self._port = url.port or (443 if self._secure else 80)
        self._authority = url.netloc
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._generation = 0

    async def execute(self, request: Request) -> Response:
        """Make one call."""
        connection = await self._take()
        try:
            return await self._exchange(connection, request)
        except BaseException:
            self._drop(connection)
            raise

    async def _exchange(self, connection: _Connection, request: Request) -> Response:
        body = request.content
        if not isinstance(body, bytes):
            body = b"".join([bytes(part) async for part in body])
        url = urlsplit(request.url)
        headers = [(name, value) for name, value in request.headers.items()]
        headers.append(("host", self._authority))
        headers.append(("content-length", str(len(body))))
        head = await connection.ask(request.method, url.path, headers, body)
        answer = Headers([(n.decode("ascii"), v.decode("latin-1")) for n, v in head.headers])
        return Response(status=head.status_code, headers=answer, content=self._content(connection))

    async def _content(self, connection: _Connection) -> AsyncGenerator[bytes, None]:
        """The body of an answer. Read to its end, the connection may be used again."""
        try:
            while (chunk := await connection.chunk()) is not None:
                yield chunk
        except BaseException:
            self._drop(connection)
            raise
        self._give_back(connection)

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
            self._drop(connection)
        if self._secure and self._context is None:
            self._context = self._tls() if self._tls else ssl.create_default_context()
        connection = _Connection(self._generation)
        self._all.add(connection)
        opening = asyncio.get_running_loop().create_connection(
            lambda: connection,
            self._host,
            self._port,
            ssl=self._context,
            server_hostname=self._host if self._secure else None,
        )
        try:
            await within(opening, CONNECT_TIMEOUT)
        except BaseException as e:
            self._drop(connection)
            if isinstance(e, asyncio.TimeoutError):
                raise ConnectionError(f"no connection to {self._authority} within 2 s") from None
            raise
        return connection

    def _give_back(self, connection: _Connection) -> None:
        current = connection.generation == self._generation
        if current and connection.again() and len(self._idle) < IDLE_MOST:
            self._idle.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._all.discard(connection)
        connection.close()

    def redial(self) -> None:
        """Give up idle connections: the next call resolves the name again. Calls go on."""
        self._generation += 1
        for connection in self._idle:
            self._drop(connection)
        self._idle.clear()

    def close(self) -> None:
        """Close every connection."""
        self._idle.clear()
        for connection in list(self._all):
            self._drop(connection)


class _Connection(asyncio.Protocol):
    """One connection. It has no stream objects, whose destructors would touch the parent's event
    loop when they run in a forked child."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MOST)
        self._transport: asyncio.Transport | None = None
        self._more: asyncio.Future[None] | None = None
        self._ended = False
        self._error: BaseException | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        raw = transport.get_extra_info("socket")
        if raw is None:
            return
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
            if hasattr(socket, option):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), KEEP_ALIVE_AFTER)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._wake()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end(exc)

    def _end(self, exc: BaseException | None) -> None:
        if not self._ended:
            self._ended, self._error = True, exc
            if exc is None:
                self._http.receive_data(b"")
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def ask(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> h11.Response:
        parts = [
            self._http.send(h11.Request(method=method, target=path, headers=headers)),
            self._http.send(h11.Data(data=body)),
            self._http.send(h11.EndOfMessage()),
        ]
        assert self._transport is not None
        self._transport.write(b"".join(part for part in parts if part))
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event

    async def chunk(self) -> bytes | None:
        """The next part of the body; None at its end."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                return None

    async def _next(self) -> object:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as e:
                raise ConnectionError(f"the connection broke: {e}") from e
            if event is not h11.NEED_DATA:
                if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                    raise ConnectionError("the connection was closed before the answer")
                return event
            if self._ended:
                raise ConnectionError("the connection broke") from self._error
            self._more = asyncio.get_running_loop().create_future()
            await self._more

    def usable(self) -> bool:
        return not self._ended and self._transport is not None and not self._transport.is_closing()

    def again(self) -> bool:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return self.usable()
        return False

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
