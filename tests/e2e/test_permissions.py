"""The deployed permissions, layer and role are the ones in force: the pipeline fails without any of them."""

import json
import select
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from callers import holder
from commands.settings import ROOT
from local_aws.process import LocalAws
from pipeline import RECORDS, Pipeline, without
from scanner import cloudsplaining
from waiting import wait_for


@pytest.mark.usefixtures("quick_redelivery")
@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject"])
def test_without_the_permission_a_file_fails_and_with_it_the_same_file_passes(pipeline: Pipeline, action: str) -> None:
    key = f"permission/{action[3:]}.json"
    with without(pipeline, action):
        pipeline.upload(key, RECORDS)
        assert key in json.dumps(pipeline.await_failure())

        def told() -> bool:
            return any(f"{action[3:]} AccessDenied" in line and key in line for line in pipeline.log())

        wait_for("the refusal in the log", told)
        assert pipeline.result(key) is None
    pipeline.await_result(key, pipeline.upload(key, RECORDS))


@pytest.mark.usefixtures("quick_redelivery")
@pytest.mark.parametrize(
    ("action", "then", "call"),
    [
        ("s3:PutObject", b"[{}]", "PutObject AccessDenied"),
        ("s3:DeleteObject", RECORDS, "DeleteObject AccessDenied"),
        ("s3:ListBucket", b"[{}]", "ListObjectsV2 AccessDenied"),
    ],
)
def test_verdicts_and_removals_fail_their_event_without_the_permission(
    pipeline: Pipeline, action: str, then: bytes, call: str
) -> None:
    if action == "s3:ListBucket" and not pipeline.removes_results:
        pytest.skip("results are kept")
    key = f"verdict/{action[3:]}.json"
    pipeline.await_verdict(key, pipeline.upload(key, b"[]x"))
    with without(pipeline, action):
        pipeline.upload(key, then)
        assert key in json.dumps(pipeline.await_failure())
        wait_for("the refusal in the log", lambda: any(call in line and key in line for line in pipeline.log()))
    version = pipeline.upload(key, then)
    if then == RECORDS:
        pipeline.await_result(key, version)
        wait_for("the verdict to go", lambda: not pipeline.verdict(key))
    else:
        pipeline.await_verdict(key, version)


