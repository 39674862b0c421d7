"""find and erase with the policy for an eraser: no version holds the patient afterwards, and all else is untouched."""

import json
from pathlib import Path
from typing import Any

import msgspec
from callers import holder, policy_for
from pipeline import Pipeline
from verbs import run

ID = "P-4711-Quetzalcoatl"
ANN = f'{{"patient_id": "{ID}", "patient_name": "Ann", "scans": [1.50, {{"eye": "left"}}]}}'.encode()
ESCAPED = "".join(f"\\u{ord(char):04x}" for char in ID).encode()
BOB = b'{"patient_name":"B\\u00f6b" ,"patient_id":"P-2","x":[1, 2,3e0]}'
CAT = b'{ "patient_id" : "P-3","patient_name":"Cat", "ratio": 1E-2 }'
LARGE = 60_000  # records, 30 MB


def array(*records: bytes) -> bytes:
    return b"[" + b",\n".join(records) + b"]"


def pretty() -> bytes:
    """Return a large file, pretty-printed, with records of the patient here and there."""
    records = [
        {
            "patient_id": ID if n % 9000 == 7 else f"P-{n}",
            "patient_name": "Name",
            "scan": {"eye": "left", "n": "x" * 350},
        }
        for n in range(LARGE)
    ]
    return json.dumps(records, indent=2).encode()


FILES: dict[str, list[bytes]] = {
    "alone.json": [array(ANN), array(ANN, ANN)],
    "among.json": [array(CAT), array(BOB, ANN, CAT)],
    "older.json": [array(ANN, BOB), array(BOB)],
    "escaped.json": [array(BOB, ANN.replace(ID.encode(), ESCAPED))],
    "a b+c%25é;'.json": [array(ANN, CAT)],
    "bad.json": [array(BOB), array(ANN) + b"x"],
    "pretty.json": [pretty()],
    "other.json": [array(BOB)],
}


def versions(pipeline: Pipeline, prefix: str) -> dict[tuple[str, str], list[bytes]]:
    """Return the content of every version there is, oldest first, by bucket and key."""
    found: dict[tuple[str, str], list[bytes]] = {}
    for role, bucket in (("raw", pipeline.raw), ("processed", pipeline.processed), ("rejected", pipeline.rejected)):
        for page in pipeline.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for one in page.get("Versions", []):
                got = pipeline.s3.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
                found.setdefault((role, one["Key"].removeprefix(prefix)), []).insert(0, got["Body"].read())
    return found


def records(data: bytes) -> list[bytes]:
    return [bytes(one) for one in msgspec.json.decode(data, type=list[msgspec.Raw])]


def theirs(record: bytes) -> bool:
    return bool(json.loads(record)["patient_id"] == ID)


def test_erasing_a_patient_removes_the_id_from_every_version_and_nothing_else(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    prefix, ids, report = "erase/", tmp_path / "ids", tmp_path / "report.json"
    ids.write_text(f"{ID}\n")
    for name, bodies in FILES.items():
        for body in bodies:
            version = pipeline.upload(prefix + name, body)
            if body.endswith(b"x"):
                pipeline.await_verdict(prefix + name, version)
            else:
                pipeline.await_result(prefix + name, version)

    with holder(pipeline, "eraser") as caller:
        found = run(pipeline, "find", "--json", "--patients", str(ids), "--prefix", prefix, **caller)
        assert found.returncode == 0, found.stderr
        places: set[tuple[Any, ...]] = set()
        for line in map(json.loads, found.stdout.splitlines()[:-1]):
            places.add((line["key"].removeprefix(prefix), line["bucket"], line["records"], line["of"], line["state"]))
        assert {place for place in places if place[1] == "raw"} == {
            ("alone.json", "raw", 1, 1, "records"),
            ("alone.json", "raw", 2, 2, "records"),
            ("among.json", "raw", 1, 3, "records"),
            ("older.json", "raw", 1, 2, "records"),
            ("escaped.json", "raw", 1, 2, "records"),
            ("a b+c%25é;'.json", "raw", 1, 2, "records"),
            ("bad.json", "raw", None, None, "text"),
            ("pretty.json", "raw", len(range(7, LARGE, 9000)), LARGE, "records"),
        }
        options = ("--patients", str(ids), "--prefix", prefix, "--yes", "--json", "--report", str(report))
        done = run(pipeline, "erase", *options, **caller)
        assert done.returncode == 0, done.stdout + done.stderr
        again = run(pipeline, "find", "--json", "--patients", str(ids), "--prefix", prefix, **caller)
        assert [again.returncode, len(again.stdout.splitlines())] == [0, 1], again.stdout

    left = versions(pipeline, prefix)
    for (_, name), bodies in left.items():
        for body in bodies:
            assert ID.encode() not in body, name
            assert ESCAPED not in body, name
    expected = {
        name: [one for one in records(bodies[-1]) if not theirs(one)]
        for name, bodies in FILES.items()
        if not bodies[-1].endswith(b"x")
    }
    expected = {name: some for name, some in expected.items() if some} | {"bad.json": [BOB]}
    assert {name: records(bodies[-1]) for (role, name), bodies in left.items() if role == "raw"} == expected
    for name, some in expected.items():
        (*_, result) = left["processed", name]
        kept = [{field: json.loads(one)[field] for field in ("patient_id", "patient_name")} for one in some]
        assert json.loads(result) == kept, name

    code = run(pipeline, "audit", "--json", "--deep", "--prefix", prefix, "--in-flight", "0")
    assert code.returncode == 0, code.stdout
    kept_report = json.loads(report.read_text())
    assert (kept_report["complete"], kept_report["asked"]) == (True, {"patients": 1, "prefix": prefix})
    assert kept_report["by"].endswith(":user/eraser")
    for text in (found.stdout, found.stderr, done.stdout, done.stderr, report.read_text(), *pipeline.log()):
        assert ID not in text


def test_without_the_permission_to_erase_everything_stays(pipeline: Pipeline) -> None:
    key = "erase/kept.json"
    pipeline.await_result(key, pipeline.upload(key, array(BOB)))
    with holder(pipeline, "eraser") as caller:
        pipeline.iam.detach_user_policy(UserName="eraser", PolicyArn=policy_for(pipeline, "eraser"))
        done = run(pipeline, "erase", "--key", key, "--yes", **caller)
        pipeline.iam.attach_user_policy(UserName="eraser", PolicyArn=policy_for(pipeline, "eraser"))
        assert (done.returncode, done.stdout) == (1, "")
        assert "AWS refuses" in done.stderr
        assert len(versions(pipeline, key)) == 2
        done = run(pipeline, "erase", "--key", key, "--yes", **caller)
    assert done.returncode == 0, done.stdout + done.stderr
    assert versions(pipeline, key) == {}
