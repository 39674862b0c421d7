"""What verify asks AWS: the claims of the pipeline, and how each is asked."""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from commands import deploy
from commands.environment import data_dir
from commands.operate import audit, log
from commands.operate.listing import Row
from commands.operate.objects import head, result_of, source
from commands.operate.verdicts import verdict_on
from commands.terminal import count, wait_for
from commands.terraform import check_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from commands.environment import Environment
    from commands.state import Pipeline

POLL_SECONDS = 1.0
RESULT_SECONDS = 120.0  # a new version of the function starts cold
LOG_SECONDS = 180.0
TRACE_SECONDS = 240.0
METRIC_SECONDS = 270.0  # CloudWatch reads metrics from the log, a minute or two behind it
ALARM_SECONDS = 90.0
LOCAL_SECONDS = 3.0  # for what the local AWS does not do
URL_SECONDS = 30  # for which a presigned URL is valid
SHOWN = 3  # changes of a plan that are named
TRACES = 5  # the most that X-Ray accepts in one call


class Answered(Exception):  # noqa: N818 - an answer
    """An answer other than yes. The message says what AWS answered, or what was waited for."""

    says: ClassVar[str]


class No(Answered):
    """The claim does not hold."""

    says = "no"


class NotYet(Answered):
    """The time was up before it was known whether the claim holds."""

    says = "not yet"


class NotHere(Answered):
    """The local AWS does not enforce this."""

    says = "not enforced here"


class Unknown(Answered):
    """The question could not be answered."""

    says = "no answer"


@dataclass(frozen=True)
class Trial:
    """The data of one run of verify. name: a part of all its keys and patient ids."""

    pipeline: Pipeline
    environment: Environment
    name: str
    began: float

    @property
    def folder(self) -> str:
        """The prefix of all its keys."""
        return f"smoke-test/{self.name}/"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return the settings of the pipeline in env/."""
        return self.environment.entries.get(self.pipeline.name) or {}

    @cached_property
    def is_local(self) -> bool:
        """Whether this is the local AWS, which no other machine can reach."""
        return bool(urlsplit(self.pipeline.s3.meta.endpoint_url).hostname == "127.0.0.1")

    @cached_property
    def function(self) -> dict[str, Any]:
        """The settings of the version that uploads invoke."""
        pipeline = self.pipeline
        found: dict[str, Any] = pipeline.client("lambda").get_function_configuration(
            FunctionName=pipeline.function, Qualifier=pipeline.alias
        )
        return found

    @property
    def result_seconds(self) -> float:
        """How long a result may take: messages may be batched first."""
        window = self.settings.get("batching_window_seconds")
        return RESULT_SECONDS + (window if isinstance(window, int) else 0)

    def records(self, number: int = 1, name: str = "Made Up") -> tuple[bytes, list[dict[str, str]]]:
        """Return a file of made-up records, and the result that is expected."""
        kept = [{"patient_id": f"{self.name}-{n}", "patient_name": name} for n in range(number)]
        return json.dumps([one | {"diagnosis": "made up"} for one in kept]).encode(), kept

    def upload(self, key: str, body: bytes) -> str:
        """Upload as anybody would; return the version ID."""
        return str(self.pipeline.s3.put_object(Bucket=self.pipeline.raw, Key=key, Body=body)["VersionId"])


class Patience:
    """The time that a row has, in seconds."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def wait[T](self, what: str, check: Callable[[], T | None]) -> T:
        """Return the first truthy result of a check. Raises NotYet, Interrupted."""
        found = wait_for(check, self._deadline - time.monotonic(), POLL_SECONDS)
        if not found:
            raise NotYet(f"waited for {what}")
        return found

    def result(self, trial: Trial, key: str, version: str) -> Any:
        """Return S3's response for the result of a version, once there is one, with its Body. Raises NotYet."""
        return self.wait(f"the result of {key}", lambda: result_of(trial.pipeline, key, [version]))