def broken_at_the_end() -> bytes:
    """Return a file whose result is larger than one part of a multipart upload, and which breaks off after that."""
    record = b'{"patient_id": "P-1", "patient_name": "' + b"N" * 200 + b'"},\n'
    return b"[" + record * (10_000_000 // len(record))


def unfinished_uploads(dev: Pipeline) -> list[str]:
    uploads = dev.s3.list_multipart_uploads(Bucket=dev.processed).get("Uploads", [])
    return [upload["Key"] for upload in uploads]


def test_a_truncated_file_leaves_an_unfinished_upload_only_without_permission(dev: Pipeline) -> None:
    version = dev.upload("abort/allowed.json", broken_at_the_end())
    assert dev.await_verdict("abort/allowed.json", version)["reason"] == "truncated"
    assert unfinished_uploads(dev) == []
    with without(dev, "s3:AbortMultipartUpload"):
        version = dev.upload("abort/denied.json", broken_at_the_end())
        assert dev.await_verdict("abort/denied.json", version)["reason"] == "truncated"
        assert set(unfinished_uploads(dev)) == {"abort/denied.json"}
    for upload in dev.s3.list_multipart_uploads(Bucket=dev.processed)["Uploads"]:
        dev.s3.abort_multipart_upload(Bucket=dev.processed, Key=upload["Key"], UploadId=upload["UploadId"])
    assert dev.result("abort/allowed.json") is None


@contextmanager
def configured(dev: Pipeline, **changes: Any) -> Iterator[None]:
    """Let uploads start a version of the function with other settings."""
    functions, name = dev.functions, dev.function
    live = functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
    settings = functions.get_function_configuration(FunctionName=name)
    before: dict[str, Any] = {
        "Layers": [layer["Arn"] for layer in settings["Layers"]],
        "Environment": settings["Environment"],
    }

    def configure(**values: Any) -> None:
        functions.update_function_configuration(FunctionName=name, **values)
        wait_for(
            "the function's update",
            lambda: functions.get_function_configuration(FunctionName=name)["LastUpdateStatus"] == "Successful",
        )

    configure(**changes)
    version = functions.publish_version(FunctionName=name)["Version"]
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
    try:
        yield
    finally:
        functions.update_alias(FunctionName=name, Name="live", FunctionVersion=live)
        functions.delete_function(FunctionName=name, Qualifier=version)
        configure(**{setting: before[setting] for setting in changes})


def test_without_the_layer_the_function_fails(dev: Pipeline) -> None:
    with configured(dev, Layers=[]):
        dev.upload("no-layer.json", RECORDS)
        assert "No module named" in json.dumps(dev.await_failure()["responsePayload"])
        assert dev.result("no-layer.json") is None
    dev.await_result("no-layer.json", dev.upload("no-layer.json", RECORDS))


@contextmanager
def breaking_relay(aws: LocalAws, after_bytes: int) -> Iterator[str]:
    """Relay to the local AWS, breaking every connection after so many bytes of answers; yield the address."""

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            client: socket.socket = self.request
            with socket.create_connection(("127.0.0.1", aws.port)) as server:
                answered = 0
                while answered < after_bytes:
                    for ready in select.select([client, server], [], [])[0]:
                        data = ready.recv(65536)
                        if not data:
                            return
                        (server if ready is client else client).sendall(data)
                        answered += len(data) * (ready is server)

    class Relay(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Either end may go at any time; that is no fault of the relay."""

    with Relay(("127.0.0.1", 0), Connection) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{relay.server_address[1]}"
        relay.shutdown()


def test_a_broken_download_is_resumed_only_with_the_permission(dev: Pipeline, aws: LocalAws) -> None:
    records = 60_000  # 3 MB
    content = b"[" + b",".join([b'{"patient_id": "P-1", "patient_name": "%b"}' % (b"N" * 10)] * records) + b"]"
    settings = dev.functions.get_function_configuration(FunctionName=dev.function)["Environment"]["Variables"]
    with breaking_relay(aws, after_bytes=1_000_000) as address:
        behind_relay = {"Variables": settings | {"AWS_ENDPOINT_URL_S3": address}}
        with configured(dev, Environment=behind_relay):
            assert len(dev.await_result("resumed.json", dev.upload("resumed.json", content))) == records
            with without(dev, "s3:GetObjectVersion"):
                dev.upload("lost.json", content)
                assert "GetObject AccessDenied" in dev.await_failure()["responsePayload"]["errorMessage"]
                assert dev.result("lost.json") is None


def test_cloudsplaining_finds_nothing_in_the_role(dev: Pipeline, tmp_path: Path) -> None:
    assert cloudsplaining(dev, tmp_path) == "There were no results found.\n"


def aws_s3(aws: LocalAws, caller: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `aws s3` as somebody."""
    return subprocess.run(
        [str(ROOT / ".venv/bin/aws"), "s3", *arguments],
        env=aws.full_environment() | caller,
        capture_output=True,
        text=True,
        check=False,
    )


def is_refused(run: subprocess.CompletedProcess[str]) -> bool:
    """Return whether a call was denied; the answer to a HEAD holds only its status."""
    return run.returncode != 0 and ("AccessDenied" in run.stderr or "(403)" in run.stderr)


def test_an_uploader_uploads_files_of_any_size_and_reads_nothing(
    pipeline: Pipeline, aws: LocalAws, tmp_path: Path
) -> None:
    file, records = tmp_path / "scan.json", 250_000  # 12 MB, which the CLI uploads in parts
    with holder(pipeline, "uploader") as uploader:
        for key, content in (("small", RECORDS), ("large", b"[" + b",".join([RECORDS[1:-1]] * records) + b"]")):
            file.write_bytes(content)
            place = f"s3://{pipeline.raw}/uploader/{key}.json"
            run = aws_s3(aws, uploader, "cp", str(file), place)
            assert run.returncode == 0, run.stderr
            head = pipeline.s3.head_object(Bucket=pipeline.raw, Key=f"uploader/{key}.json")
            pipeline.await_result(f"uploader/{key}.json", head["VersionId"])
            for refused in (("cp", place, "-"), ("rm", place), ("ls", f"s3://{pipeline.raw}/")):
                assert is_refused(aws_s3(aws, uploader, *refused))
        assert is_refused(aws_s3(aws, uploader, "cp", str(file), f"s3://{pipeline.processed}/a.json"))


def test_a_reader_lists_and_reads_results_only(pipeline: Pipeline, aws: LocalAws) -> None:
    pipeline.await_result("reader.json", pipeline.upload("reader.json", RECORDS))
    with holder(pipeline, "reader") as reader:
        assert "reader.json" in aws_s3(aws, reader, "ls", f"s3://{pipeline.processed}/").stdout
        assert "P-1" in aws_s3(aws, reader, "cp", f"s3://{pipeline.processed}/reader.json", "-").stdout
        for refused in (
            ("cp", f"s3://{pipeline.raw}/reader.json", "-"),
            ("ls", f"s3://{pipeline.raw}/"),
            ("rm", f"s3://{pipeline.processed}/reader.json"),
        ):
            assert is_refused(aws_s3(aws, reader, *refused))


OTHER_ACCOUNT = "444455556666"


def test_another_account_is_denied_even_if_a_statement_allows_it(pipeline: Pipeline) -> None:
    iam = pipeline.client("iam", AWS_ACCESS_KEY_ID=OTHER_ACCOUNT)  # a number is that account's root in the local AWS
    iam.create_user(UserName="stranger")
    anything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="stranger", PolicyName="all", PolicyDocument=json.dumps(anything))
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    stranger = pipeline.client("s3", AWS_ACCESS_KEY_ID=key["AccessKeyId"], AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"])
    bucket = pipeline.raw
    policy = json.loads(pipeline.s3.get_bucket_policy(Bucket=bucket)["Policy"])
    let_in: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{OTHER_ACCOUNT}:root"}}
    let_in |= {"Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}
    others = [statement for statement in policy["Statement"] if statement["Sid"] != "DenyOtherAccounts"]

    def put(statements: list[Any]) -> None:
        pipeline.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy | {"Statement": statements}))

    try:
        put([*others, let_in])
        stranger.list_objects_v2(Bucket=bucket)
        put([*policy["Statement"], let_in])
        with pytest.raises(ClientError, match="AccessDenied"):
            stranger.list_objects_v2(Bucket=bucket)
    finally:
        put(policy["Statement"])
        iam.delete_access_key(UserName="stranger", AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName="stranger", PolicyName="all")
        iam.delete_user(UserName="stranger")
