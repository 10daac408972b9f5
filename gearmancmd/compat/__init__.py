"""python-gearman's clients as their users know them, working on Python 3.

>>> client = GearmanClient(["localhost:4730"])
>>> client.submit_job("reverse", "Hello").result
'olleH'

What else a user of python-gearman imports, such as the constants, the errors and the job classes, stays where it is, in
the module `gearman`. The worker is `gearmancmd.GearmanWorker`.
"""

from .admin import GearmanAdminClient
from .client import GearmanClient

__all__ = ["GearmanAdminClient", "GearmanClient"]
