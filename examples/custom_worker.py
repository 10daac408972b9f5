"""A worker class with an encoder of its own: tasks and results are compressed JSON. Arguments: the servers."""

import json
import logging
import sys
import zlib
from typing import Any

from gearmancmd import GearmanCMD, GearmanCMDQueue, GearmanWorker


class CompressedEncoder:
    @classmethod
    def encode(cls, obj: object) -> bytes:
        return zlib.compress(json.dumps(obj).encode("utf-8"))

    @classmethod
    def decode(cls, data: bytes) -> Any:
        return json.loads(zlib.decompress(data))


class CompressedWorker(GearmanWorker):
    data_encoder = CompressedEncoder

    def on_job_complete(self, current_job: Any, job_result: Any) -> bool:
        logging.info("%s is done", current_job.handle)
        return super().on_job_complete(current_job, job_result)


class CompressedCMD(GearmanCMD):
    worker = CompressedWorker


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd: GearmanCMD, task: dict[str, str]) -> str:
        return task["message"][::-1]


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    gcmd = CompressedCMD(sys.argv[1:] or ["localhost:4730"]).register_task("compressed", Queue())
    try:
        gcmd.run()
    except KeyboardInterrupt:
        gcmd.stop()


if __name__ == "__main__":
    main()
