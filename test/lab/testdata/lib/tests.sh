# tests.sh PACKAGE LIMIT [PATTERN]: runs the tests of a package that the lab was given, or those of a pattern.
set -eu
cd /opt/lab/tests/$1
exec ./$1.test -test.v -test.timeout $2 -test.parallel 2 -test.run "${3:-.}"
