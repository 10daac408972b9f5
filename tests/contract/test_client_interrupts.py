"""An exception that strikes a caller of JSONGearmanClient anywhere, such as Ctrl+C's, disturbs no other caller."""

from __future__ import annotations

import json

import pytest

from tests.support.waiting import wait_for
from tests.support.workers import UNMEASURED

#: What both programs have: two threads whose calls must all be right, while the main thread's are broken off.
OTHERS = """
import faulthandler, json, random, signal, sys, threading
from gearmancmd import JSONGearmanClient

address, queue = sys.argv[1], sys.argv[2]
faulthandler.dump_traceback_later(100, exit=True)
client = JSONGearmanClient([address])
class TimeIsUp(Exception): pass
class Ended(BaseException): pass
kinds = [KeyboardInterrupt, TimeIsUp, Ended]
wrong = []
right = [0, 0]
over = threading.Event()

def reversed_by(client, text, **options):
    return client.call(queue, {"command": "reverse", "message": text}, **options)

def other(name):
    while not over.is_set():
        text = f"{name}-{right[name]}"
        try:
            result = reversed_by(client, text, timeout=30)
        except Exception as error:
            result = repr(error)
        if result == text[::-1]:
            right[name] += 1
        else:
            wrong.append(result)

others = [threading.Thread(target=other, args=(name,)) for name in range(2)]
for thread in others:
    thread.start()

def end(*told):
    over.set()
    for thread in others:
        thread.join(40)
    alive = sum(thread.is_alive() for thread in others)
    last = reversed_by(client, "Hello", timeout=30)
    print("told", json.dumps([wrong, alive, min(right), last, *told]), flush=True)
"""

AT_EACH_LINE = (
    OTHERS
    + """
from tests.support.interrupts import strike

HELLO = {"command": "reverse", "message": "Hello"}

def first_call():
    fresh = JSONGearmanClient([address], timeout=30)
    fresh.call(queue, HELLO)
    fresh.close()

VERBS = {
    "call": lambda: reversed_by(client, "main"),
    "a call with listeners": lambda: client.call(queue, {"command": "report"}, on_data=print_nothing),
    "submit": lambda: client.submit(queue, HELLO).result(),
    "submit_many": lambda: list(client.submit_many(queue, [HELLO] * 3)),
    "map": lambda: list(client.map(queue, [HELLO] * 3, window=2)),
    "status": lambda: client.status("H:any:1"),
    "first call and close": first_call,
}

def print_nothing(data):
    pass

struck = {}
for name, verb in VERBS.items():
    at, idle = 0, 0
    while idle < 3:  # how many lines a call has depends on what arrives when
        at += 1
        lines = strike(verb, at, kinds[at % 3])
        idle = 0 if lines.where else idle + 1
        if reversed_by(client, f"after-{at}", timeout=30) != f"after-{at}"[::-1]:
            wrong.append([name, at])
    struck[name] = at - 3
end(struck)
"""
)


@pytest.mark.timeout(150)
def test_an_exception_at_each_line_of_each_verb_disturbs_no_other_call(worker_process, server, queue, serving):
    process = worker_process(AT_EACH_LINE, server.address, queue, environment=UNMEASURED)
    process.process.wait(timeout=120)
    wrong, alive, right, last, struck = json.loads(process.wait_for_line("told").removeprefix("told"))
    assert wrong == []
    assert (alive, last) == (0, "olleH")
    assert right > 0
    assert all(count >= 20 for count in struck.values()), struck


INTERRUPTED = (
    OTHERS
    + """
chance = random.Random(7)
interrupted = 0

def interrupt(signum, frame):
    raise kinds[interrupted % 3]

signal.signal(signal.SIGALRM, interrupt)
while interrupted < 400:
    try:
        # again after 0.5 s: Python drops an exception that a signal handler raises in a __del__
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.003), 0.5)
        while True:
            text = f"main-{chance.random()}"
            result = reversed_by(client, text)
            if result != text[::-1]:
                wrong.append(result)
    except (KeyboardInterrupt, TimeIsUp, Ended):
        signal.setitimer(signal.ITIMER_REAL, 0)
        interrupted += 1
end(interrupted)
"""
)


@pytest.mark.timeout(150)
def test_hundreds_of_interrupts_anywhere_disturb_no_other_call(worker_process, server, queue, serving):
    process = worker_process(INTERRUPTED, server.address, queue, environment=UNMEASURED)
    process.process.wait(timeout=120)
    wrong, alive, right, last, interrupted = json.loads(process.wait_for_line("told").removeprefix("told"))
    assert wrong == []
    assert (alive, last, interrupted) == (0, "olleH", 400)
    assert right > 0


CTRL_C = """
import sys
from gearmancmd import JSONGearmanClient
client = JSONGearmanClient([sys.argv[1]])
try:
    client.call(sys.argv[2], {"command": "hold"})
except KeyboardInterrupt:
    print("interrupted")
print(client.call(sys.argv[2], {"command": "reverse", "message": "Hello"}))
"""


def test_ctrl_c_in_a_call_leaves_the_client_usable(worker_process, server, queue, serving):
    process = worker_process(CTRL_C, server.address, queue)
    wait_for(lambda: serving.started, "the command")
    process.interrupt()
    process.wait_for_line("olleH")
    assert process.lines == ["interrupted", "olleH"]
    assert process.exit_status() == 0
