"""Fencing tokens, checked at the resource that a lock protects.

No lock service can keep a program that was paused from waking up and writing after its lock was
given to somebody else. The resource can: every grant has a token greater than that of every earlier
grant, the client sends it along, and the resource refuses what is too old. The rule is always the
same (HF-6.4): a resource keeps the greatest token it has seen, and the greatest it has seen with a
write; it refuses a write below the first and a read below the second.

`Guard` keeps the two numbers in memory, `SQL` in a table beside the data, and `compare_and_set` in
any store that can replace a value only if nobody else did.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

HEADER = "Holdfast-Token"
"""Carries the token of the lock under which a request is made, in decimal."""


class StaleError(Exception):
    """The token is too old: the lock has been granted again since."""

    def __init__(self, resource: str, token: int, newer: int = 0) -> None:
        text = f"{resource}: token {token} is stale"
        super().__init__(f"{text}, {newer} was seen" if newer else text)
        self.resource, self.token, self.newer = resource, token, newer


class Access(enum.Enum):
    """What is done to the resource."""

    WRITE = "write"
    READ = "read"


class Mark(NamedTuple):
    """What a resource keeps: the greatest token seen, and the greatest seen with a write."""

    seen: int = 0
    written: int = 0

    def admit(self, token: int, access: Access = Access.WRITE) -> Mark | None:
        """Apply the rule: the mark after the access, or None if it is refused.

        A token that is not positive is none, and is refused.
        """
        if token <= 0:
            return None
        if access is Access.WRITE and token >= self.seen:
            return Mark(token, token)
        if access is Access.READ and token >= self.written:
            return Mark(max(self.seen, token), self.written)
        return None

    def __str__(self) -> str:
        return f"{self.seen} {self.written}"

    @staticmethod
    def parse(text: str) -> Mark:
        """Read what `str` wrote; an empty text is the mark of a resource that nobody has used."""
        if not text:
            return Mark()
        parts = text.split(" ")
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            raise ValueError(f"{text!r} is not a fence mark")
        return Mark(int(parts[0]), int(parts[1]))


class Guard:
    """Keeps marks in memory, for a resource that lives in this process and no longer than it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[str, Mark] = {}

    def check(self, resource: str, token: int, access: Access = Access.WRITE) -> None:
        """Admit an access, or raise `StaleError`."""
        with self._lock:
            old = self._marks.get(resource, Mark())
            new = old.admit(token, access)
            if new is None:
                raise StaleError(resource, token, old.seen)
            self._marks[resource] = new


class Store(Protocol):
    """A key-value store that replaces a value only if it is still the one that was read."""

    def get(self, key: str) -> tuple[str, Any]:
        """The value of a key and its version; a key that is not there has the value ""."""
        ...

    def put(self, key: str, value: str, version: Any) -> bool:
        """Replace the value if the version is still the present one, and say whether it was."""
        ...


def compare_and_set(store: Store, key: str, token: int, access: Access = Access.WRITE) -> None:
    """Admit an access by a mark that is kept under a key of a store, or raise `StaleError`.

    If the data lives under the same key, keep the mark inside the value instead and apply
    `Mark.admit` yourself, so that the check and the write are one.
    """
    while True:
        text, version = store.get(key)
        old = Mark.parse(text)
        new = old.admit(token, access)
        if new is None:
            raise StaleError(key, token, old.seen)
        if new == old or store.put(key, str(new), version):
            return


class Cursor(Protocol):
    """A cursor of a database, as in PEP 249."""

    @property
    def rowcount(self) -> int: ...

    def execute(self, query: str, params: Any, /) -> Any: ...


@dataclass(frozen=True)
class SQL:
    """Keeps marks in a table of the database that holds the data, so that the check and the write are
    one transaction: check first, with the transaction that then writes, and commit both.

    The statements are for SQLite and PostgreSQL.
    """

    table: str = "holdfast_fence"
    """A name from your code, never from a user."""
    placeholder: str = "?"
    """`?` (sqlite3), `%s` (psycopg), or `$` for `$1, $2, $3` (asyncpg)."""

    @property
    def schema(self) -> str:
        """The statement that makes the table if it is not there."""
        return (
            f"CREATE TABLE IF NOT EXISTS {self.table} ("
            "resource TEXT PRIMARY KEY, seen BIGINT NOT NULL, written BIGINT NOT NULL)"
        )

    def check(
        self, cursor: Cursor, resource: str, token: int, access: Access = Access.WRITE
    ) -> None:
        """Admit an access, or raise `StaleError`: roll back then."""
        if token > 0:
            cursor.execute(self.statement(access), self.parameters(resource, token, access))
            if cursor.rowcount != 0:
                return
        raise StaleError(resource, token)

    def statement(self, access: Access = Access.WRITE) -> str:
        """The upsert that applies the rule, for drivers of another kind. It changes no row if the
        access is refused. A token that is not positive must not get this far."""
        t = self.table
        insert = (
            f"INSERT INTO {t} (resource, seen, written) VALUES ({self._values()}) "
            "ON CONFLICT (resource) DO UPDATE SET "
        )
        if access is Access.WRITE:
            return (
                insert + "seen = excluded.seen, written = excluded.written "
                f"WHERE {t}.seen <= excluded.seen"
            )
        return (
            insert + f"seen = CASE WHEN {t}.seen < excluded.seen THEN excluded.seen "
            f"ELSE {t}.seen END WHERE {t}.written <= excluded.seen"
        )

    def parameters(
        self, resource: str, token: int, access: Access = Access.WRITE
    ) -> tuple[str, int, int]:
        """The parameters of `statement`."""
        return resource, token, token if access is Access.WRITE else 0

    def _values(self) -> str:
        if self.placeholder == "$":
            return "$1, $2, $3"
        return ", ".join([self.placeholder] * 3)


def set_header(headers: MutableMapping[str, str], token: int) -> None:
    """Put a token into the headers of a request."""
    headers[HEADER] = str(token)


def from_header(text: str | None) -> int:
    """Read the token of a request; raises `ValueError` if there is none."""
    if text is None or not (text.isascii() and text.isdecimal()) or int(text) <= 0:
        raise ValueError(f"header {HEADER}: {text!r} is not a token")
    return int(text)


class Checker(Protocol):
    """What `wsgi` checks with; a `Guard` is one."""

    def check(self, resource: str, token: int, access: Access) -> None: ...


WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def wsgi(guard: Checker, resource: Callable[[dict[str, Any]], str], app: WSGI) -> WSGI:
    """Let requests through to a WSGI application whose token is not stale.

    GET, HEAD and OPTIONS are reads, everything else writes. It answers 428 Precondition Required
    without a token and 412 Precondition Failed with a stale one. `resource` names what a request is
    about.
    """

    def refuse(start: Callable[..., Any], status: str, why: Exception) -> Iterable[bytes]:
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{why}\n".encode()]

    def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        try:
            token = from_header(environ.get("HTTP_HOLDFAST_TOKEN"))
        except ValueError as e:
            return refuse(start, "428 Precondition Required", e)
        reads = environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS")
        try:
            guard.check(resource(environ), token, Access.READ if reads else Access.WRITE)
        except StaleError as e:
            return refuse(start, "412 Precondition Failed", e)
        return app(environ, start)

    return guarded
