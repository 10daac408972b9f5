"""gearmancmd's clients. Arguments: the server, what to measure, and how often."""

import asyncio
import sys
import time

from gearmancmd import AsyncJSONGearmanClient, JSONGearmanClient

TASK = {"command": "reverse", "message": "abcdef"}


def call(server: str, count: int) -> float:
    """The median of foreground calls, in microseconds."""
    times = []
    with JSONGearmanClient([server]) as client:
        for _ in range(count):
            start = time.perf_counter()
            client.call("reverse", TASK)
            times.append(time.perf_counter() - start)
    return sorted(times)[count // 2] * 1e6


def submit(server: str, count: int) -> float:
    """Submissions per second of submit_many()."""
    with JSONGearmanClient([server]) as client:
        start = time.perf_counter()
        submitted = sum(1 for _ in client.submit_many("submitted", (TASK for _ in range(count))))
        return submitted / (time.perf_counter() - start)


def concurrent(server: str, count: int) -> float:
    """Calls per second, of a thousand at a time."""

    async def calls() -> float:
        rates = []
        async with AsyncJSONGearmanClient([server]) as client:
            for _ in range(count):
                start = time.perf_counter()
                await asyncio.gather(*(client.call("reverse", TASK) for _ in range(1000)))
                rates.append(1000 / (time.perf_counter() - start))
        return sorted(rates)[count // 2]

    return asyncio.run(calls())


if __name__ == "__main__":
    measured = {"call": call, "submit": submit, "concurrent": concurrent}[sys.argv[2]]
    print(measured(sys.argv[1], int(sys.argv[3])))
