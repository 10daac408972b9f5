"""PyPI's gear: gear_client.py HOST PORT QUEUE TASK [exceptions]."""

import json
import sys
import time

import gear

host, port, queue, task, *options = sys.argv[1:]
client = gear.Client()
client.addServer(host, int(port))
client.waitForServer()
if options:
    client.setOption("exceptions")
job = gear.Job(queue.encode(), task.encode())
client.submitJob(job)
while not job.complete:
    time.sleep(0.01)
heard = b"".join(job.data).decode() or None
if not job.failure:
    seen = {"ended": "complete", "result": heard}
elif job.exception is None:
    seen = {"ended": "failed", "reason": heard}
else:
    seen = {"ended": "exception", "reason": job.exception.decode()}
print(json.dumps(seen), flush=True)
client.shutdown()
