"""Readwrite shares a lock between readers and keeps writers alone.

    python readwrite/python/main.py    against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
"""

import os

import holdfast

ENDPOINTS = os.environ.get("HOLDFAST_ENDPOINTS", "http://127.0.0.1:7480").split(",")


def main() -> None:
    # A thread is one owner and does not wait for itself: each reader has a client of its own.
    with (
        holdfast.Client(*ENDPOINTS) as one,
        holdfast.Client(*ENDPOINTS) as two,
        holdfast.Client(*ENDPOINTS) as three,
    ):
        first = one.lock("catalog").shared().acquire()
        second = two.lock("catalog").shared().acquire()
        print("two readers hold it together")

        if three.lock("catalog").try_acquire() is None:
            print("a writer has to wait")

        second.release()
        first.upgrade()
        print("the last reader upgrades, and writes")

        first.downgrade()
        with three.lock("catalog").shared().hold():
            print("it downgrades, and another reader comes in")
        first.release()


if __name__ == "__main__":
    main()
