#!/usr/bin/env bash
# The one entry point, for people and for CI. It finds Python, installs what the commands need, and starts them:
# scripts/commands. ./deploy.sh help says what there is.
set -euo pipefail
{ # so that bash has read all of it before it starts, and never reads on in a file that changed meanwhile
  CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
  . scripts/lib.sh
  find_python
  export PYTHONPATH=$PWD/scripts
  case ${1:-} in
    help | -h | --help) ;; # needs no packages
    *)
      python_env .venv/commands scripts/commands/requirements.txt
      PYTHON=$PWD/.venv/commands/bin/python
      ;;
  esac
  cd "$OLDPWD" # files are named as seen from the caller's folder, from which nothing is imported: -P
  exec "$PYTHON" -P -m commands "$@"
}
