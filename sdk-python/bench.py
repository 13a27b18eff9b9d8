"""What batching brings: operations a second of one loop, and of 64 through one client.

    python bench.py [seconds]      against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
"""

import asyncio
import os
import sys
import time

import holdfast

ENDPOINTS = os.environ.get("HOLDFAST_ENDPOINTS", "http://127.0.0.1:7480").split(",")


async def main(seconds: float) -> None:
    async with holdfast.AsyncClient(*ENDPOINTS) as client:
        rates = {loops: await measure(client, loops, seconds) for loops in (1, 64)}
    for loops, rate in rates.items():
        sys.stdout.write(f"{loops:3} loops: {rate:8.0f} operations a second\n")
    sys.stdout.write(f"{rates[64] / rates[1]:.1f} times as many\n")


async def measure(client: holdfast.AsyncClient, loops: int, seconds: float) -> float:
    """Acquire and release count one each."""
    operations = 0
    end = time.monotonic() + seconds

    async def loop(i: int) -> None:
        nonlocal operations
        while time.monotonic() < end:
            async with client.lock(f"bench/{i}").hold():
                pass
            operations += 2

    await asyncio.gather(*(loop(i) for i in range(loops)))
    return operations / seconds


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0))
