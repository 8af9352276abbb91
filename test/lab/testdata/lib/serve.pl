# Listens in a guest, and gives each who comes 5 MB.
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die;
while (my $c = $s->accept) { print $c "x" x 5000000; close $c }
