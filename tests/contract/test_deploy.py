"""examples/deploy: the files can be read, and what they say of gearmancmd is so. Whether systemd, Docker and Kubernetes
take them is not tried here; the files say what has checked them.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from gearmancmd.metrics import Metrics
from tests.support.commandline import gearmancmd
from tests.support.workers import ROOT

DEPLOY = ROOT / "examples" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
DEPLOYMENT = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
ALERTS = (DEPLOY / "alerts.yaml").read_text("utf-8")

_UNIT = configparser.ConfigParser(interpolation=None)
_UNIT.optionxform = str  # type: ignore[assignment,method-assign]
_UNIT.read_string((DEPLOY / "gearmancmd.service").read_text("utf-8"))
SERVICE = _UNIT["Service"]

(CONTAINER,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]


def instruction(name: str) -> Any:
    """The JSON array of a Dockerfile's instruction."""
    return json.loads(re.search(rf"^{name} (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])


COMMANDS = {
    "systemd": shlex.split(SERVICE["ExecStart"]),
    "Docker": [*instruction("ENTRYPOINT"), *instruction("CMD")],
    "Kubernetes": [*instruction("ENTRYPOINT"), *CONTAINER["args"]],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_command_line_runs_the_examples_worker(command):
    program, *arguments = command
    assert program.rpartition("/")[2] == "gearmancmd"
    done = gearmancmd(*arguments, "--check", cwd=ROOT / "examples")
    assert (done.returncode, done.stdout, done.stderr) == (0, "queue: default, reverse, stop\n", "")


def option(command: list[str], name: str) -> str:
    words = " ".join(command).replace("=", " ").split()
    return words[words.index(name) + 1]


def test_whoever_stops_a_worker_gives_it_more_time_than_it_gives_its_jobs():
    grace = {name: int(option(command, "--grace")) for name, command in COMMANDS.items()}
    assert int(SERVICE["TimeoutStopSec"]) > grace["systemd"]
    assert int(COMPOSE["services"]["workers"]["stop_grace_period"].removesuffix("s")) > grace["Docker"]
    pause = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert DEPLOYMENT["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > pause + grace["Kubernetes"]


def test_the_unit_is_what_the_command_line_is_made_for():
    assert (SERVICE["Type"], SERVICE["KillMode"], SERVICE["NotifyAccess"]) == ("notify", "mixed", "main")
    assert "-HUP $MAINPID" in SERVICE["ExecReload"]


def test_ports_and_paths_are_those_that_are_served():
    port = int(option(COMMANDS["Docker"], "--metrics-port"))
    assert f"EXPOSE {port}\n" in DOCKERFILE and f":{port}/healthz" in DOCKERFILE
    assert COMPOSE["services"]["workers"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (exposed,) = CONTAINER["ports"]
    assert exposed["containerPort"] == int(option(COMMANDS["Kubernetes"], "--metrics-port"))
    probes = {CONTAINER[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
    assert probes == {"/healthz", "/readyz"}


def test_what_is_built_is_there():
    build = COMPOSE["services"]["workers"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT and (context / build["dockerfile"]) == DEPLOY / "Dockerfile"
    for source in re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE):
        assert (ROOT / source).exists()


def test_alerts_and_docs_name_the_metrics_that_there_are():
    registry = CollectorRegistry()
    Metrics(registry)
    names = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in registry.collect()}
    rules = [rule for group in yaml.safe_load(ALERTS)["groups"] for rule in group["rules"]]
    assert len(rules) > 3
    for rule in rules:
        used = set(re.findall(r"gearmancmd_\w+", rule["expr"]))
        assert used and used <= names
    table = re.findall(r"^\| `(gearmancmd_\w+)`", (ROOT / "docs" / "monitoring.md").read_text("utf-8"), re.MULTILINE)
    assert set(table) == names
