#!/usr/bin/env bash
# Checks style, layers, generated code, documents and known vulnerabilities. Runs every check, whatever the ones before
# it said; fails at the end when one did.
set -uo pipefail
cd "$(dirname "$0")/.."

tool() { go tool -modfile=tools/go.mod "$@"; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=()
check() { # name, command…
	local name=$1
	shift
	echo "lint: $name" >&2
	"$@" || failed+=("$name")
}

formatted() {
	local files
	files=$(git ls-files -z '*.go' | xargs -0r gofmt -l)
	[ -z "$files" ] || {
		echo "not gofmt-ed (make fmt):" "$files"
		return 1
	}
}

proto_generated() {
	tool buf generate -o "$scratch/proto" || return
	diff -ru -x '*.proto' api "$scratch/proto/api" || {
		echo "the generated protobuf code is not what the .proto files say: make generate"
		return 1
	}
}

docs_generated() {
	go run ./docs/gen -check || return
}

# What another program is given is never joined into a string for a shell to take apart.
# The lab's own shell is one on purpose: it gets no words of anybody's.
no_shell() {
	! git grep -nE 'exec\.Command(Context)?\([^)]*"(/bin/|/usr/bin/)?(ba|da|z)?sh"' -- '*.go' ':!*_test.go' ':!test/lab/inside/shell.go'
}

shell_scripts() {
	local script
	for script in scripts/*.sh .ci/run; do
		bash -n "$script" || return
	done
}

vulnerabilities() {
	tool govulncheck ./... >"$scratch/vuln" 2>&1
	local code=$?
	case $code in
	0) return 0 ;;
	3)
		cat "$scratch/vuln"
		return 1
		;;
	esac
	if grep -qiE 'fetching vulnerabilities|vulnerability database|dial tcp|no such host|connection refused|HTTP (GET|HEAD)|proxyconnect' "$scratch/vuln"; then
		echo "lint: NOT RUN: govulncheck, its database cannot be reached: $(tail -n 1 "$scratch/vuln")" >&2
		return 0
	fi
	cat "$scratch/vuln"
	return 1
}

check gofmt formatted
check vet go vet -tags e2e,lab ./...
check golangci-lint tool golangci-lint run
check 'buf lint' tool buf lint
check 'buf format' tool buf format --diff --exit-code
check 'generated protobuf code' proto_generated
check 'generated documents' docs_generated
check 'no shell' no_shell
check 'shell scripts' shell_scripts
check govulncheck vulnerabilities

if [ ${#failed[@]} -gt 0 ]; then
	(IFS=, && echo "lint: FAILED: ${failed[*]}" >&2)
	exit 1
fi
echo "lint: passed" >&2
