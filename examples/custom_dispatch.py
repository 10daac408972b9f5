"""Tasks that name their command in other ways. Arguments: the servers."""

import logging
import sys
from typing import Any

from gearmancmd import GearmanCMD, GearmanCMDQueue


class Mail(GearmanCMDQueue):
    """Its tasks have no command: what to do follows from what is in them."""

    def dispatch(self, task: Any) -> str | None:
        if not isinstance(task, dict) or "spam" in task:
            return None  # ignored: the client gets null
        return "send" if "to" in task else "draft"

    def send(self, gcmd: GearmanCMD, task: dict[str, str]) -> str:
        return f"sent to {task['to']}"

    def draft(self, gcmd: GearmanCMD, task: object) -> str:
        return "kept as a draft"


class Urgent(GearmanCMDQueue):
    def send(self, gcmd: GearmanCMD, task: dict[str, str]) -> str:
        return f"sent to {task['to']} at once"


class Dispatcher(GearmanCMD):
    """Sends urgent tasks of any queue to the queue for urgent ones."""

    def dispatch(self, queue: str, task: Any) -> Any:
        if isinstance(task, dict) and task.get("urgent"):
            return ("urgent", "send")
        return super().dispatch(queue, task)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    gcmd = Dispatcher(sys.argv[1:] or ["localhost:4730"])
    gcmd.register_task("mail", Mail()).register_task("urgent", Urgent())
    try:
        gcmd.run()
    except KeyboardInterrupt:
        gcmd.stop()


if __name__ == "__main__":
    main()
