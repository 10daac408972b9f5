"""The ``gearman`` command-line tool: gearman_tool.py HOST PORT QUEUE TASK."""

import json
import subprocess
import sys

host, port, queue, task = sys.argv[1:]
done = subprocess.run(["gearman", "-h", host, "-p", port, "-f", queue, task], capture_output=True, text=True)
if done.returncode == 0:
    seen = {"ended": "complete", "result": done.stdout}
else:
    seen = {"ended": "failed", "reason": done.stderr.removesuffix("Job failed\n") or None, "status": done.returncode}
print(json.dumps(seen))
