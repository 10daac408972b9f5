<?php
// php-gearman's tasks and callbacks: runtasks.php HOST PORT QUEUE TASK [exceptions]
[, $host, $port, $queue, $task] = $argv;
$seen = ["ended" => null, "reason" => null];
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$client->setWarningCallback(function (GearmanTask $task) use (&$seen) {
    $seen["reason"] = $task->data();
});
$client->setFailCallback(function () use (&$seen) {
    $seen["ended"] = "failed";
});
$client->setCompleteCallback(function (GearmanTask $task) use (&$seen) {
    $seen = ["ended" => "complete", "result" => $task->data()];
});
if (isset($argv[5])) {
    $client->setExceptionCallback(function (GearmanTask $task) use (&$seen) {
        $seen = ["ended" => "exception", "reason" => $task->data()];
    });
}
$client->addTask($queue, $task);
$success = $client->runTasks();
$seen["ended"] ??= $success ? "success, no callback" : $client->error();
echo json_encode($seen), "\n";
