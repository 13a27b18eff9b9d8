"""Hierarchy locks parts of a tree: a lock on a name covers everything below it.

    python hierarchy/python/main.py    against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
"""

import os

import holdfast

ENDPOINTS = os.environ.get("HOLDFAST_ENDPOINTS", "http://127.0.0.1:7480").split(",")


def main() -> None:
    with holdfast.Client(*ENDPOINTS) as client, holdfast.Client(*ENDPOINTS) as other:
        # Two files of one project do not disturb each other: all at once or not at all.
        with client.lock_all("projects/7/a.txt", "projects/7/b.txt").hold():
            print("two files of project 7 are locked")

            expect_held(other.lock("projects/7"))
            print("project 7 as a whole has to wait for them")

            with other.lock("projects/70").hold():
                print("project 70 is another name altogether")

        with (
            client.lock("projects/7").shared().hold(),
            other.lock("projects/7/a.txt").shared().hold(),
        ):
            expect_held(other.lock("projects/7/a.txt"))
            print("while project 7 is shared, its files can be read and not written")


def expect_held(lock: holdfast.Lock) -> None:
    if lock.try_acquire() is not None:
        raise SystemExit("it should be held")


if __name__ == "__main__":
    main()
