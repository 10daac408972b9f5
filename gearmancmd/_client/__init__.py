"""What both clients share: jobs in flight, submissions, results, the choice of a server, and the connections."""
