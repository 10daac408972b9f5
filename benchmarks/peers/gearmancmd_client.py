"""gearmancmd's client: submissions per second of submit_many(). Arguments: the server, and how many."""

import sys
import time

from gearmancmd import JSONGearmanClient

TASK = {"command": "reverse", "message": "abcdef"}


def main() -> None:
    """Submit, and print the rate."""
    count = int(sys.argv[2])
    with JSONGearmanClient([sys.argv[1]]) as client:
        start = time.perf_counter()
        submitted = sum(1 for _ in client.submit_many("submitted", (TASK for _ in range(count))))
        print(submitted / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
