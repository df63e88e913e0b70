#!/bin/sh
# Runs the tests, the quick ones first, and prints the coverage and then mocha's summaries. Ends with 0 if all passed.
#
#   hack/test.sh [ARGUMENT_OF_MOCHA...]             unit, property and integration tests, then fault tests
#   hack/test.sh --faults [ARGUMENT_OF_MOCHA...]    fault tests only; LONG=1 for their long form
#
# Behind npm scripts, which put mocha and c8 on the PATH.
set -u
only_faults=false
if [ "${1-}" = --faults ]; then
  only_faults=true
  shift
fi
# Fault tests mostly wait, so several files run at a time; but a machine has only so many cores.
jobs=${FAULT_JOBS:-3}
failed=0

# run NAME ARGUMENT...: mocha under the reporter that keeps its summary for the end
run() {
  name=$1
  shift
  mocha --reporter hack/test-reporter.ts --reporter-option "name=$name" "$@" || failed=1
  [ -f "coverage/$name.summary.txt" ] && return
  echo "test.sh: mocha ended before the summary of $name" >&2
  failed=1
}

rm -rf coverage
if ! $only_faults; then
  # These need programs that are built with Go; `make test` says so when it has to leave them out.
  programs=
  [ -x bin/prometheus/prometheus ] && programs="test/monitoring/**/*.test.ts"
  [ -x bin/tools/helm ] && programs="$programs test/chart/**/*.test.ts"
  # Processes that tests start count too, whatever their working directory.
  # The patterns are for mocha, and none has a blank.
  set -f
  # shellcheck disable=SC2086
  NODE_V8_COVERAGE=$PWD/coverage/tmp run tests "$@" \
    'test/unit/**/*.test.ts' 'test/property/**/*.test.ts' 'test/integration/**/*.test.ts' $programs
  set +f
fi
run faults --parallel --jobs "$jobs" "$@" 'test/fault/**/*.test.ts'
if [ -d coverage/tmp ]; then c8 report || failed=1; fi
cat coverage/*.summary.txt
exit "$failed"
