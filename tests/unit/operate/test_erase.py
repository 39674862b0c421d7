"""erase: what is removed, what stays byte for byte, what is reported, and that it can be stopped anywhere."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import msgspec
import pytest
from commands import terminal
from commands.operate import cut, erase, find
from commands.operate.find import Patients
from commands.operate.ledger import Ledger, ledger_path
from hypothesis import given
from hypothesis import strategies as st

import lambda_function
from tests.unit.framing import chunks
from tests.unit.invocations import notification

from .patients import files
from .pipeline import (
    ODD_KEYS,
    Pipeline,
    Run,
    refuse,
)

ID = "987-65-4329"  # the patient who asks
ANN = b'{ "patient_id": "987-65-4329", "patient_name": "Ann", "eye": {"left": 1.50} }'
BOB = b'{"patient_name":"B\\u00f6b" ,"patient_id":"2","x":[1, 2,3e0]}'
CAT = b'{"patient_id":"3","patient_name":"Cat"}'
BUCKETS = ("raw", "processed", "rejected")


def array(*records: bytes) -> bytes:
    return b"[\n  " + b" ,\n  ".join(records) + b"\n]\n"


# --- cutting ----------------------------------------------------------------------------------------------------------


def cut_out(data: bytes, ids: set[str], size: int) -> tuple[bytes, cut.Cut]:
    one = cut.Cut(lambda_function, Patients(ids))
    return b"".join(one.pieces([*chunks(data, size), b""])), one


def raw_records(data: bytes) -> list[bytes]:
    text = data.removeprefix(b"\xef\xbb\xbf")
    return [bytes(one) for one in msgspec.json.decode(text, type=list[msgspec.Raw])]


@given(files(), st.integers(1, 50), st.sampled_from([1, 64, 1000]))
def test_a_cut_keeps_every_other_record_byte_for_byte(case: tuple[set[str], bytes], size: int, at_once: int) -> None:
    ids, data = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lambda_function, "BATCH_BYTES", at_once)
        made, one = cut_out(data, ids, size)
        untouched, _ = cut_out(data, {"nobody at all"}, size)
    expected = [raw for raw in raw_records(data) if json.loads(raw)["patient_id"] not in ids]
    assert raw_records(made) == expected
    assert (one.kept, one.removed) == (len(expected), len(raw_records(data)) - len(expected))
    assert untouched == data
    again, same = cut_out(made, ids, 1000)
    assert (again, same.proof, same.removed) == (made, one.proof, 0)


def test_a_cut_of_a_large_file_keeps_its_layout() -> None:
    choices = random.Random(1)
    records = [{"patient_id": str(choices.randrange(50)), "patient_name": "x", "n": [{"a": n}]} for n in range(20_000)]
    data = b"\xef\xbb\xbf" + json.dumps(records, indent=2).encode() + b"\n"
    made, one = cut_out(data, {"7"}, 70_000)
    kept = [record for record in records if record["patient_id"] != "7"]
    assert made == b"\xef\xbb\xbf" + json.dumps(kept, indent=2).encode() + b"\n"
    assert one.kept == len(kept)


# --- the verb ---------------------------------------------------------------------------------------------------------


class Operator:
    """A person who erases, on a pipeline whose function gets the events of erase's uploads."""

    def __init__(self, pipeline: Pipeline, run: Callable[..., Run], ids: str) -> None:
        self.pipeline, self.run, self.ids, self._s3 = pipeline, run, ids, lambda_function.s3

    def deliver(self, *keys: str) -> None:
        """Let the function handle an event about keys, with S3 in place of what --deep and find put there."""
        before, lambda_function.s3 = lambda_function.s3, self._s3
        try:
            for key in keys:
                self.pipeline.invoke(notification(quote_plus(key)))
        finally:
            lambda_function.s3 = before

    def upload(self, key: str, *bodies: bytes) -> None:
        for body in bodies:
            self.pipeline.put(key, body)
            self.deliver(key)

    def erase(self, *options: str) -> Run:
        what = () if any(one.startswith("--key") for one in options) else ("--patients", self.ids)
        return self.run("erase", *what, "--json", "--yes", *options)

    def contents(self, bucket: str, key: str = "") -> list[bytes]:
        """Return the content of all versions, oldest first."""
        listing = self.pipeline.s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", [])
        return [
            self.pipeline.s3.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
            for one in reversed(listing)
        ]

    def everything(self) -> list[bytes]:
        return [body for bucket in BUCKETS for body in self.contents(bucket)]

    def stored(self, key: str) -> dict[str, int]:
        """Return how many versions and delete markers each bucket has of a key."""
        found = {}
        for bucket in BUCKETS:
            listing = self.pipeline.s3.list_object_versions(Bucket=bucket, Prefix=key)
            found[bucket] = len(listing.get("Versions", [])) + len(listing.get("DeleteMarkers", []))
        return found

    def audited(self) -> int:
        return self.run("audit", "--json", "--in-flight", "0").code


