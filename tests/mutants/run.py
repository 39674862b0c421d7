"""Test the tests: change framing, validation and verify loop bit by bit, and expect the unit tests to turn red.

mutmut makes the mutants, in a copy of the handler, and runs the tests that reach the changed function. A mutant that
no test notices is reported, unless EXPLAINED says why none can; so is an entry there that has become wrong.
"""

# ruff: noqa: E501 - one mutant, one line

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / ".local/mutants"
MUTMUT = Path(sys.executable).with_name("mutmut")
COPIED = ("lambda_function.py", "schemas", "tests/__init__.py", "tests/events", "tests/unit")
MUTATED = (
    "xǁFramerǁ*",
    "xǁ_Decodersǁ*",
    "xǁRejectedǁ*",
    *(f"x_{name}__mutmut_*" for name in ("_likely_separator", "_before_number")),
    *(f"x_{name}__mutmut_*" for name in ("_rejection", "cut_down", "process_object", "_process_newest", "_copy")),
    *(f"x_{name}__mutmut_*" for name in ("_head", "_lineage", "_source", "_write_verdict", "_has_result", "_verdicts")),
)
# Left out are tests that are slow, that tell by the clock, or that read the source, in which mutmut keeps all mutants.
SETTINGS = """
[tool.pytest.ini_options]
pythonpath = ["."]

[tool.mutmut]
source_paths = ["lambda_function.py"]
also_copy = ["schemas"]
# A fork of a process that has run the handler lacks its threads, and waits for them until every mutant has timed out.
process_isolation = "forkserver"
pytest_add_cli_args_test_selection = [
  "tests/unit/test_validation.py",
  "tests/unit/test_framing.py",
  "tests/unit/test_objects.py",
  "tests/unit/test_events.py",
  "tests/unit/test_faults.py::test_a_broken_download_is_resumed_at_the_same_byte",
  "tests/unit/test_convergence.py",
]
pytest_add_cli_args = [
  "--deselect=tests/unit/test_validation.py::test_every_reason_is_documented",
  "--deselect=tests/unit/test_events.py::test_saved_queries_ask_for_what_is_logged",
  "--hypothesis-profile=mutants",
  "--capture=no", # else the logger keeps the first run's output, closed by then
]
timeout_constant = 5.0
timeout_multiplier = 2.0 # of the time that the function's tests take: a mutant may loop
"""