@dataclass(frozen=True)
class Claim:
    """A row: the claim, how it is asked about, and the function that asks.

    ask: returns if the claim holds; raises Answered, ClientError, BotoCoreError, Refused, Interrupted.
    seconds: the time it has. unseen: whether the local AWS does not enforce the claim.
    at_the_end: asks again, once all rows are answered.
    alone: runs Terraform, which needs the main thread to handle signals.
    """

    name: str
    text: str
    how: str
    ask: Callable[[Trial, Patience], None]
    seconds: Callable[[Trial], float] = lambda trial: trial.result_seconds
    unseen: Callable[[Trial], bool] = lambda _: False
    at_the_end: Callable[[Trial], None] | None = None
    alone: bool = False


# --- files ------------------------------------------------------------------------------------------------------------


def compare(body: Any, expected: list[dict[str, str]]) -> None:
    """Raise No unless a result holds exactly this."""
    try:
        found = json.load(body)
    except ValueError:
        raise No("the result is not JSON") from None
    if found != expected:
        raise No("the result does not hold exactly the ids and names that were uploaded")


def small(trial: Trial, patience: Patience) -> None:
    """Upload a small file."""
    key, (body, expected) = f"{trial.folder}small.json", trial.records()
    compare(patience.result(trial, key, trial.upload(key, body))["Body"], expected)


def large(trial: Trial, patience: Patience) -> None:
    """Upload a file whose result is written in parts."""
    name = "Made Up " * 125
    key, (body, expected) = f"{trial.folder}large.json", trial.records(audit.SINGLE_BYTES // len(name) + 100, name)
    found = patience.result(trial, key, trial.upload(key, body))
    if "-" not in found["ETag"]:  # to which S3 appends the number of parts
        raise No("the result was not written in parts")
    compare(found["Body"], expected)


def overwritten(trial: Trial, patience: Patience) -> None:
    """Upload two versions, one right after the other, the first of which takes longer."""
    key, (body, expected) = f"{trial.folder}overwritten.json", trial.records()
    trial.upload(key, trial.records(20_000)[0])
    compare(patience.result(trial, key, trial.upload(key, body))["Body"], expected)


def still_of_the_newest(trial: Trial) -> None:
    """Look again once all events are processed: whichever was last, the result is that of the newest version."""
    found = audit.look(trial.pipeline, Row(f"{trial.folder}overwritten.json"))
    if not found or found.state != "processed":
        raise No(f"in the end the result is {found.state if found else 'gone'}")


def rejected(trial: Trial, patience: Patience) -> None:
    """Overwrite a good file with one that breaks the input rules."""
    pipeline, key = trial.pipeline, f"{trial.folder}rejected.json"
    good = trial.upload(key, trial.records()[0])
    patience.result(trial, key, good)
    bad = trial.upload(key, json.dumps([{"patient_id": trial.name}]).encode())

    def on_it() -> Any:
        verdict = verdict_on(pipeline, key)
        return verdict if verdict and verdict.source[0] == bad else None

    verdict = patience.wait(f"the verdict on {key}", on_it)
    if verdict.reason != "missing_field record=0 field=patient_name":
        raise No(f"the verdict says {verdict.reason}")

    def state() -> str:
        found = audit.look(pipeline, Row(key))
        return found.state if found else "gone"

    try:
        patience.wait("", lambda: state() == "rejected")
    except NotYet:
        raise No(f"with stale_results = {pipeline.stale_results}, audit finds it {state()}") from None
    if pipeline.stale_results == "keep" and source(head(pipeline, pipeline.processed, key))[0] != good:
        raise No("the older result is gone although stale_results is keep")


# --- what the buckets refuse ------------------------------------------------------------------------------------------


def wrong_upload(options: Callable[[Trial], dict[str, str]], name: str) -> Callable[[Trial, Patience], None]:
    """Return a function that uploads to the raw and the processed bucket in a way that their policies deny.

    The same upload without these options succeeds, so it is the options that are denied.
    """

    def ask(trial: Trial, _: Patience) -> None:
        wrong = []
        for role in ("raw", "processed"):
            # Not .json: if it is accepted, it must not be processed.
            upload = partial(
                trial.pipeline.s3.put_object,
                Bucket=getattr(trial.pipeline, role),
                Key=f"{trial.folder}{name}.txt",
                Body=b"made up",
            )
            upload()
            try:
                upload(**options(trial))
            except ClientError as error:
                answer = error.response["Error"]
                # An AccessDenied about kms: comes from the key's policy, not the bucket's.
                if answer["Code"] != "AccessDenied" or "kms:" in answer.get("Message", ""):
                    wrong.append(f"the {role} bucket's policy lets it pass, to fail with {answer['Code']}")
            else:
                wrong.append(f"the {role} bucket takes it")
        if wrong:
            raise No("; ".join(wrong))

    return ask


def key_of(trial: Trial) -> str:
    """Return the ARN of the environment's key."""
    return str(trial.function["KMSKeyArn"])


def signed(trial: Trial, bucket: str, key: str) -> str:
    """Return a presigned URL that is valid for this object alone, and for seconds."""
    account, endpoint = trial.pipeline.account, trial.pipeline.s3.meta.endpoint_url
    keys = account.environment()
    secret = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys.get("AWS_SESSION_TOKEN"))
    request = AWSRequest("GET", f"{endpoint}/{bucket}/{key}")
    S3SigV4QueryAuth(secret, "s3", account.region, expires=URL_SECONDS).add_auth(request)
    return str(request.url)


