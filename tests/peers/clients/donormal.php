<?php
// php-gearman's doNormal: donormal.php HOST PORT QUEUE TASK
[, $host, $port, $queue, $task] = $argv;
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$text = $client->doNormal($queue, $task);
$names = [GEARMAN_SUCCESS => "complete", GEARMAN_WORK_FAIL => "failed", GEARMAN_WORK_EXCEPTION => "exception"];
$ended = $names[$client->returnCode()] ?? $client->error();
$heard = is_string($text) && $text !== "" ? $text : null;
echo json_encode(["ended" => $ended, $ended === "complete" ? "result" : "reason" => $heard]), "\n";
