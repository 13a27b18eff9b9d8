"""Fencing writes to a SQL database under a lock, and shows what the token is for: a worker that was
paused while it held the lock wakes up after somebody else got it, and its write is refused by the
database.

    python fencing/python/main.py      against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
"""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import holdfast
from holdfast import fence

ENDPOINTS = os.environ.get("HOLDFAST_ENDPOINTS", "http://127.0.0.1:7480").split(",")
RESOURCE = "accounts/7"
GUARD = fence.SQL()


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-fencing-") as directory,
        closing(open_database(Path(directory) / "bank.db")) as db,
        holdfast.Client(*ENDPOINTS) as sleepy,
        holdfast.Client(*ENDPOINTS) as brisk,
    ):
        # A short lease stands for a pause that outlasts a session: the lock ends while its holder
        # sleeps.
        paused = sleepy.lock(RESOURCE).acquire(lease=0.3)
        print("sleepy holds the lock, and pauses")

        with brisk.lock(RESOURCE).hold() as handle:
            deposit(db, handle.token, 100)
            print("brisk got the lock, and deposits 100")

            # Sleepy wakes up. It does not call paused.check(), as a program that is in the middle of
            # a write cannot; the database looks at the token.
            try:
                deposit(db, paused.token, 999)
            except fence.StaleError:
                print("sleepy wakes up and deposits 999: refused, its token is stale")

        (balance,) = db.execute("SELECT balance FROM accounts WHERE id = 7").fetchone()
        print(f"balance: {balance}")


def deposit(db: sqlite3.Connection, token: int, amount: int) -> None:
    """Check the token and write in one transaction."""
    with db:  # commits, or rolls back on an error
        cursor = db.cursor()
        GUARD.check(cursor, RESOURCE, token)
        cursor.execute("UPDATE accounts SET balance = balance + ? WHERE id = 7", (amount,))


def open_database(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    with db:
        db.execute(GUARD.schema)
        db.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)")
        db.execute("INSERT INTO accounts VALUES (7, 0)")
    return db


if __name__ == "__main__":
    main()
