# install.sh DIRECTORY: installs the helper that is in there for the one who calls sudo, with Firecracker where there is one.
firecracker=$(command -v firecracker) && set -- "$1" --firecracker "$firecracker"
program=$1/banger
shift
exec sudo "$program" system install "$@"
