"""A queue whose commands do what a client may meet with."""

from __future__ import annotations

import threading
from typing import Any

from gearmancmd import CommandError, GearmanCMDQueue
from tests.support.waiting import LIMIT


class Serving(GearmanCMDQueue):
    """`hold` waits until the test lets go; `started` counts the commands that began."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.started = 0

    def reverse(self, gcmd: Any, task: Any) -> Any:
        return task["message"][::-1]

    def hold(self, gcmd: Any, task: Any) -> Any:
        self.started += 1
        assert self.let_go.wait(LIMIT)
        return task.get("message")

    def refuse(self, gcmd: Any, task: Any) -> Any:
        raise CommandError("out of paper")

    def report(self, gcmd: Any, task: Any) -> Any:
        for done in range(3):
            gcmd.send_status(done, 3)
            gcmd.send_data({"page": done})
        gcmd.send_warning("paper is low")
        return "printed"