def code_of_answer(trial: Trial, url: str) -> str:
    """Request a URL; return the code in S3's answer, or the status if the answer is not S3's. Raises Unknown."""
    bundle: Any = trial.pipeline.account.environment().get("AWS_CA_BUNDLE", True)
    session = URLLib3Session(verify=bundle, proxies=get_environ_proxies(url), timeout=10)
    try:
        answer = session.send(AWSRequest("GET", url).prepare())
    except BotoCoreError as error:  # whose message contains the URL
        raise Unknown(f"{type(error).__name__} on the way to {url.partition('?')[0]}") from None
    found = re.search(r"<Code>(\w+)</Code>", answer.text)
    return found[1] if found and "x-amz-request-id" in answer.headers else f"status {answer.status_code}"


def plain_http(trial: Trial, _: Patience) -> None:
    """Request the same presigned URL with and without TLS: the only difference is the transport.

    The object does not exist, which is S3's answer over TLS. The URL has the caller's signature, because S3 denies any
    request without credentials. Anyone who intercepts it can request the same object for seconds, but sign nothing: the
    secret key is not sent, and the token of temporary credentials is worthless without it.
    """
    for role in ("raw", "processed", "rejected"):
        url = signed(trial, getattr(trial.pipeline, role), f"{trial.folder}not-there")
        if (code := code_of_answer(trial, url)) != "NoSuchKey":
            raise Unknown(f"over TLS the {role} bucket answers {code} in place of NoSuchKey")
        if (code := code_of_answer(trial, url.replace("https:", "http:", 1))) != "AccessDenied":
            raise No(f"over plain http the {role} bucket answers {code}")


# --- observability ----------------------------------------------------------------------------------------------------


