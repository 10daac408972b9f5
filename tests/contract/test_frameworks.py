"""The Django project and the Flask app of docs/frameworks.md, put together from its blocks, at work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commandline import Command
from tests.support.workers import ENVIRONMENT, ROOT

PAGE = (ROOT / "docs" / "frameworks.md").read_text("utf-8")
COMMANDS = re.findall(r"^```sh\n(gearmancmd run .*)\n```$", PAGE, re.MULTILINE)


def files() -> dict[str, str]:
    """The Python blocks of the page, by the file that the text before each of them names."""
    found = {}
    name = ""
    for step in re.finditer(r"`([\w/]+\.py)`|^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        if step[1]:
            name = step[1]
        else:
            found[name] = step[2]
    return found


#: What the page does not show.
REST = {
    "project/__init__.py": "",
    "project/settings.py": """
from pathlib import Path

SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "project.urls"
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
""",
    "project/urls.py": """
from django.urls import path

from shop import async_views, views

urlpatterns = [
    path("orders", views.create),
    path("orders/<int:number>/print", views.print_now),
    path("async/<int:number>/print", async_views.print_now),
]
""",
    "shop/__init__.py": "",
    "shop/models.py": """
from django.db import models


class Order(models.Model):
    pages = models.IntegerField()
    printed = models.BooleanField(default=False)
""",
    "shop/management/__init__.py": "",
    "shop/management/commands/__init__.py": "",
}

MANAGE = (
    "import sys; from django.core.management import execute_from_command_line as run; run(['manage.py', *sys.argv[1:]])"
)

VIEWS = """
import asyncio

import django

django.setup()

from django.test import AsyncClient, Client

from shop.models import Order
from tests.support.waiting import wait_for

client = Client()
answer = client.post("/orders", {"pages": "3"})
number = answer.json()["order"]
print(answer.status_code, wait_for(lambda: Order.objects.get(pk=number).printed))
answer = client.get(f"/orders/{number}/print")
print(answer.status_code, answer.json())
answer = client.get("/orders/999/print")
print(answer.status_code, answer.json())


async def ask():
    return await AsyncClient().get(f"/async/{number}/print"), await AsyncClient().get("/async/999/print")


for answer in asyncio.run(ask()):
    print(answer.status_code, answer.json())
"""
PRINTED = """202 True
200 {'pages': 3}
422 {'error': 'there is no order 999'}
200 {'pages': 3}
422 {'error': 'there is no order 999'}
"""

CONNECTIONS = """
from django.db import connection

from gearmancmd.testing import call_command
from shop.worker import make_worker

worker = make_worker()
from shop.models import Order

order = Order.objects.create(pages=2)
for number in order.pk, 999:
    connection.ensure_connection()
    print(call_command(worker, {"command": "print", "order": number}), connection.connection)
"""

FLASK = """
from reports import create_app

client = create_app().test_client()
answer = client.post("/reports/1")
print(answer.status_code)
print(sorted(client.get(f"/jobs/{answer.json['job']}").json))
*progress, end = client.get("/reports/10").text.splitlines()
print(all('"total"' in line for line in progress), len(progress) > 1)
print(end)
"""


class Project:
    """A folder with the files of the page, and what is run in it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.servers = {"GEARMAN_SERVERS": address}
        settings = {"DJANGO_SETTINGS_MODULE": "project.settings", "PYTHONPATH": f"{ROOT}:{folder}"}
        self.environment = {**ENVIRONMENT, **self.servers, **settings}
        for name, text in {**REST, **files()}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def python(self, *arguments: str) -> str:
        """What a program prints."""
        command = [sys.executable, "-W", "error", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, timeout=60, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def project(tmp_path: Path, own_gearmand: Any) -> Project:
    return Project(tmp_path, own_gearmand.address)


@pytest.fixture
def django_project(project: Project) -> Project:
    project.python("-c", MANAGE, "migrate", "--run-syncdb")
    return project


@pytest.fixture
def run_worker(project: Project) -> Iterator[Callable[[str], Command]]:
    """Starts a command of the page, and sees that SIGTERM ends it well."""
    started: list[Command] = []

    def start(line: str) -> Command:
        started.append(Command(*shlex.split(line)[1:], cwd=project.folder, environ=project.servers))
        started[-1].wait_for_line(" answers")
        return started[-1]

    yield start
    for worker in started:
        worker.process.terminate()
        status = worker.exit_status()
        worker.end()
        assert status == 0, worker.stderr


def test_django_with_gearmancmd_run(django_project, run_worker):
    run_worker(COMMANDS[0])
    assert django_project.python("-c", VIEWS) == PRINTED


def test_django_with_a_management_command(django_project, worker_process):
    worker = worker_process(MANAGE, "gearman_worker", environment=django_project.environment)
    assert django_project.python("-c", VIEWS) == PRINTED
    worker.process.terminate()
    assert worker.exit_status() == 0, worker.lines


def test_django_closes_connections_after_each_job(django_project):
    done, failed = django_project.python("-c", CONNECTIONS).splitlines()
    assert done == "CommandResult(result=2, reports=[], failure=None) None"
    assert failed.endswith("failure='there is no order 999') None")


def test_flask(project, run_worker):
    run_worker(COMMANDS[1])
    assert project.python("-c", FLASK).splitlines() == [
        "202",
        "['done', 'total', 'under way']",
        "True True",
        '{"report": "a report by ada"}',
    ]


def test_every_block_is_driven():
    assert len(files()) == PAGE.count("```python")
    assert len(COMMANDS) == PAGE.count("```sh") == 2
