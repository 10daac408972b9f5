"""The README's worker. Arguments: the servers, localhost:4730 if there are none. Ctrl+C stops it."""

import logging
import sys

from gearmancmd import GearmanCMD, GearmanCMDQueue


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd: GearmanCMD, task: dict[str, str]) -> str:
        return task["message"][::-1]

    def stop(self, gcmd: GearmanCMD, task: object) -> None:
        gcmd.stop()

    def default(self, gcmd: GearmanCMD, task: object) -> dict[str, str]:
        return {"error": "unknown command"}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    gcmd = GearmanCMD(sys.argv[1:] or ["localhost:4730"])
    gcmd.register_task("queue", Queue())
    try:
        gcmd.run()
    except KeyboardInterrupt:
        gcmd.stop()


if __name__ == "__main__":
    main()
