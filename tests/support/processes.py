"""A worker that starts processes: a module, so that spawned processes can import what is in it.

``main(servers, queue, place, child)`` runs it. At the `place` it forks once, and the child does what `child` names.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue, JSONDataEncoder, JSONGearmanWorker
from gearmancmd._worker import thread as worker_thread

#: Runs main() with the arguments of the process.
PROGRAM = "import sys; from tests.support.processes import main; main(*sys.argv[1:])"

#: Seconds after which a helper that a test has left behind ends.
HELPER_LIMIT = 120


def say(text: str) -> None:
    """Print a line, in one write: several processes share the output."""
    os.write(1, f"{text}\n".encode())


def sockets() -> list[int]:
    """The descriptors of this process that are sockets."""
    found = []
    for fd in range(1024):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                found.append(fd)
        except OSError:
            pass
    return found


# What a child does.


def send(gcmd: GearmanCMD) -> None:
    for report in (lambda: gcmd.send_status(1, 2), lambda: gcmd.send_data("x"), lambda: gcmd.send_warning("x")):
        try:
            report()
        except RuntimeError as error:
            say(f"the child may not report: {type(error).__name__}: {error}")
    os._exit(8)


def stop(gcmd: GearmanCMD) -> None:
    gcmd.stop()
    gcmd.stop(graceful=True)
    os._exit(8)


def run(gcmd: GearmanCMD) -> None:
    """Work in the child, on a queue of its own too."""
    gcmd.register_task(f"{Forking.queue}-child", Forks())
    gcmd.run()
    say("run() of the child has returned")
    os._exit(8)


def work_again(gcmd: GearmanCMD) -> None:
    """The same with a worker that works by itself."""
    worker = Forking.by_itself
    worker.register_task(f"{Forking.queue}-child", lambda worker, job: worker.shutdown() or os.getpid())
    worker.work()
    say("work() of the child has returned")
    os._exit(8)


def run_another(gcmd: GearmanCMD) -> None:
    run(GearmanCMD(gcmd.servers).register_task(Forking.queue, Forks()))


def fail(gcmd: GearmanCMD) -> None:
    raise ValueError("the child's")


def refuse(gcmd: GearmanCMD) -> None:
    raise CommandError("the child's")


CHILDREN: dict[str, Callable[[GearmanCMD], object]] = {
    "returns": lambda gcmd: None,
    "calls sys.exit": lambda gcmd: sys.exit(7),
    "calls os._exit": lambda gcmd: os._exit(8),
    "raises": fail,
    "raises CommandError": refuse,
    "reports": send,
    "calls stop": stop,
    "calls run": run,
    "runs another": run_another,
    "calls work": work_again,
}


class Forking:
    """Where the worker is to fork, and what the child does then."""

    queue = ""
    place = ""
    child = ""
    gcmd: GearmanCMD
    by_itself: JSONGearmanWorker
    worker = os.getpid()
    done = False

    @classmethod
    def note(cls, what: str) -> None:
        """Say so when it is the child that does something."""
        if os.getpid() != cls.worker:
            say(f"the child goes on with {what}")

    @classmethod
    def visit(cls, place: str) -> None:
        """Fork, if this is the place, once."""
        if place != cls.place or cls.done:
            return
        cls.done = True
        child = os.fork()
        if child:
            say(f"the child ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
            return
        signal.alarm(HELPER_LIMIT)  # whatever goes wrong
        say(f"the child has the sockets {sockets()}")
        CHILDREN[cls.child](cls.gcmd)


class Forks(GearmanCMDQueue):
    """Commands that visit a place, tell who worked, and start helpers."""

    def dispatch(self, task: Any) -> Any:
        Forking.note("dispatch")
        Forking.visit("the queue's dispatch")
        return task.get("command")

    def work(self, gcmd: GearmanCMD, task: Any) -> Any:
        Forking.note("the command")
        Forking.visit("a command")
        thread = threading.Thread(target=Forking.visit, args=("a thread of a command",))
        thread.start()
        thread.join()
        beside.set()
        return os.getpid()

    def fail(self, gcmd: GearmanCMD, task: Any) -> Any:
        raise ValueError("to be handled")

    def stop(self, gcmd: GearmanCMD, task: Any) -> Any:
        gcmd.stop()

    def hold(self, gcmd: GearmanCMD, task: Any) -> Any:
        """Start a helper that outlives this process, and hold the job."""
        if task["helper"] == "os.fork":
            if not os.fork():
                be_helper()
        elif task["helper"] == "Process":
            multiprocessing.get_context("fork").Process(target=be_helper).start()
        else:
            executor = ProcessPoolExecutor(1, multiprocessing.get_context("fork"), be_quiet)
            say(f"helper {executor.submit(os.getpid).result()}")
        time.sleep(HELPER_LIMIT)

    def square(self, gcmd: GearmanCMD, task: Any) -> Any:
        """Have processes compute squares."""
        context = multiprocessing.get_context(task["method"])
        if task["by"] == "Pool":
            with context.Pool(2) as pool:
                return pool.map(square, task["numbers"])
        if task["by"] == "ProcessPoolExecutor":
            with ProcessPoolExecutor(2, context) as executor:
                return list(executor.map(square, task["numbers"]))
        results = context.SimpleQueue()
        processes = [context.Process(target=put_square, args=(results, number)) for number in task["numbers"]]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * len(processes)
        return sorted(results.get() for _ in processes)

    def leave(self, gcmd: GearmanCMD, task: Any) -> Any:
        gcmd.stop(graceful=True)
        return [gcmd.color, os.getpid()]  # type: ignore[attr-defined]


#: Set once a command has worked, for who forks beside run().
beside = threading.Event()


def be_quiet() -> None:
    """Hold none of the pipes that a test reads, and end at last."""
    signal.alarm(HELPER_LIMIT)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)


def be_helper() -> None:
    say(f"helper {os.getpid()}")
    be_quiet()
    while True:
        signal.pause()


def square(number: int) -> int:
    return number * number


def put_square(results: Any, number: int) -> None:
    results.put(square(number))


# A worker with hooks at each place.


class Encoder(JSONDataEncoder):
    @classmethod
    def encode(cls, obj: Any) -> bytes:
        Forking.visit("the encoder")
        return super().encode(obj)

    @classmethod
    def decode(cls, data: bytes) -> Any:
        Forking.visit("the decoder")
        return super().decode(data)


class Worker(JSONGearmanWorker):
    data_encoder = Encoder

    def on_job_execute(self, current_job: Any) -> bool:
        Forking.visit("on_job_execute")
        return super().on_job_execute(current_job)

    def on_job_complete(self, current_job: Any, job_result: Any) -> bool:
        Forking.note("on_job_complete")
        done = super().on_job_complete(current_job, job_result)
        Forking.visit("on_job_complete")
        return done

    def after_job(self) -> bool:
        before = os.getpid()
        Forking.visit("after_job")
        return os.getpid() == before

    def after_poll(self, any_activity: bool) -> bool:
        Forking.visit("after_poll")
        return True

    def on_gearman_error(self, error_code: str, error_text: str) -> bool:
        Forking.visit("on_gearman_error")
        return True


class ForkingCMD(GearmanCMD):
    """With what a subclass may have of its own."""

    worker = Worker
    color = "none"

    def dispatch(self, queue: str, task: Any) -> Any:
        chosen = super().dispatch(queue, task)
        Forking.visit("dispatch")
        return chosen


class Trigger:
    """A stop trigger that is never set."""

    def is_set(self) -> bool:
        Forking.visit("the stop trigger")
        return False


def handle(error: BaseException) -> str:
    """An exception handler."""
    Forking.note("the exception handler")
    Forking.visit("the exception handler")
    return f"handled: {error}"


def main(servers: str, queue: str, place: str = "", child: str = "") -> None:
    """Run the worker that this module is about."""
    worker_thread.THREAD_END_SECONDS = 3600.0  # a child that waits for its parent's thread is found out
    gcmd = ForkingCMD(json.loads(servers), exception_handler=handle).register_task(queue, Forks())
    Forking.queue, Forking.place, Forking.child, Forking.gcmd = queue, place, child, gcmd
    if place == "beside run()":
        worker = threading.Thread(target=run_and_tell, args=(gcmd,))
        worker.start()
        assert beside.wait(HELPER_LIMIT)
        Forking.visit("beside run()")
        worker.join()  # once the main thread has ended, CPython 3.12 lets commands start no thread
    else:
        run_and_tell(gcmd)


def run_and_tell(gcmd: GearmanCMD) -> None:
    """run(), and say who had what raised out of it."""
    me = os.getpid()
    try:
        gcmd.run(Trigger())
    except BaseException as error:
        who = "the worker" if os.getpid() == me else "the child"
        say(f"{type(error).__name__} left run() of {who}: {error}")
        raise


def work_by_itself(servers: str, queue: str, place: str, child: str) -> None:
    """The same with a worker that works by itself."""
    worker = Forking.by_itself = Worker(json.loads(servers))
    Forking.queue, Forking.place, Forking.child, Forking.gcmd = queue, place, child, GearmanCMD(json.loads(servers))

    def work(worker: Any, job: Any) -> int:
        Forking.visit("a command")
        return os.getpid()

    worker.register_task(queue, work)
    me = os.getpid()
    try:
        worker.work()
    except BaseException as error:
        who = "the worker" if os.getpid() == me else "the child"
        say(f"{type(error).__name__} left work() of {who}: {error}")
        raise
