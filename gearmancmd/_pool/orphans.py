"""Process 1 inherits all whose parents have ended, and has to take note of their ends."""

from __future__ import annotations

import multiprocessing
import os


def reap_orphans() -> None:
    """Where this is process 1, as in a container, reap what has ended, but for the children that multiprocessing knows:
    their statuses are for it.
    """
    if os.getpid() != 1:
        return
    own = {process.pid for process in multiprocessing.active_children()}  # which reaps its own that have ended
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return  # one that has ended just now; the others have their turn with the next call
        os.waitpid(ended.si_pid, 0)
