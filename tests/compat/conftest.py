"""Clients of python-gearman's API, and workers for them."""

from __future__ import annotations

import threading

import pytest

from gearmancmd import GearmanWorker, JSONDataEncoder
from gearmancmd.compat import GearmanAdminClient, GearmanClient


class JSONClient(GearmanClient):
    """JSON by subclassing, as python-gearman documents it."""

    data_encoder = JSONDataEncoder


@pytest.fixture
def connect():
    """Makes a client, of `kind` or of plain text, and closes it behind the test."""
    clients = []

    def make(*servers, kind=GearmanClient, **options):
        clients.append(kind(list(servers), **options))
        return clients[-1]

    yield make
    for client in clients:
        client.shutdown()


@pytest.fixture
def client(server, connect):
    return connect(server.address, kind=JSONClient)


@pytest.fixture
def admin_client(server, connect):
    return connect(server.address, kind=GearmanAdminClient)


@pytest.fixture
def work():
    """Runs workers, of plain text unless another class is given, in threads of their own."""
    running = []

    def start(address, task, callback, kind=GearmanWorker):
        worker = kind([address])
        worker.register_task(task, callback)
        thread = threading.Thread(target=worker.work, args=(0.1,))
        running.append((worker, thread))
        thread.start()
        return worker

    yield start
    for worker, thread in running:
        while thread.is_alive():
            worker.shutdown()
            thread.join(0.1)
