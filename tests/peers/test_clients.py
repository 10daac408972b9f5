"""The clients against workers that were not written here: Debian's gearman tool, Perl's and PHP's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gearmancmd import JobFailed, JSONDataEncoder, JSONGearmanClient
from gearmancmd.compat import GearmanClient
from tests.support.gearmand import counts
from tests.support.waiting import LIMIT, wait_for

PERL = r"""
use Gearman::Worker;
my ($server, $queue) = @ARGV;
my $worker = Gearman::Worker->new(job_servers => [$server]);
$worker->register_function($queue, sub {
    my $job = shift;
    return undef if $job->arg =~ /refuse/;
    $job->set_status(1, 2);
    return '{"from": "perl", "task": ' . $job->arg . '}';
});
$worker->work while 1;
"""

PHP = r"""<?php
[, $server, $queue] = $argv;
[$host, $port] = explode(":", $server);
$worker = new GearmanWorker();
$worker->addServer($host, (int) $port);
$worker->addFunction($queue, function (GearmanJob $job) {
    $task = json_decode($job->workload(), true);
    if ($task["command"] === "refuse") {
        $job->sendException(json_encode("out of paper"));
        return;
    }
    $job->sendStatus(1, 2);
    $job->sendData(json_encode(["page" => 1]));
    $job->sendWarning("plain text");
    return json_encode(["from" => "php", "task" => $task]);
});
while ($worker->work());
"""


def available(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def client(gearmand):
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        yield client


class CompatClient(GearmanClient):
    data_encoder = JSONDataEncoder


@pytest.fixture
def compat_client(gearmand):
    client = CompatClient([gearmand.address])
    yield client
    client.shutdown()


@pytest.fixture
def worker(gearmand, queue):
    """Starts a worker on the test's queue."""
    started = []

    def start(*command: str) -> None:
        started.append(subprocess.Popen(command))
        wait_for(lambda: counts(gearmand, queue)[2], "the worker")

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(shutil.which("gearman") is None, reason="Debian's gearman-tools are not installed")
def test_the_gearman_tool(gearmand, client, compat_client, worker, queue):
    worker("gearman", "-w", "-h", gearmand.host, "-p", str(gearmand.port), "-f", queue, "--", "cat")
    task = {"command": "echo", "text": "Grüße"}
    assert client.call(queue, task) == task
    assert list(client.map(queue, [1, "two", None])) == [1, "two", None]
    assert compat_client.submit_job(queue, task, poll_timeout=LIMIT).result == task


@pytest.mark.skipif(shutil.which("gearman") is None, reason="Debian's gearman-tools are not installed")
def test_a_result_of_the_gearman_tool_that_is_not_json(gearmand, client, worker, queue):
    worker("gearman", "-w", "-h", gearmand.host, "-p", str(gearmand.port), "-f", queue, "--", "rev")
    with pytest.raises(JobFailed, match=r'its result cannot be decoded: .*}"oof"'):
        client.call(queue, {"command": "foo"})
    assert client.call(queue, "level") == "level"


@pytest.mark.skipif(not available("perl", "-MGearman::Worker", "-e1"), reason="Perl's Gearman::Worker is not installed")
def test_perls_worker(gearmand, client, compat_client, worker, queue, tmp_path: Path):
    (tmp_path / "worker.pl").write_text(PERL, "utf-8")
    worker("perl", str(tmp_path / "worker.pl"), gearmand.address, queue)
    seen = []
    result = client.call(queue, {"command": "any"}, on_status=lambda done, total: seen.append((done, total)))
    assert result == {"from": "perl", "task": {"command": "any"}}
    assert seen == [(1, 2)]
    with pytest.raises(JobFailed, match="gave no reason"):
        client.call(queue, {"command": "refuse"})
    assert compat_client.submit_job(queue, {"command": "any"}, poll_timeout=LIMIT).result["from"] == "perl"


@pytest.mark.skipif(not available("php", "-r", "new GearmanWorker();"), reason="php-gearman is not installed")
def test_phps_worker(gearmand, client, compat_client, worker, queue, tmp_path: Path):
    (tmp_path / "worker.php").write_text(PHP, "utf-8")
    worker("php", str(tmp_path / "worker.php"), gearmand.address, queue)
    seen = []
    result = client.call(queue, {"command": "any"}, on_data=seen.append, on_warning=seen.append)
    assert result == {"from": "php", "task": {"command": "any"}}
    assert seen == [{"page": 1}, "plain text"]
    with pytest.raises(JobFailed, match="out of paper"):
        client.call(queue, {"command": "refuse"})
    assert compat_client.submit_job(queue, {"command": "any"}, poll_timeout=LIMIT).result["from"] == "php"
