// npm's gearmanode: gearmanode.js HOST PORT QUEUE TASK [exceptions]
"use strict";

const gearmanode = require("gearmanode");

const [host, port, queue, task, exceptions] = process.argv.slice(2);
const client = gearmanode.client({ host, port: Number(port) });
let reason = null;

function end(seen) {
  console.log(JSON.stringify(seen));
  process.exit();
}

// An event of the client's, which does not say of which job: without a listener Node ends the program.
client.on("error", (error) => end({ ended: "client error", reason: null, error: error.message }));
if (exceptions) client.jobServers[0].setOption("exceptions");
const job = client.submitJob(queue, task, { toStringEncoding: "utf8" });
job.on("warning", (text) => { reason = text; });
job.on("failed", () => end({ ended: "failed", reason }));
job.on("exception", (text) => end({ ended: "exception", reason: text }));
job.on("complete", () => end({ ended: "complete", result: job.response }));