def alarm(trial: Trial, patience: Patience) -> None:
    """Trigger an alarm by hand, check in its history whether it notified its topic, and reset it."""
    pipeline, cloudwatch = trial.pipeline, trial.pipeline.client("cloudwatch")
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{pipeline.dashboard}-")
    ours = [one for page in pages for one in page["MetricAlarms"] if pipeline.topic in one["AlarmActions"]]
    calm = [one for one in ours if one["StateValue"] != "ALARM" and one.get("ActionsEnabled", True)]
    if not ours:
        raise No("no alarm sends to the environment's topic")
    if not calm:
        raise Unknown("every alarm is in ALARM or has its actions disabled")
    # Prefer one that the files of the other rows cannot trigger.
    chosen = next((one for one in calm if one["AlarmName"].endswith("-function-throttles")), calm[0])
    name = chosen["AlarmName"]

    def sent() -> list[dict[str, Any]]:
        items = cloudwatch.describe_alarm_history(AlarmName=name, HistoryItemType="Action")["AlarmHistoryItems"]
        told = [json.loads(item["HistoryData"]) for item in items]
        return [one for one in told if one.get("notificationResource") == pipeline.topic]

    before = sent()
    try:
        cloudwatch.set_alarm_state(
            AlarmName=name, StateValue="ALARM", StateReason="A test by verify. Nothing is wrong."
        )
        told = patience.wait(f"{name} to report its action", lambda: [one for one in sent() if one not in before])
    finally:
        cloudwatch.set_alarm_state(
            AlarmName=name, StateValue=chosen["StateValue"], StateReason="The test by verify is over."
        )
    if failed := [one.get("error") for one in told if one.get("actionState") != "Succeeded"]:
        raise No(f"CloudWatch could not notify the topic about {name}: {failed[0]}")


def own_lines(trial: Trial) -> list[dict[str, Any]]:
    """Return the log's lines about files of this run."""
    return [line for _, line in log.outcomes(trial.pipeline, trial.began - 60, trial.folder)]


def log_lines(trial: Trial, patience: Patience) -> None:
    """Search the log for the small file, and for the patient in it."""
    key = f"{trial.folder}small.json"
    patience.wait(
        f"the line about {key}",
        lambda: [line for line in own_lines(trial) if (line["key"], line["message"]) == (key, "processed")],
    )
    if any(True for _ in log.log_lines(trial.pipeline, trial.began - 60, f"{trial.name}-0")):
        raise No("the log quotes a patient of the file")