@pytest.fixture(name="operator")
def operator_fixture(
    pipeline: Pipeline,
    run: Callable[..., Run],
    asked: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    monkeypatch.setattr(find, "SIDE_BY_SIDE", 1)  # the function is in this process, and shares its log
    monkeypatch.setattr(erase, "SIDE_BY_SIDE", 1)
    monkeypatch.setattr(erase, "POLL_SECONDS", 0)
    operator = Operator(pipeline, run, asked(ID))
    settle = erase.settle

    def delivered(of: Any, task: erase.Task) -> Any:
        operator.deliver(task.key)
        return settle(of, task)

    monkeypatch.setattr(erase, "settle", delivered)
    return operator


def only(answer: Run) -> dict[str, Any]:
    """Return the only object of a report."""
    line, _ = answer.lines
    return line


def test_a_file_of_the_patient_alone_is_removed_with_its_results_and_verdicts(operator: Operator) -> None:
    operator.upload("alone.json", array(ANN), b"[", array(ANN, ANN))
    operator.upload("other.json", array(BOB))
    answer = operator.erase()
    assert answer.code == 0, answer.text + answer.errors
    assert operator.stored("alone.json") == dict.fromkeys(BUCKETS, 0)
    assert operator.stored("other.json") == {"raw": 1, "processed": 1, "rejected": 0}
    report = only(answer)
    assert (report["key"], report["action"], report["state"], report["made"]) == (
        "alone.json", "erase", "removed", None,
    )  # fmt: skip
    assert operator.audited() == 0


@pytest.mark.parametrize("key", ["among.json", *ODD_KEYS])
def test_records_are_cut_out_of_a_file_that_holds_others(operator: Operator, key: str) -> None:
    operator.upload(key, array(ANN), array(CAT, ANN, BOB, ANN))
    answer = operator.erase()
    assert answer.code == 0, answer.text + answer.errors
    assert operator.contents("raw", key) == [array(CAT, BOB)]
    (result,) = operator.contents("processed", key)
    assert [one["patient_id"] for one in json.loads(result)] == ["3", "2"]
    (report,) = [line for line in answer.lines[:-1] if line["key"] == key]
    newest = operator.pipeline.s3.head_object(Bucket="raw", Key=key)
    assert (report["action"], report["state"], report["made"]) == ("rewrite", "removed", newest["VersionId"])
    assert len(report["removed"]) == 4
    assert operator.audited() == 0


def test_content_type_metadata_and_tags_of_a_file_are_kept(operator: Operator) -> None:
    headers = {"ContentType": "application/x-scan", "Metadata": {"site": "north"}, "Tagging": "a=1&b=x%20y"}
    operator.pipeline.s3.put_object(Bucket="raw", Key="a.json", Body=array(ANN, BOB), **headers)
    operator.deliver("a.json")
    assert operator.erase().code == 0
    newest = operator.pipeline.s3.head_object(Bucket="raw", Key="a.json")
    assert (newest["ContentType"], newest["Metadata"]["site"]) == ("application/x-scan", "north")
    tags = operator.pipeline.s3.get_object_tagging(Bucket="raw", Key="a.json")["TagSet"]
    assert tags == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "x y"}]


