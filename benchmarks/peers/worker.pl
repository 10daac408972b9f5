# Perl's Gearman::Worker: HOST PORT. It serves the same `reverse`.
use strict;
use warnings;
use Gearman::Worker;


my $worker = Gearman::Worker->new;
$worker->job_servers("$ARGV[0]:$ARGV[1]");

$worker->register_function(reverse => sub {
    my ($message) = $_[0]->arg =~ /"message": "([^"]*)"/;
    return '"' . reverse($message) . '"';
});
$worker->work while 1;
