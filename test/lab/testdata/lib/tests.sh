# tests.sh PACKAGE LIMIT: runs the tests of a package that the lab was given.
set -eu
cd /opt/lab/tests/$1
exec ./$1.test -test.v -test.timeout $2 -test.parallel 2