def test_only_older_versions_are_removed_if_the_newest_is_clean(operator: Operator) -> None:
    operator.upload("a.json", array(CAT), array(ANN, BOB), array(BOB))
    answer = operator.erase()
    assert answer.code == 0, answer.text + answer.errors
    assert operator.contents("raw") == [array(CAT), array(BOB)]
    assert [len(json.loads(body)) for body in operator.contents("processed")] == [1, 1]
    assert only(answer)["action"] == "older"
    assert operator.audited() == 0


def test_a_deleted_file_stays_deleted_and_its_kept_result_loses_the_records(operator: Operator) -> None:
    operator.upload("a.json", array(CAT), array(ANN, BOB))
    operator.pipeline.s3.delete_object(Bucket="raw", Key="a.json")
    answer = operator.erase()
    assert answer.code == 0, answer.text + answer.errors
    assert operator.contents("raw") == [array(CAT)]
    assert operator.stored("a.json")["raw"] == 2  # the version without the patient, and the delete marker
    (result,) = operator.contents("processed")
    assert json.loads(result) == [{"patient_id": "2", "patient_name": "Böb"}]
    metadata = operator.pipeline.s3.head_object(Bucket="processed", Key="a.json")["Metadata"]
    assert metadata["record-count"] == "1"
    assert only(answer)["action"] == "result"


def test_a_rejected_file_that_names_the_patient_is_removed_as_a_whole(operator: Operator) -> None:
    operator.upload("a.json", array(ANN, BOB), b"patient_id\n987-65-4329\n")
    operator.upload("b.json", b'[{"patient_id":"\\u0039\\u0038\\u0037-65-4329"}]')
    operator.upload("c.json", array(BOB), array(ANN)[:-4])
    answer = operator.erase()
    assert answer.code == 0, answer.text + answer.errors
    assert operator.contents("raw") == [array(BOB), array(BOB)]
    assert {line["key"]: line["action"] for line in answer.lines[:-1]} == {
        "a.json": "rewrite", "b.json": "erase", "c.json": "rewrite",
    }  # fmt: skip
    assert "a.json  versions" in answer.errors
    assert "the newest version is a rejected file (not_an_array) and goes as a whole" in answer.errors
    assert operator.audited() == 0


def test_rejected_files_can_be_left_alone_and_are_reported(operator: Operator) -> None:
    operator.upload("b.json", b"987-65-4329")
    answer = operator.erase("--keep-rejected")
    assert answer.code == 1
    assert [one["why"] for one in answer.lines[-1]["summary"]["not_searched"]] == ["text"]
    assert len(operator.contents("raw")) == 1


def test_a_stale_result_beside_a_rejected_file_loses_the_records(operator: Operator) -> None:
    operator.upload("a.json", array(ANN, BOB), b"[")
    answer = operator.erase()
    assert answer.code == 0, answer.text + answer.errors
    assert operator.contents("raw") == [b"["]
    assert [json.loads(body)[0]["patient_id"] for body in operator.contents("processed")] == ["2"]
    assert operator.audited() == 0


def test_an_orphaned_result_loses_the_records_or_is_removed(operator: Operator) -> None:
    operator.pipeline.s3.put_object(Bucket="processed", Key="a.json", Body=array(ANN, BOB))
    operator.pipeline.s3.put_object(Bucket="processed", Key="b.json", Body=array(ANN))
    assert operator.erase().code == 0
    assert operator.contents("processed") == [array(BOB)]


def test_a_file_not_yet_processed_is_left_alone(operator: Operator) -> None:
    operator.upload("a.json", array(ANN, BOB))
    operator.pipeline.put("a.json", array(BOB))
    answer = operator.erase()
    assert answer.code == 1
    assert only(answer)["state"] == "waiting"
    assert [one["why"] for one in only(answer)["remains"]] == [f"waiting: {erase.ACTIONS['waiting']}"] * 2
    operator.deliver("a.json")
    assert operator.erase().code == 0


