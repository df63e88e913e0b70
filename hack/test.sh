#!/bin/sh
# Runs the tests, the quick ones first, and prints the coverage and then mocha's summary. Ends with mocha's exit code.
#
#   hack/test.sh [ARGUMENT_OF_MOCHA...]     behind npm test, which puts mocha and c8 on the PATH
set -u
rm -rf coverage
# Processes that tests start count too, whatever their working directory.
NODE_V8_COVERAGE=$PWD/coverage/tmp mocha --reporter hack/test-reporter.ts "$@" \
  'test/unit/**/*.test.ts' 'test/property/**/*.test.ts' 'test/integration/**/*.test.ts'
status=$?
if [ -f coverage/summary.txt ]; then
  c8 report
  cat coverage/summary.txt
else
  echo "test.sh: mocha ended with code $status before its summary" >&2
  [ "$status" -ne 0 ] || status=1
fi
exit "$status"
