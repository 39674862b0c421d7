#!/usr/bin/env bash
# Every check of this project. ./tests/run.sh help says what there is.
set -euo pipefail
{ # so that bash has read all of it before it starts, and never reads on in a file that changed meanwhile
  CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
  . scripts/lib.sh
  find_python
  exec "$PYTHON" tests/runner/runner.py "$@"
}