def test_erasing_a_key_removes_its_versions_delete_markers_results_and_verdicts(operator: Operator) -> None:
    operator.upload("a.json", array(ANN), b"[", array(BOB))
    operator.pipeline.s3.delete_object(Bucket="raw", Key="a.json")
    operator.upload("a.json.bak", array(BOB))
    operator.upload("a.json", array(CAT))
    answer = operator.erase("--key", "a.json")
    assert answer.code == 0, answer.text + answer.errors
    assert operator.stored("a.json") == {"raw": 1, "processed": 0, "rejected": 0}  # of the other key
    assert only(answer)["removed"][0].keys() == {"bucket", "version_id", "delete_marker", "removed"}
    again = operator.erase("--key", "a.json")
    assert (again.code, again.text) == (1, "")
    assert "nothing of a.json is in the buckets of test. Check the key." in again.errors


def test_options_about_patients_are_refused_with_a_key(operator: Operator) -> None:
    for option in (["--prefix", "a/"], ["--keep-rejected"]):
        answer = operator.erase("--key", "a.json", *option)
        assert (answer.code, answer.text) == (1, "")
        assert "--prefix and --keep-rejected go with --patients only." in answer.errors


def test_large_files_are_rewritten_in_parts(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "PART_BYTES", 5 * 1024 * 1024)
    monkeypatch.setattr(find, "WHOLE_BYTES", 1000)
    padding = json.dumps({"patient_id": "5", "patient_name": "Eve", "n": "x" * 200_000}, indent=2).encode()
    operator.upload("a.json", array(*[padding] * 30, ANN, *[padding] * 30))
    assert operator.erase().code == 0
    assert operator.contents("raw") == [array(*[padding] * 60)]
    assert operator.audited() == 0


