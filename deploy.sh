#!/usr/bin/env bash
# The one entry point, for people and for CI. It finds Python, installs what the commands need, and starts them:
# scripts/commands. ./deploy.sh help says what there is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/lib.sh
find_python
python_env .venv/commands scripts/commands/requirements.txt
export PYTHONPATH=$PWD/scripts
python=$PWD/.venv/commands/bin/python
cd "$OLDPWD" # files are named as seen from the caller's folder
exec "$python" -m commands "$@"
