#!/usr/bin/env bash
# pytest-cov's mark no_cover, which is to leave a test out of the measurement, saves nothing in a process of pytest-xdist:
# what the test executes is traced all the same, and only then thrown away. In such a process two measurements run, one
# begun when pytest starts and one for the process; the mark stops the upper one, and the lower continues. To stop both,
# call coverage.Coverage.current().stop() until there is no current one.
#
# Versions: pytest-cov 7.1.0, coverage 7.17.3, pytest-xdist 3.8.0, pytest 9.2.0. Output seen:
#   one process: 2 of 4 statements not covered, traced in the test: no
#   pytest-xdist: 2 of 4 statements not covered, traced in the test: yes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pytest==9.2.0 pytest-cov==7.1.0 coverage==7.17.3 pytest-xdist==3.8.0
cat >"$folder/subject.py" <<'PYTHON'
def double(number):
    twice = 2 * number
    return twice


TOLD = True
PYTHON
cat >"$folder/test_subject.py" <<'PYTHON'
import sys
from pathlib import Path

import pytest
import subject


@pytest.mark.no_cover
def test_double():
    Path("traced").write_text("yes" if sys.gettrace() else "no")
    assert subject.double(2) == 4
PYTHON
cd "$folder"
for processes in 0 1; do
  venv/bin/python -m pytest -q -p no:cacheprovider --numprocesses "$processes" --cov subject --cov-report json >log || {
    cat log
    exit 1
  }
  venv/bin/python - "$processes" <<'PYTHON'
import json
import sys
from pathlib import Path

totals = json.loads(Path("coverage.json").read_text())["totals"]
name = ["one process", "pytest-xdist"][int(sys.argv[1])]
missing = f"{totals['missing_lines']} of {totals['num_statements']} statements not covered"
print(f"{name}: {missing}, traced in the test: {Path('traced').read_text()}")
PYTHON
done | tee seen
diff seen - <<'SEEN'
one process: 2 of 4 statements not covered, traced in the test: no
pytest-xdist: 2 of 4 statements not covered, traced in the test: yes
SEEN
