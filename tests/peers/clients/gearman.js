// npm's gearman: gearman.js HOST PORT QUEUE TASK [exceptions]
"use strict";

const gearman = require("gearman");

const [host, port, queue, task, exceptions] = process.argv.slice(2);
const client = gearman(host, Number(port));
let submitted = null;
let reason = null;

// The client leaves it to its user to tell by the handle whose packet this is.
function end(handle, seen) {
  if (handle !== submitted) seen.ended += ", wrong handle";
  console.log(JSON.stringify(seen));
  process.exit();
}

client.on("JOB_CREATED", (handle) => { submitted = handle; });
client.on("WORK_WARNING", (packet) => { reason = packet.warning; });
client.on("WORK_FAIL", (packet) => end(packet.handle, { ended: "failed", reason }));
client.on("WORK_EXCEPTION", (packet) => end(packet.handle, { ended: "exception", reason: packet.exception }));
client.on("WORK_COMPLETE", (packet) => end(packet.handle, { ended: "complete", result: packet.payload.toString() }));
client.connect(() => {
  if (exceptions) client.setOption("exceptions");
  client.submitJob(queue, task);
});
