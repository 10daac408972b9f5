"""Everything in one process: a job server, the README's worker, and a client that sends it a task."""

import sys
import threading

import gear
from reverse import Queue

from gearmancmd import GearmanCMD
from gearmancmd.server import EmbeddedServer

TASK = b'{"command": "reverse", "message": "Hello"}'


def call(server, gcmd):
    """Send the task, print the result, and stop the worker."""
    client = gear.Client()
    try:
        client.addServer(server.host, server.port)
        client.waitForServer(timeout=10)
        job = gear.Job(b"queue", TASK)
        client.submitJob(job)
        while not job.complete:
            threading.Event().wait(0.001)
        print(b"".join(job.data).decode())
    finally:
        client.shutdown()
        gcmd.stop()


def main():
    with EmbeddedServer() as server:
        gcmd = GearmanCMD([server.address]).register_task("queue", Queue())
        print(f"a worker on {server.address} gets {TASK.decode()} and answers:", file=sys.stderr)
        threading.Thread(target=call, args=(server, gcmd)).start()
        gcmd.run()


if __name__ == "__main__":
    main()
