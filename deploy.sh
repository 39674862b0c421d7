#!/usr/bin/env bash
# The one entry point, for people and for CI. It finds Python, installs what the commands need, and starts them:
# scripts/commands. ./deploy.sh help lists them.
set -euo pipefail
{ # so that bash reads the whole script before it runs any of it, even if the file changes meanwhile
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
  cd "$OLDPWD" # paths are relative to the caller's folder, from which -P keeps Python from importing anything
  exec "$PYTHON" -P -m commands "$@"
}
