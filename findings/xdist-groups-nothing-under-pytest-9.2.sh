#!/usr/bin/env bash
# Under pytest 9.2, pytest-xdist's `--dist loadgroup` groups nothing: tests with one and the same xdist_group mark run in
# different processes, without a warning. xdist writes the group into an attribute of each test (_nodeid) from which
# pytest no longer takes the test's ID. A fixture of a module that takes long to make is made once in each process again,
# and tests that the mark was to keep apart run concurrently. A subclass of xdist's LoadScopeScheduling that overrides
# _split_scope still groups.
#
# Versions: pytest-xdist 3.8.0 with pytest 9.2.0, beside pytest 8.4.2. Output seen:
#   pytest 8.4.2: 1 process for the group
#   pytest 9.2.0: 2 processes for the group
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/test_group.py" <<'PYTHON'
import os
from pathlib import Path

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_of_the_group(number):
    Path(__file__).with_name(f"ran-in-{os.environ['PYTEST_XDIST_WORKER']}").touch()
PYTHON
for version in 8.4.2 9.2.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check \
    "pytest==$version" pytest-xdist==3.8.0 execnet==2.1.2
  rm -f "$folder"/ran-in-*
  "$folder/$version/bin/pytest" -q --numprocesses 2 --dist loadgroup --rootdir "$folder" -p no:cacheprovider \
    "$folder/test_group.py" >"$folder/log" || {
    cat "$folder/log"
    exit 1
  }
  processes=$(find "$folder" -maxdepth 1 -name 'ran-in-*' | wc -l)
  echo "pytest $version: $((processes)) process$([ "$processes" -eq 1 ] || echo es) for the group"
done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
pytest 8.4.2: 1 process for the group
pytest 9.2.0: 2 processes for the group
SEEN
