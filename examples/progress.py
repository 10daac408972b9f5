"""A command that tells its client how far it is. Arguments: the servers."""

import logging
import sys
import time
from typing import Any

from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue


class Queue(GearmanCMDQueue):
    def checksum(self, gcmd: GearmanCMD, task: dict[str, Any]) -> int:
        numbers = task.get("numbers")
        if not isinstance(numbers, list):
            raise CommandError("numbers must be a list")
        total = 0
        for number in gcmd.track(numbers):
            time.sleep(0.01)  # real work would stand here
            total += number
            if total < 0:
                gcmd.send_warning(f"the sum fell below 0 at {number}")
        return total


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    gcmd = GearmanCMD(sys.argv[1:] or ["localhost:4730"]).register_task("progress", Queue())
    try:
        gcmd.run()
    except KeyboardInterrupt:
        gcmd.stop()


if __name__ == "__main__":
    main()
