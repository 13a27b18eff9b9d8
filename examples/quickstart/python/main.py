"""Quickstart holds a lock while it works, and gives it back.

    python quickstart/python/main.py   against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
"""

import os

import holdfast

ENDPOINTS = os.environ.get("HOLDFAST_ENDPOINTS", "http://127.0.0.1:7480").split(",")


def main() -> None:
    with holdfast.Client(*ENDPOINTS) as client, client.lock("orders/42").hold() as handle:
        print(f"holding {handle.name}")
        work(handle)


def work(handle: holdfast.Handle) -> None:
    """Look before each step whether the lock is still held, and hand the token to whatever is
    written to: see the fencing example."""
    handle.check()
    print(f"working with a token: {str(handle.token > 0).lower()}")


if __name__ == "__main__":
    main()
