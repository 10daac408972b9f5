"""What systemd is told by the process that it has started, where a unit has Type=notify or WatchdogSec=.

The protocol is a datagram of one line. sd_notify(3) shows how to speak it without a library, and so does this: the
packages on PyPI that do no more had their last releases in 2017 and 2020, and the others need libsystemd.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

from ..logs import logger

#: Seconds that systemd may take to take a datagram: its queue is full only where something is wrong.
_SEND_SECONDS = 1.0


class Systemd:
    """The notification socket in NOTIFY_SOCKET; where there is none, nothing is sent."""

    def __init__(self) -> None:
        self._address = _address(os.environ.get("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        """The unit has started."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The unit is about to end."""
        self._send("STOPPING=1")

    def watch(self, is_alive: Callable[[], bool]) -> None:
        """Tell twice in each WatchdogSec= that the process is alive, as long as it says so, from a thread. When it says
        no, or does not get to say anything, systemd ends it, and starts it again where the unit has Restart=.
        """
        interval = watchdog_seconds()
        if self._address and interval:
            arguments = (is_alive, interval / 2)
            threading.Thread(target=self._tell, args=arguments, name="gearmancmd-watchdog", daemon=True).start()

    def _tell(self, is_alive: Callable[[], bool], seconds: float) -> None:
        while True:
            if is_alive():
                self._send("WATCHDOG=1")
            time.sleep(seconds)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_SECONDS)
                sender.sendto(state.encode(), self._address)
        except OSError as error:
            logger.warning("systemd cannot be told %s: %s", state, error.strerror or str(error))


def _address(path: str) -> str:
    """The socket's address; "@" begins the name of one that is in no file system. Other kinds are left alone."""
    return f"\0{path[1:]}" if path.startswith("@") else path if path.startswith("/") else ""


def watchdog_seconds() -> float:
    """The unit's WatchdogSec=, 0 where it has none for this process."""
    of = os.environ.get("WATCHDOG_PID", "")
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and of in {"", str(os.getpid())} else 0.0
