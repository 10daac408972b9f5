"""The worker's inside: the loop over the servers' sockets, the Pipe to the dispatcher, a job, which server is asked."""
