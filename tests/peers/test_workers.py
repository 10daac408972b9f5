"""Our worker against clients that were not written here: Debian's gearman tool, Perl's and PHP's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from gearmancmd import GearmanCMD
from tests.peers.test_clients import available
from tests.support.queues import Serving
from tests.support.waiting import LIMIT

HELLO = json.dumps({"command": "reverse", "message": "Hello"})
REPORT = json.dumps({"command": "report"})
REFUSE = json.dumps({"command": "refuse"})

PERL = r"""
use Gearman::Client;
my ($server, $queue, @tasks) = @ARGV;
my $client = Gearman::Client->new(job_servers => [$server], exceptions => 1);
my $set = $client->new_task_set;
for my $task (@tasks) {
    $set->add_task($queue, $task, {
        on_complete => sub { print "complete ${$_[0]}\n" },
        on_status => sub { print "status $_[0] of $_[1]\n" },
        on_warning => sub { print "warning ${$_[0]}\n" },
        on_fail => sub { print "failed\n" },
    });
    $set->wait(timeout => 30);
}
"""

PHP = r"""<?php
[, $server, $queue] = $argv;
[$host, $port] = explode(":", $server);
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$client->setCompleteCallback(function ($task) { echo "complete ", $task->data(), "\n"; });
$client->setStatusCallback(function ($task) {
    echo "status ", $task->taskNumerator(), " of ", $task->taskDenominator(), "\n";
});
$client->setWarningCallback(function ($task) { echo "warning ", $task->data(), "\n"; });
$client->setFailCallback(function ($task) { echo "failed\n"; });
foreach (array_slice($argv, 3) as $task) {
    $client->addTask($queue, $task);
    $client->runTasks();
}
"""

SEEN = [
    'complete "olleH"',
    "status 0 of 3",
    "status 1 of 3",
    "status 2 of 3",
    'warning "paper is low"',
    'complete "printed"',
    'warning "out of paper"',
    "failed",
    'complete "olleH"',
]


@pytest.fixture
def called(gearmand, queue, run):
    """What a client printed about its tasks, line by line."""
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))

    def call(*command: str) -> list[str]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done
        return done.stdout.splitlines()

    return call


@pytest.mark.skipif(shutil.which("gearman") is None, reason="Debian's gearman-tools are not installed")
def test_the_gearman_tool(gearmand, called, queue):
    assert called("gearman", "-h", gearmand.host, "-p", str(gearmand.port), "-f", queue, HELLO) == ['"olleH"']


@pytest.mark.skipif(not available("perl", "-MGearman::Client", "-e1"), reason="Perl's Gearman::Client is not installed")
def test_perls_client(gearmand, called, queue, tmp_path: Path):
    (tmp_path / "client.pl").write_text(PERL, "utf-8")
    assert called("perl", str(tmp_path / "client.pl"), gearmand.address, queue, HELLO, REPORT, REFUSE, HELLO) == SEEN


@pytest.mark.skipif(not available("php", "-r", "new GearmanClient();"), reason="php-gearman is not installed")
def test_phps_client(gearmand, called, queue, tmp_path: Path):
    (tmp_path / "client.php").write_text(PHP, "utf-8")
    assert called("php", str(tmp_path / "client.php"), gearmand.address, queue, HELLO, REPORT, REFUSE, HELLO) == SEEN
