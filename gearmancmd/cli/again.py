"""Starting the same command line again, in this process: with the code as it is now, and with fresh memory."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys

from .._pool.signals import SIGNALS
from .output import complain


def unblock_stop_signals() -> None:
    """Let in what Again has kept waiting, now that it is handled; the signals of ``gearmancmd run`` follow there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGINT])


class Again:
    """Made before the user's modules are imported, so that what they do at the end of the process is done before."""

    def __init__(self) -> None:
        self._directory = os.getcwd()
        self._wanted = False
        atexit.register(self._start)

    def want(self) -> None:
        """Start again instead of ending."""
        self._wanted = True

    def _start(self) -> None:
        """Become a new program in this process."""
        if not self._wanted:
            return
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # as long as nobody handles them they would end the process
        try:
            os.chdir(self._directory)
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        except OSError as error:
            complain(f"cannot start again: {error}")
            os._exit(1)
