"""PyPI's gear: `gear_worker.py HOST PORT`."""

import json
import sys

import gear


def main() -> None:
    """Work on `reverse` for ever."""
    worker = gear.Worker("gear")
    worker.addServer(sys.argv[1], int(sys.argv[2]))
    worker.registerFunction("reverse")
    while True:
        job = worker.getJob()
        task = json.loads(job.arguments)
        job.sendWorkComplete(json.dumps(task["message"][::-1]).encode())


if __name__ == "__main__":
    main()
