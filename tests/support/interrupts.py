"""Programs in which an exception strikes at each line of the library, one after the other."""

from __future__ import annotations

#: The beginning of a program: `arguments` are its own ones, behind the kind of exception. It calls
#: `strike_at_each_line(call)`, which prints "told" and, as JSON, how often `call` was struck and what it left behind.
AT_EACH_LINE = """
import faulthandler, gc, json, os, pathlib, sys, threading, time
import gearmancmd

kind = KeyboardInterrupt if sys.argv[1] == "Ctrl+C" else type("TimeIsUp", (BaseException,), {})
arguments = sys.argv[2:]
package = str(pathlib.Path(gearmancmd.__file__).parent)
faulthandler.dump_traceback_later(150, exit=True)

class Lines:
    def __init__(self, strike_at):
        self.count = 0
        self.strike_at = strike_at
        self.where = None

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(package):
            return None
        # CPython 3.11 to 3.13 loses count of the exception that is handled when a trace function raises in its handler
        if event == "line" and sys.exc_info()[1] is None:
            self.count += 1
            if self.count == self.strike_at:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise kind
        return self

def open_files():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))

def settled(condition):
    until = time.monotonic() + 30
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True

def strike(call, at):
    lines = Lines(at)
    sys.settrace(lines)
    try:
        call()
    except kind:
        pass
    finally:
        sys.settrace(None)
    return lines

def strike_at_each_line(call):
    strike(call, 0)
    assert settled(lambda: threading.active_count() == 1)
    files = open_files()
    bad, at, unstruck = [], 0, 0
    while unstruck < 20:  # how many lines it has depends on what arrives when
        at += 1
        lines = strike(call, at)
        unstruck = unstruck + 1 if lines.where is None else 0
        if not settled(lambda: threading.active_count() == 1):
            bad.append(["thread", at, lines.where])
        if not settled(lambda: open_files() <= files):
            bad.append(["file", at, lines.where])
        call()
    print("told", json.dumps([at - unstruck, bad]), flush=True)
"""