# --- what comes in between --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["rewrite", "settle", "remove"])
def test_a_concurrent_upload_is_reported_and_not_lost(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    operator.upload("alone.json", array(ANN))
    operator.upload("among.json", array(ANN, BOB))
    original, new = getattr(erase, when), list[str]()

    def meanwhile(*arguments: Any) -> Any:
        if not new:
            new.extend(operator.pipeline.put(key, array(ANN, CAT)) for key in ("alone.json", "among.json"))
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(erase, when, meanwhile)
        answer = operator.erase()
    assert answer.code == 1
    assert len(new) == 2
    for key in ("alone.json", "among.json"):
        assert array(ANN, CAT) in operator.contents("raw", key)
    states = {line["key"]: line["state"] for line in answer.lines[:-1]}
    assert states["alone.json"] == "remains"
    assert states["among.json"] == ("changed" if when != "remove" else "remains")
    operator.deliver("alone.json", "among.json")
    assert operator.erase().code == 0
    assert set(operator.contents("raw")) == {array(CAT)}


def test_the_same_bytes_uploaded_again_are_not_taken_for_the_version_read(operator: Operator) -> None:
    operator.upload("a.json", array(ANN, BOB))
    version = operator.pipeline.put("a.json", array(ANN, BOB))  # not in the plan of a run before
    operator.deliver("a.json")
    assert operator.erase().code == 0
    assert version not in str(operator.pipeline.s3.list_object_versions(Bucket="raw"))


def test_locked_versions_are_left_alone_and_reported_with_their_retention(operator: Operator) -> None:
    s3 = operator.pipeline.s3
    operator.upload("a.json", array(ANN, BOB))
    until = datetime.datetime(2999, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)

    def lock(parsed: dict[str, Any], **_: Any) -> None:
        parsed["ObjectLockRetainUntilDate"] = until

    operator.pipeline.client("s3").meta.events.register("after-call.s3.HeadObject", lock)
    answer = operator.erase()
    assert answer.code == 1
    assert (only(answer)["state"], only(answer)["reason"]) == ("locked", "until 2999-01-02T03:04:05Z")
    assert {one["why"] for one in only(answer)["remains"]} == {"locked: until 2999-01-02T03:04:05Z"}
    assert len(s3.list_object_versions(Bucket="raw")["Versions"]) == 1


def test_versions_locked_since_the_plan_stay_and_are_reported(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.upload("a.json", array(ANN, BOB))
    lock, until = erase.lock, "until 2999-01-02T03:04:05Z"

    def locked(*arguments: Any) -> str:
        return until if len(arguments[1]) == 1 else lock(*arguments)  # not when it is planned

    monkeypatch.setattr(erase, "lock", locked)
    refuse(operator.pipeline.client("s3"), "s3", "DeleteObject", "AccessDenied")
    answer = operator.erase()
    assert answer.code == 1
    assert only(answer)["state"] == "remains"
    assert {one["why"] for one in only(answer)["remains"]} == {f"locked: {until}"}
    assert operator.contents("raw") == [array(ANN, BOB), array(BOB)]


@pytest.mark.parametrize(
    ("call", "action"),
    [
        ("DeleteObject", "s3:DeleteObject (and s3:DeleteObjectVersion)"),
        ("PutObject", "s3:PutObject (and kms:GenerateDataKey)"),
    ],
)
def test_a_missing_permission_is_named_and_nothing_is_lost(operator: Operator, call: str, action: str) -> None:
    operator.upload("a.json", array(ANN, BOB))
    refuse(operator.pipeline.client("s3"), "s3", call, "AccessDenied")
    answer = operator.erase()
    assert (answer.code, answer.text) == (1, "")
    assert f"AWS refuses {call}. These credentials need the permission {action}" in answer.errors
    assert array(ANN, BOB) in operator.contents("raw")


def test_no_version_is_removed_before_the_new_result_exists(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.upload("a.json", array(ANN, BOB))
    monkeypatch.setattr(operator, "deliver", lambda *_: None)
    answer = operator.erase("--wait", "0")
    assert answer.code == 1
    assert only(answer)["state"] == "made"
    assert {one["why"] for one in only(answer)["remains"]} == {"its result is not made yet"}
    assert operator.contents("raw") == [array(ANN, BOB), array(BOB)]


def test_concurrent_runs_are_refused(operator: Operator) -> None:
    operator.upload("a.json", array(ANN))
    held = Ledger(ledger_path("erase", "raw"))
    held.db.execute("begin exclusive")
    answer = operator.erase()
    assert answer.code == 1
    assert "the same command is running already." in answer.errors
    held.db.close()
    assert operator.contents("raw") == [array(ANN)]


def test_concurrent_runs_on_two_machines_do_no_harm(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.upload("a.json", array(ANN, BOB))
    plan, there = erase.make_plan, list[int]()

    def planned(*arguments: Any) -> None:
        plan(*arguments)
        if not there:
            there.append(1)
            (task,) = erase.tasks(arguments[1])
            assert erase.rewrite_one(arguments[0], Patients([ID]), task).state == "made"

    monkeypatch.setattr(erase, "make_plan", planned)
    assert operator.erase().code == 0
    assert operator.contents("raw") == [array(BOB)]


def test_no_older_version_becomes_current_while_a_key_is_erased(operator: Operator) -> None:
    operator.upload("a.json", array(BOB), array(BOB, CAT), array(ANN))
    (*_, newest) = operator.contents("raw")
    seen: list[list[bytes]] = []

    def look(**_: Any) -> None:
        found = operator.pipeline.s3.list_object_versions(Bucket="raw").get("Versions", [])
        seen.append([operator.contents("raw")[-1] for one in found if one["IsLatest"]])

    operator.pipeline.client("s3").meta.events.register("after-call.s3.DeleteObject", look)
    assert operator.erase().code == 0
    assert len(seen) == 6
    assert seen == [[newest]] * 5 + [[]]


def test_a_result_written_while_its_upload_is_removed_is_removed_too(operator: Operator) -> None:
    operator.upload("a.json", array(ANN))
    late = [array(ANN)]

    def write(**_: Any) -> None:
        if late and not operator.stored("a.json")["raw"]:
            operator.pipeline.s3.put_object(Bucket="processed", Key="a.json", Body=late.pop())

    operator.pipeline.client("s3").meta.events.register("after-call.s3.DeleteObject", write)
    answer = operator.erase()
    assert (answer.code, late) == (0, [])
    assert operator.stored("a.json") == dict.fromkeys(BUCKETS, 0)
    assert len(only(answer)["removed"]) == 3


def test_nothing_is_removed_if_the_rewritten_file_lacks_a_record(operator: Operator) -> None:
    operator.upload("a.json", array(ANN, BOB, CAT))

    def lose(params: dict[str, Any], **_: Any) -> None:
        params["Body"] = array(BOB)

    operator.pipeline.client("s3").meta.events.register("provide-client-params.s3.PutObject", lose)
    answer = operator.erase()
    assert answer.code == 1
    assert only(answer)["reason"] == "the rewritten file failed its check; no version was removed"
    assert operator.contents("raw") == [array(ANN, BOB, CAT), array(BOB)]


class Killed(BaseException):
    """The end of a process."""


def check(operator: Operator) -> None:
    """Nothing was removed too early: where an older version is gone, the newest is clean and has its result."""
    s3 = operator.pipeline.s3
    bodies = operator.contents("raw", "among.json")
    assert bodies[-1] in (array(ANN, BOB), array(BOB))
    if len(bodies) < 2 or array(ANN, BOB) not in bodies:
        newest, result = (s3.head_object(Bucket=bucket, Key="among.json") for bucket in ("raw", "processed"))
        assert bodies[-1] == array(BOB)
        assert result["Metadata"]["source-version-id"] == newest["VersionId"]


@pytest.mark.slow
def test_a_run_killed_after_any_call_can_be_resumed(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    client, s3 = operator.pipeline.client("s3"), operator.pipeline.s3
    calls, left = 0, [0]
    rewrite_all = erase.rewrite_all

    def kill(**_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    def begin(*arguments: Any) -> None:
        left[0] = calls  # all before only reads
        rewrite_all(*arguments)

    monkeypatch.setattr(erase, "rewrite_all", begin)
    client.meta.events.register("after-call.s3", kill)
    for calls in range(1, 1000):
        for bucket in BUCKETS:
            listing = s3.list_object_versions(Bucket=bucket)
            for one in [*listing.get("Versions", []), *listing.get("DeleteMarkers", [])]:
                s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
        operator.upload("alone.json", array(ANN))
        operator.upload("among.json", array(ANN), array(ANN, BOB))
        listings = [s3.list_object_versions(Bucket=bucket)["Versions"] for bucket in ("raw", "processed")]
        try:
            answer = operator.erase()
        except Killed:
            check(operator)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(erase, "rewrite_all", rewrite_all)
                answer = operator.erase("--resume")
            assert answer.code == 0, f"{calls}: {answer.text}{answer.errors}"
        else:
            assert answer.code == 0
            assert calls > 20, calls
            return
        assert operator.contents("raw") == [array(BOB)], calls
        assert [len(json.loads(body)) for body in operator.contents("processed")] == [1]
        assert operator.stored("alone.json") == dict.fromkeys(BUCKETS, 0)
        removed = {one["version_id"] for line in answer.lines[:-1] for one in line["removed"]}
        assert {one["VersionId"] for some in listings for one in some} <= removed, calls  # whichever run removed them
    pytest.fail("it never comes to an end")


def stop_before(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let a signal come just before a step."""
    original = getattr(erase, step)

    def stopped(*arguments: Any) -> Any:
        terminal.stopping.set()
        return original(*arguments)

    monkeypatch.setattr(erase, step, stopped)


def test_an_interrupted_run_stops_at_a_safe_place_and_resumes(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.upload("a.json", array(ANN, BOB))
    with monkeypatch.context() as patch:
        stop_before(patch, "remove")
        answer = operator.erase()
    assert (answer.code, answer.text) == (130, "")
    assert "Stopped at a safe place. To resume, run the same command with --resume." in answer.errors
    assert operator.contents("raw") == [array(ANN, BOB), array(BOB)]
    terminal.stopping.clear()
    assert operator.erase("--resume").code == 0
    assert operator.contents("raw") == [array(BOB)]


# --- asking and reporting ---------------------------------------------------------------------------------------------


def test_erase_asks_for_the_name_and_does_nothing_without_an_answer(operator: Operator) -> None:
    operator.upload("a.json", array(ANN))
    answer = operator.run("erase", "--patients", operator.ids)
    assert (answer.code, answer.text) == (1, "")
    assert "erase     a.json  versions: 1 raw, 1 processed" in answer.errors
    assert "erase asks for the environment's name, and there is no terminal." in answer.errors
    assert operator.contents("raw") == [array(ANN)]


def test_the_report_is_a_new_file_that_only_its_owner_can_read(operator: Operator, tmp_path: Path) -> None:
    operator.upload("a.json", array(ANN, BOB))
    path = tmp_path / "report.json"
    assert operator.erase("--report", str(path)).code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    report = json.loads(path.read_text())
    assert (report["environment"], report["complete"], report["asked"]) == ("test", True, {"patients": 1, "prefix": ""})
    assert report["by"].startswith("arn:aws:")
    assert report["events"] == {"failed_about_these_keys": 0, "waiting": 0}
    answer = operator.erase("--report", str(path))
    assert (answer.code, answer.text) == (1, "")
    assert "exists. Name a new file for the report." in answer.errors
    assert json.loads(path.read_text()) == report


def test_unavoidable_remains_are_in_the_report(operator: Operator) -> None:
    operator.upload("a.json", array(ANN, BOB[:-1] + b',"note":"see 987-65-4329"}'))
    upload = operator.pipeline.s3.create_multipart_upload(Bucket="raw", Key="a.json")["UploadId"]
    event = notification("a.json")
    record = {"requestPayload": event, "requestContext": {"condition": "RetriesExhausted"}}
    operator.pipeline.sqs.send_message(QueueUrl=operator.pipeline.dead_letter, MessageBody=json.dumps(record))
    answer = operator.erase()
    assert answer.code == 1
    whys = [one["why"] for one in only(answer)["remains"]]
    assert whys == [
        "an id stands in another field or as part of a text: see for yourself",
        "incomplete multipart upload",
    ]
    assert only(answer)["remains"][1]["upload_id"] == upload
    summary = answer.lines[-1]["summary"]
    assert summary["events"] == {"failed_about_these_keys": 1, "waiting": 0}
    assert len(summary["elsewhere"]) == 3
    assert operator.pipeline.dead() == 1


def test_the_report_for_people_says_what_was_done(operator: Operator) -> None:
    operator.upload("a.json", array(ANN, BOB))
    answer = operator.run("erase", "--patients", operator.ids, "--yes")
    assert answer.code == 0
    assert "removed   a.json  new version" in answer.text
    assert "2 versions removed" in answer.text
    assert answer.errors.endswith("Nothing remains.\n")
    again = operator.run("erase", "--patients", operator.ids, "--yes")
    assert (again.code, again.errors) == (0, "There was nothing to erase.\n")


# --- the id itself ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped", [False, True])
def test_no_id_appears_in_output_or_files_left_behind(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stopped: bool
) -> None:
    parts = (ID, ID[:-1], ID.encode().hex(), "Ann")
    operator.upload("alone.json", array(ANN))
    operator.upload("among.json", array(ANN, BOB))
    operator.upload("bad.json", array(ANN)[:-3])
    if stopped:
        stop_before(monkeypatch, "remove")
    found = operator.run("find", "--patients", operator.ids)
    answer = operator.erase("--report", str(tmp_path / "report.json"))
    assert answer.code == (130 if stopped else 0)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and str(path) != operator.ids]
    assert {path.suffix for path in left} - {".db-journal"} == {".db" if stopped else ".json"}
    kept = [path.read_bytes().decode("latin-1") for path in left]
    for text in [found.text, found.errors, answer.text, answer.errors, *kept]:
        for part in parts:
            assert part not in text
