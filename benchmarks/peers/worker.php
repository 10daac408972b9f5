<?php // php-gearman's worker: HOST PORT. It serves the same `reverse`.
$worker = new GearmanWorker();
$worker->addServer($argv[1], (int) $argv[2]);
$worker->addFunction('reverse', function ($job) {
    return json_encode(strrev(json_decode($job->workload(), true)['message']));
});
while ($worker->work());