# Mutants that no test of what comes out can tell from the handler: why, and the lines that mutmut makes.
EXPLAINED = {
    "finds another comma, or the same one elsewhere, or waits for more: the same records, at another time": (
        "for tail in (2049, 65536):",
        "for tail in (2048, 65537):",
        "commas = [match.start() for match in _SEPARATOR.finditer(window, max(limit - tail, 2), limit)]",
        "limit -= self._misses * _STRIDE % (limit // 3 + 1)",
        "limit -= self._misses * _STRIDE % (limit // 2 + 2)",
        "self._misses -= 1",
        "self._misses += 2",
        "self._fill(5)  # enough to know a byte order mark",
        "if not self._fill(2):",
        "self._fill(min(3 * len(window), MAX_RECORD_BYTES + 2))",
        "self._wanted = min(max(2 * size, BATCH_BYTES), MAX_RECORD_BYTES + 3 + len(_PADDING))",
        "if following >= BATCH_BYTES:",
    ),
    "looks at more or at fewer bytes before it looks at all": (
        "start = max(limit + 64, 0)",
        "start = max(limit - 65, 0)",
        "start = max(limit - 64, 1)",
        "others = None",
        "return start + len(others) if (others) and False else len(window[:limit].rstrip(_NUMBER))",
    ),
    "is set again before it counts": ("self._count = 1", "self._count = None", "self._data = None"),
    "only the garbage collector has more to do": (
        "class Kept(Record, gc=True):",
        "class Passed(msgspec.Struct, gc=True):",
    ),
    "as much and more is waited for anyway": (
        "self._large = 1  # size of the last record that was larger than a batch",
    ),
    "only whether it is empty or false is asked": (
        'error = ""',
        "self.closed = None  # whether the window begins after the end of the array",
        "self._complete = None  # whether the window reaches the end of the file",
        "commas: list[int] = None",
        "piece = next(self._pieces, None)",
    ),
    "only brackets are counted": (
        'without_escapes = marked.replace(b"\\\\\\\\", b"XXXX").replace(b\'\\\\"\', b"")',
        'without_escapes = marked.replace(b"\\\\\\\\", b"").replace(b\'\\\\"\', b"XXXX")',
        'without_strings = b"XXXX".join(without_escapes.split(b\'"\')[::2])',
    ),
    "both groups match, or neither": (
        'return Rejected("missing_field", record, field[2]) if field[2] else Rejected("invalid_field", record, field[3])',
    ),
    "an ETag holds no X": (
        'return (response.get("VersionId", "null"), response["ETag"].strip(\'XX"XX\')) if response else NO_VERSION',
    ),
    "padding follows the rest of a file, so no number is at its end": (
        "limit = size if (is_rest) and False else _before_number(window, size)",
    ),
    "only how much S3 lists, and what is asked once more": (
        "Prefix=None,  # noqa: RUF071 - keys are not paths",
        "Prefix=os.path.commonprefix(None),  # noqa: RUF071 - keys are not paths",
        "StartAfter=min(keys)[:-2],",
        'likely = [key for key in keys if key in listed or (listing["IsTruncated"] and key >= listed[-1])]',
    ),
    "as many answers as keys": (
        "return dict(zip(likely, _request_threads.map(partial(_head, REJECTED_BUCKET), likely), strict=None))",
        "return dict(zip(likely, _request_threads.map(partial(_head, REJECTED_BUCKET), likely), strict=False))",
        "return dict(zip(likely, _request_threads.map(partial(_head, REJECTED_BUCKET), likely), ))",
    ),
    "no version has this ID or this ETag either": (
        'return metadata.get("source-version-id", None), metadata.get("source-etag", "")',
        'return metadata.get("source-version-id", ), metadata.get("source-etag", "")',
        'return metadata.get("source-version-id", "XXXX"), metadata.get("source-etag", "")',
        'return metadata.get("source-version-id", ""), metadata.get("source-etag", None)',
        'return metadata.get("source-version-id", ""), metadata.get("source-etag", )',
        'return metadata.get("source-version-id", ""), metadata.get("source-etag", "XXXX")',
    ),
    "both ways of reading give the same": ('if raw["ContentLength"] >= READ_BYTES:',),
    "test_runtime.py, too slow for this, reads a damaged object with the oldest boto3": (
        "raw = s3.get_object(Bucket=work.bucket, Key=work.key, )",
        'raw = s3.get_object(Bucket=work.bucket, Key=work.key, ChecksumMode="enabled")',
        'raw = s3.get_object(Bucket=work.bucket, Key=work.key, ChecksumMode="XXENABLEDXX")',
    ),
}


def mutmut(*command: str) -> str:
    """Return what mutmut prints."""
    return subprocess.run([MUTMUT, *command], cwd=COPY, stdout=subprocess.PIPE, text=True, check=True).stdout


def endings() -> dict[str, str]:
    """Return how each mutant that was tested ended: killed, survived or timeout, by its name."""
    lines = (line.strip().partition(": ") for line in mutmut("results", "--all", "true").splitlines())
    return {name: status for name, _, status in lines if status and status != "not checked"}


def changed(mutant: str) -> str:
    """Return the lines that a mutant changes, as one."""
    lines = mutmut("show", mutant).splitlines()
    return " ".join(line[1:].strip() for line in lines if line[:1] == "+" and line[:3] != "+++")


def main() -> None:
    """Run the tests against all mutants."""
    shutil.rmtree(COPY, ignore_errors=True)
    for name in COPIED:
        source, target = ROOT / name, COPY / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    (COPY / "pyproject.toml").write_text(SETTINGS)
    patterns = [f"lambda_function.{pattern}" for pattern in MUTATED]
    if subprocess.run([MUTMUT, "run", *patterns], cwd=COPY, check=False).returncode:
        sys.exit("error: mutmut gave up, most likely as a test is red without any mutant. Mend what it names above.")
    ended = endings()
    timed_out = [name for name, status in ended.items() if status == "timeout"]
    if len(timed_out) > len(ended) / 20:
        sys.exit(
            f"error: {len(timed_out)} of {len(ended)} mutants timed out, so the tests have proved nothing about them."
        )
    found = {changed(name): name for name, status in ended.items() if status != "killed"}
    survived = {line: name for line, name in found.items() if name not in timed_out}
    explained = {line for lines in EXPLAINED.values() for line in lines}
    unexplained, wrong = survived.keys() - explained, explained - found.keys()  # on a busy machine any may time out
    for line in unexplained:
        print(f"survived: {survived[line]}: {line}")
    for line in wrong:
        print(f"no longer survives: {line}")
    print(
        f"{len(ended)} mutants: {len(survived)} survived, {len(survived.keys() & explained)} of them explained, "
        f"{len(timed_out)} timed out"
    )
    sys.exit(bool(unexplained or wrong))


if __name__ == "__main__":
    main()