def metrics(trial: Trial, patience: Patience) -> None:
    """Ask CloudWatch how many files were processed."""
    variables = trial.function.get("Environment", {}).get("Variables", {})
    if "POWERTOOLS_METRICS_NAMESPACE" not in variables:
        raise Unknown("the function's variables cannot be read; these credentials need kms:Decrypt on its key")
    dimensions = [{"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}]
    metric = {
        "Namespace": variables["POWERTOOLS_METRICS_NAMESPACE"],
        "MetricName": "FilesProcessed",
        "Dimensions": dimensions,
    }
    query = {"Id": "files", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}
    minute = trial.began - trial.began % 60

    def counted() -> float:
        answer = trial.pipeline.client("cloudwatch").get_metric_data(
            MetricDataQueries=[query], StartTime=minute, EndTime=time.time() + 60
        )
        return float(sum(answer["MetricDataResults"][0]["Values"]))

    patience.wait("FilesProcessed to count this run's files", counted)


def traces(trial: Trial, patience: Patience) -> None:
    """Ask X-Ray for the traces of this run's invocations. One is enough, as Lambda does not trace them all."""

    def found() -> Any:
        ids = sorted({line["xray_trace_id"] for line in own_lines(trial) if line.get("xray_trace_id")})
        parts = [ids[at : at + TRACES] for at in range(0, len(ids), TRACES)]
        return any(trial.pipeline.client("xray").batch_get_traces(TraceIds=part)["Traces"] for part in parts)

    mode = trial.function.get("TracingConfig", {}).get("Mode")
    if mode != "Active":
        raise No(f"the function's tracing is {mode}")
    patience.wait("the trace of an invocation that the log names", found)


# --- how it is set up -------------------------------------------------------------------------------------------------


def network(trial: Trial, _: Patience) -> None:
    """Compare the network of the live version with what env/ describes."""
    wanted, config = trial.settings.get("private_network"), trial.function.get("VpcConfig", {})
    subnets = config.get("SubnetIds", [])
    if not wanted:
        if subnets:
            raise No(f"the function is in {', '.join(subnets)}, but env/ has no private_network")
        return
    if not subnets:
        raise No("the function is in no network, but env/ has a private_network")
    ec2 = trial.pipeline.client("ec2")
    zones = sorted(one["AvailabilityZone"] for one in ec2.describe_subnets(SubnetIds=subnets)["Subnets"])
    if zones != sorted(wanted["availability_zones"]):
        raise No(f"the function is in {', '.join(zones)}")
    (vpc,) = ec2.describe_vpcs(VpcIds=[config["VpcId"]])["Vpcs"]
    if vpc["CidrBlock"] != wanted.get("cidr_block", vpc["CidrBlock"]):
        raise No(f"the function's network is {vpc['CidrBlock']}")
    attached = [{"Name": "attachment.vpc-id", "Values": [config["VpcId"]]}]
    if ec2.describe_internet_gateways(Filters=attached)["InternetGateways"]:
        raise No("the function's network has a way to the internet")


def key_use(trial: Trial, _: Patience) -> None:
    """Let IAM simulate what the role may use the key for."""
    pipeline, region, key = trial.pipeline, trial.pipeline.account.region, key_of(trial)
    bucket = f"arn:{key.split(':')[1]}:s3:::{pipeline.raw}"
    queue = pipeline.sqs.get_queue_attributes(QueueUrl=pipeline.ingestion, AttributeNames=["QueueArn"])
    s3, sqs, other = (f"{service}.{region}.amazonaws.com" for service in ("s3", "sqs", "secretsmanager"))
    uses = [
        ("objects of the raw bucket", True, {"ViaService": s3, "EncryptionContext:aws:s3:arn": bucket}),
        (
            "messages of the ingestion queue",
            True,
            {"ViaService": sqs, "EncryptionContext:aws:sqs:arn": queue["Attributes"]["QueueArn"]},
        ),
        ("itself, by no service", False, {}),
        ("objects of other buckets", False, {"ViaService": s3, "EncryptionContext:aws:s3:arn": f"{bucket}-other"}),
        ("Secrets Manager", False, {"ViaService": other}),
    ]
    for what, expected, context in uses:
        answer = pipeline.client("iam").simulate_principal_policy(
            PolicySourceArn=trial.function["Role"],
            ActionNames=["kms:Decrypt", "kms:GenerateDataKey"],
            ResourceArns=[key],
            ContextEntries=[
                {"ContextKeyName": f"kms:{name}", "ContextKeyType": "string", "ContextKeyValues": [value]}
                for name, value in context.items()
            ],
        )
        for result in answer["EvaluationResults"]:
            if (result["EvalDecision"] == "allowed") != expected:
                raise No(f"the role may {'not ' * expected}use {result['EvalActionName']} for {what}")


def second_plan(trial: Trial, _: Patience) -> None:
    """Plan again, as drift does. Its output goes to a file."""
    check_version()
    deploy.keep_others_out()
    run = deploy.Run(trial.environment, trial.pipeline.account, "verify")
    output = data_dir() / "verify.log"
    output.write_text("")
    terraform, summary = deploy.plan_anew(replace(run, log=output), "-lock=false")
    terraform.forget_plan()
    # The local AWS returns alarms without some of their settings.
    changes = [one for one in summary.changes if not (trial.is_local and ".aws_cloudwatch_metric_alarm." in one)]
    if changes:
        more = f" and {count(len(changes) - SHOWN, 'other')}" if len(changes) > SHOWN else ""
        named = ", ".join(" ".join(one.split()) for one in changes[:SHOWN])
        raise No(f"it would {named}{more}; ./deploy.sh drift {trial.environment.name} shows all of it")
    if summary.changes:
        raise NotHere("the local AWS does not show alarms as they are")


def is_local(trial: Trial) -> bool:
    """Return whether this is the local AWS, which does not do this at all."""
    return trial.is_local


def is_local_root(trial: Trial) -> bool:
    """Return whether bucket policies are not enforced: unlike AWS, the local AWS exempts its root user from them."""
    return trial.is_local and trial.pipeline.account.arn.endswith(":root")


def kms(**options: str) -> dict[str, str]:
    """Return the options of an upload that asks for a key."""
    return {"ServerSideEncryption": "aws:kms"} | options


CLAIMS = (
    Claim("result", "A file comes out, cut down to ids and names", "upload, compare the result", small),
    Claim(
        "large-result",
        "A result of more than 8 MiB, written in parts, is right",
        "upload, compare the result and its ETag",
        large,
    ),
    Claim(
        "overwrite",
        "Of two quick uploads, the result of the newest one stays",
        "upload twice, look again at the end",
        overwritten,
        at_the_end=still_of_the_newest,
    ),
    Claim(
        "rejected",
        "A bad file gets its verdict, and no result",
        "upload a good one and a bad one, ask as audit does",
        rejected,
        seconds=lambda trial: 2 * trial.result_seconds,
    ),
    Claim(
        "other-encryption",
        "An upload under S3's own key is refused",
        "upload with AES256",
        wrong_upload(lambda _: {"ServerSideEncryption": "AES256"}, "aes256"),
        unseen=is_local_root,
    ),
    Claim(
        "unnamed-key",
        "An upload under KMS without a key is refused",
        "upload with aws:kms",
        wrong_upload(lambda _: kms(), "unnamed"),
        unseen=is_local_root,
    ),
    Claim(
        "other-key",
        "An upload under another key is refused",
        "upload with alias/aws/s3",
        wrong_upload(lambda _: kms(SSEKMSKeyId="alias/aws/s3"), "other-key"),
        unseen=is_local_root,
    ),
    Claim(
        "double-encryption",
        "An upload encrypted twice is refused",
        "upload with aws:kms:dsse",
        wrong_upload(lambda trial: {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": key_of(trial)}, "dsse"),
        unseen=is_local_root,
    ),
    Claim(
        "callers-key",
        "An upload under the caller's own key is refused",
        "upload with SSE-C",
        wrong_upload(lambda _: {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": secrets.token_hex(16)}, "sse-c"),
        unseen=is_local,
    ),
    Claim(
        "plain-http",
        "A request without TLS is refused",
        "the same signed GET over https and http",
        plain_http,
        unseen=is_local,
    ),
    Claim(
        "alarm",
        "An alarm notifies its topic",
        "set one to ALARM, read its history, reset it",
        alarm,
        seconds=lambda _: ALARM_SECONDS,
        unseen=is_local,
    ),
    Claim(
        "log",
        "The log names each file, and no patient",
        "search it for both",
        log_lines,
        seconds=lambda trial: trial.result_seconds + LOG_SECONDS - RESULT_SECONDS,
    ),
    Claim(
        "metrics",
        "CloudWatch counts the files",
        "GetMetricData of FilesProcessed",
        metrics,
        seconds=lambda trial: trial.result_seconds + METRIC_SECONDS - RESULT_SECONDS,
        unseen=is_local,
    ),
    Claim(
        "traces",
        "X-Ray has traces of the function",
        "BatchGetTraces of those in the log",
        traces,
        seconds=lambda trial: trial.result_seconds + TRACE_SECONDS - RESULT_SECONDS,
        unseen=is_local,
    ),
    Claim(
        "network",
        "The function is in the network of env/, or in none",
        "settings of the live version",
        network,
    ),
    Claim(
        "key",
        "The role can use the key for its objects and messages only",
        "IAM's simulation of the role",
        key_use,
        unseen=is_local,
    ),
    Claim("plan", "A second plan has no changes", "plan, as drift does", second_plan, alone=True),
)
