# Perl's Gearman::Client: taskset.pl HOST PORT QUEUE TASK [exceptions]
use strict;
use warnings;
use Gearman::Client;
use JSON::PP;

my ($host, $port, $queue, $task, $exceptions) = @ARGV;
my %seen = (ended => "no callback", reason => undef);
my $client = Gearman::Client->new(job_servers => ["$host:$port"], exceptions => $exceptions ? 1 : 0);
my $set = $client->new_task_set;
$set->add_task($queue, $task, {
    on_warning   => sub { $seen{reason} = ${$_[0]} },
    on_fail      => sub { $seen{ended} = "failed" },
    on_exception => sub { %seen = (ended => "exception", reason => $_[0]) },
    on_complete  => sub { %seen = (ended => "complete", result => ${$_[0]}) },
});
eval { $set->wait; 1 } or %seen = (ended => "dies", reason => undef, error => $@);
print encode_json(\%seen), "\n";
