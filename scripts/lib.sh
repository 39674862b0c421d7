# shellcheck shell=bash
# Shared by deploy.sh and tests/run.sh, which source it in the repository's top folder. Works with macOS's bash 3.2.

# fail MESSAGE: one line with cause and remedy, then exit.
fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

# find_python: set PYTHON to a Python 3.12.
find_python() {
  local candidate found
  for candidate in python3.12 python3 python; do
    case $("$candidate" --version 2>/dev/null) in
      'Python 3.12.'*)
        PYTHON=$candidate
        return
        ;;
    esac
  done
  found=$(python3 --version 2>/dev/null) || found='no Python'
  fail "Python 3.12 is needed, found ${found}. Get it from https://www.python.org/downloads/ or your package manager."
}

# python_env FOLDER REQUIREMENTS: make a virtual environment with the packages that a file pins.
python_env() { cmp -s "$2" "$1/installed.txt" || "$PYTHON" scripts/python_env.py "$1" "$2"; }
