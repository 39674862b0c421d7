"""The handler's contract, on moto."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from mypy_boto3_s3 import S3Client

RAW, PROCESSED = "raw-bucket", "processed-bucket"

os.environ.update(
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",  # noqa: S106 - moto takes anything
    AWS_DEFAULT_REGION="us-east-1",
    PROCESSED_BUCKET=PROCESSED,
)


@pytest.fixture
def s3() -> Iterator[S3Client]:
    with mock_aws():
        client = boto3.client("s3", config=Config(retries={"total_max_attempts": 1}))  # no waiting between retries
        for bucket in (RAW, PROCESSED):
            client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture
def handler(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = importlib.import_module("lambda_function")
    monkeypatch.setattr(module, "s3", s3)
    return module


SAMPLE = Path("ikerian_sample.json").read_bytes()
CANARY = "Zebulon-Quixote"


def s3_event(*keys: str) -> dict[str, Any]:
    """An S3 notification as S3 sends it, for keys as S3 encodes them."""
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": RAW}, "object": {"key": key}},
            }
            for key in keys
        ]
    }


def upload(s3: S3Client, key: str, content: bytes) -> str:
    return s3.put_object(Bucket=RAW, Key=key, Body=content)["VersionId"]


def processed(s3: S3Client) -> dict[str, Any]:
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=PROCESSED).get("Contents", [])]
    return {key: json.loads(s3.get_object(Bucket=PROCESSED, Key=key)["Body"].read()) for key in keys}


def patients(count: int) -> bytes:
    return json.dumps([{"patient_id": f"P-{n}", "patient_name": f"Name {n}"} for n in range(count)]).encode()


def test_the_sample_is_trimmed_and_says_where_it_comes_from(handler: ModuleType, s3: S3Client) -> None:
    version = upload(s3, "scans/a.json", SAMPLE)
    assert handler.lambda_handler(s3_event("scans/a.json"), None) is None
    assert processed(s3) == {
        "scans/a.json": [
            {"patient_id": "P-1001", "patient_name": "Ada Example"},
            {"patient_id": "P-1002", "patient_name": "Ben Example"},
        ]
    }
    result = s3.head_object(Bucket=PROCESSED, Key="scans/a.json")
    assert result["ContentType"] == "application/json"
    assert result["Metadata"] == {
        "source-version-id": version,
        "source-etag": s3.head_object(Bucket=RAW, Key="scans/a.json")["ETag"],
        "record-count": "2",
    }


def test_every_record_of_an_event_is_processed(handler: ModuleType, s3: S3Client) -> None:
    for n in range(3):
        upload(s3, f"{n}.json", patients(n))
    handler.lambda_handler(s3_event("0.json", "1.json", "2.json"), None)
    assert {key: len(records) for key, records in processed(s3).items()} == {"0.json": 0, "1.json": 1, "2.json": 2}


@pytest.mark.parametrize(
    ("encoded", "key"),
    [("a+b%2Bc%2525%C3%A9.json", "a b+c%25é.json"), ("x%2520y.json", "x%20y.json"), ("f/%E7%9C%BC.json", "f/眼.json")],
)
def test_keys_are_decoded_once(handler: ModuleType, s3: S3Client, encoded: str, key: str) -> None:
    upload(s3, key, patients(1))
    handler.lambda_handler(s3_event(encoded), None)
    assert list(processed(s3)) == [key]


def test_the_current_version_is_read_whatever_the_event_says(handler: ModuleType, s3: S3Client) -> None:
    upload(s3, "a.json", patients(1))
    event = s3_event("a.json")
    upload(s3, "a.json", patients(2))
    handler.lambda_handler(event, None)
    assert len(processed(s3)["a.json"]) == 2


def overwrite_after_put(s3: S3Client, monkeypatch: pytest.MonkeyPatch, contents: list[bytes]) -> None:
    """Upload the next of contents each time the handler has written a result."""
    put = s3.put_object

    def put_and_overwrite(**arguments: Any) -> Any:
        answer = put(**arguments)
        if arguments["Bucket"] == PROCESSED and contents:
            put(Bucket=RAW, Key="a.json", Body=contents.pop(0))
        return answer

    monkeypatch.setattr(s3, "put_object", put_and_overwrite)


def test_an_overwrite_during_processing_is_seen(
    handler: ModuleType, s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(s3, "a.json", patients(1))
    overwrite_after_put(s3, monkeypatch, [patients(2), patients(3)])
    handler.lambda_handler(s3_event("a.json"), None)
    assert len(processed(s3)["a.json"]) == 3


def test_endless_overwriting_is_given_up(handler: ModuleType, s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(s3, "a.json", patients(1))
    overwrite_after_put(s3, monkeypatch, [patients(n) for n in range(handler.MAX_ROUNDS)])
    with pytest.raises(handler.ProcessingError, match="overwritten 5 times"):
        handler.lambda_handler(s3_event("a.json"), None)


def test_a_deleted_object_is_acknowledged(handler: ModuleType, s3: S3Client) -> None:
    handler.lambda_handler(s3_event("never-there.json"), None)
    assert processed(s3) == {}


def test_a_delete_during_processing_is_acknowledged(
    handler: ModuleType, s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(s3, "a.json", patients(1))
    head = s3.head_object

    def delete_and_head(**arguments: Any) -> Any:
        s3.delete_object(Bucket=RAW, Key="a.json")
        return head(**arguments)

    monkeypatch.setattr(s3, "head_object", delete_and_head)
    handler.lambda_handler(s3_event("a.json"), None)


@pytest.mark.parametrize("key", ["a.txt", "a.JSON", "a.json/", "json"])
def test_other_keys_are_skipped(handler: ModuleType, s3: S3Client, key: str) -> None:
    upload(s3, key, SAMPLE)
    handler.lambda_handler(s3_event(key), None)
    assert processed(s3) == {}


def scan(**fields: Any) -> bytes:
    """A good record, and after it one with these fields; None takes a field away."""
    good = {"patient_id": "P-1", "patient_name": CANARY}
    return json.dumps([good, {k: v for k, v in (good | fields).items() if v is not None}]).encode()


@pytest.mark.parametrize(
    ("content", "rejection"),
    [
        (b"", "empty_file"),
        (b" \n", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
        (f'[{{"patient_id":"{CANARY}"'.encode(), "not_json"),
        (f'[{{"patient_id":"P","patient_name":"{CANARY}"}}] x'.encode(), "not_json"),
        (f'[{{"patient_id":"P","patient_name":"{CANARY}","x":NaN}}]'.encode(), "not_json"),
        (b"[" * 200_000, "invalid_record at record 0"),
        (b'[{"nested":' + b"[" * 200_000, "not_json"),
        (f'[{{"patient_name":"{CANARY}\xff"}}]'.encode("latin-1"), "not_utf8"),
        (SAMPLE.decode().encode("utf-16"), "not_utf8"),
        (b"\x1f\x8b\x08\x00", "not_utf8"),
        (f'{{"patient_id":"P","patient_name":"{CANARY}"}}'.encode(), "not_an_array"),
        (f'"{CANARY}"'.encode(), "not_an_array"),
        (b"null", "not_an_array"),
        (f'["{CANARY}"]'.encode(), "invalid_record at record 0"),
        (scan(patient_id=None), "invalid_record at record 1, field patient_id"),
        (scan(patient_name=None), "invalid_record at record 1, field patient_name"),
        (scan(patient_id=""), "invalid_record at record 1, field patient_id"),
        (scan(patient_id=7), "invalid_record at record 1, field patient_id"),
        (scan(patient_name=[CANARY]), "invalid_record at record 1, field patient_name"),
        (scan(scan_date="2026-13-01"), "invalid_record at record 1, field scan_date"),
        (scan(scan_date=CANARY), "invalid_record at record 1, field scan_date"),
        (scan(retina_thickness_microns=0), "invalid_record at record 1, field retina_thickness_microns"),
        (scan(retina_thickness_microns="284"), "invalid_record at record 1, field retina_thickness_microns"),
        (scan(optic_disc_cup_ratio=1.01), "invalid_record at record 1, field optic_disc_cup_ratio"),
        (scan(optic_disc_cup_ratio=-0.1), "invalid_record at record 1, field optic_disc_cup_ratio"),
        (scan(diagnosis=1), "invalid_record at record 1, field diagnosis"),
    ],
)
def test_a_bad_file_is_rejected_whole_and_tells_nothing_of_its_patients(
    handler: ModuleType, s3: S3Client, capsys: pytest.CaptureFixture[str], content: bytes, rejection: str
) -> None:
    upload(s3, "good.json", patients(1))
    upload(s3, "bad.json", content)
    with pytest.raises(handler.ProcessingError) as raised:
        handler.lambda_handler(s3_event("bad.json", "good.json"), None)
    assert str(raised.value) == f"1 of 2 objects failed: {rejection}"
    assert list(processed(s3)) == ["good.json"], "the good file of the event is processed all the same"
    assert raised.value.__context__ is None, "a trace must not lead back to the decoder's exception"
    assert CANARY not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + SAMPLE,
        scan(scan_date="2026-02-28", retina_thickness_microns=0.1, optic_disc_cup_ratio=1, diagnosis=""),
        scan(extra={"nested": [1, {"patient_id": 3}]}),
    ],
)
def test_a_good_file_passes(handler: ModuleType, content: bytes) -> None:
    result, records = handler.trim(content)
    assert records == len(json.loads(result)) == 2


def test_a_large_file_comes_out_whole(handler: ModuleType) -> None:
    result, records = handler.trim(patients(50_000))
    assert json.loads(result) == json.loads(patients(50_000))
    assert records == 50_000


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDenied", 403), ("InternalError", 500), ("SlowDown", 503), ("NoSuchBucket", 404)]
)
@pytest.mark.parametrize("operation", ["GetObject", "PutObject", "HeadObject"])
def test_a_failing_s3_call_fails_the_event(
    handler: ModuleType, s3: S3Client, operation: str, code: str, status: int
) -> None:
    upload(s3, "a.json", patients(1))

    def fail(**_: Any) -> Any:
        body = f"<Error><Code>{code}</Code><Message>{CANARY}</Message></Error>".encode()
        raw = type("Raw", (), {"stream": lambda *_, **__: iter([body])})()
        return AWSResponse("https://s3", status, {}, raw)  # type: ignore[arg-type]

    s3.meta.events.register_first(f"before-send.s3.{operation}", fail)
    with pytest.raises(
        handler.ProcessingError, match=f"{operation} failed with {code}|{operation} failed with {status}"
    ):
        handler.lambda_handler(s3_event("a.json"), None)


def test_a_broken_connection_fails_the_event(handler: ModuleType, s3: S3Client) -> None:
    def fail(**_: Any) -> Any:
        raise EndpointConnectionError(endpoint_url=f"https://{CANARY}")

    s3.meta.events.register_first("before-send.s3.GetObject", fail)
    with pytest.raises(handler.ProcessingError, match=r"an S3 call failed with EndpointConnectionError$"):
        handler.lambda_handler(s3_event("a.json"), None)


def test_s3_test_event_is_acknowledged(handler: ModuleType) -> None:
    assert handler.lambda_handler({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": RAW}, None) is None


def test_an_event_without_records_is_a_no_op(handler: ModuleType) -> None:
    assert handler.lambda_handler({"Records": []}, None) is None


@pytest.mark.parametrize("event", [{}, {"Records": None}, {"Records": [{}]}, {"Records": [7]}, {"detail": {}}])
def test_any_other_event_is_refused(handler: ModuleType, event: dict[str, Any]) -> None:
    with pytest.raises(handler.ProcessingError, match="not an S3 notification"):
        handler.lambda_handler(event, None)


def test_a_batch_names_only_its_failed_messages(handler: ModuleType, s3: S3Client) -> None:
    upload(s3, "good.json", patients(1))
    upload(s3, "bad.json", b"{}")
    bodies = {
        "good": json.dumps(s3_event("good.json")),
        "bad": json.dumps(s3_event("bad.json")),
        "test": json.dumps({"Event": "s3:TestEvent"}),
        "text": "hello",
        "number": "7",
        "deep": "[" * 100_000,
    }
    batch = {"Records": [{"eventSource": "aws:sqs", "messageId": i, "body": b} for i, b in bodies.items()]}
    assert handler.lambda_handler(batch, None) == {
        "batchItemFailures": [{"itemIdentifier": i} for i in ("bad", "text", "number", "deep")]
    }
    assert list(processed(s3)) == ["good.json"]


def test_the_processed_bucket_is_never_a_source(handler: ModuleType) -> None:
    event = s3_event("a.json")
    event["Records"][0]["s3"]["bucket"]["name"] = PROCESSED
    with pytest.raises(handler.ProcessingError, match="the raw bucket is the processed bucket"):
        handler.lambda_handler(event, None)


def test_a_missing_setting_fails_the_import() -> None:
    run = subprocess.run([sys.executable, "-c", "import lambda_function"], env={}, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "RuntimeError: PROCESSED_BUCKET is not set. Set it to the name of the bucket for the trimmed records."
    )
