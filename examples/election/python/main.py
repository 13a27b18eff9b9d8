"""Election lets three candidates lead one after the other, while an observer watches.

    python election/python/main.py     against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
"""

import asyncio
import os

import holdfast

ENDPOINTS = os.environ.get("HOLDFAST_ENDPOINTS", "http://127.0.0.1:7480").split(",")
ELECTION = "jobs/scheduler"
CANDIDATES = 3


async def main() -> None:
    # Each leader goes on leading until the observer has seen it.
    seen = {f"candidate-{i}": asyncio.Event() for i in range(CANDIDATES)}
    async with holdfast.AsyncClient(*ENDPOINTS) as client:
        campaigns = [asyncio.create_task(campaign(name, event)) for name, event in seen.items()]
        led = 0
        async for leader in client.election(ELECTION).observe():
            led += 1
            print(f"leader {led} of {CANDIDATES}")
            seen[leader.value].set()
            if led == CANDIDATES:
                break
        await asyncio.gather(*campaigns)
    print("every candidate has led")


async def campaign(name: str, done: asyncio.Event) -> None:
    """Wait until it leads, do the leader's work while it does, and resign."""
    async with holdfast.AsyncClient(*ENDPOINTS) as client:
        election = client.election(ELECTION)
        async with await election.campaign(name):
            await done.wait()


if __name__ == "__main__":
    asyncio.run(main())
