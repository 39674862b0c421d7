"""Puts requests to the policies: reads the tables in requests/, and has each request judged as IAM would judge it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evaluator import iam
from rendered import Document, Rendered

TABLES = Path(__file__).with_name("requests")
ACCOUNT, REGION, ABROAD = "111122223333", "us-east-1", "eu-west-1"
ENVIRONMENTS = {"dev": "prod", "prod": "dev"}  # each with the other

# What the tables call the keys of a request's context. All others stand there in full.
KEYS = {
    "tls": "s3:TlsVersion",
    "sse": "s3:x-amz-server-side-encryption",
    "sse-key": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "sse-c": "s3:x-amz-server-side-encryption-customer-algorithm",
    "copy": "s3:x-amz-copy-source",
    "source": "aws:SourceArn",
    "account": "aws:SourceAccount",
    "code": "lambda:SourceFunctionArn",
    "via": "kms:ViaService",
    "for-s3": "kms:EncryptionContext:aws:s3:arn",
    "for-sqs": "kms:EncryptionContext:aws:sqs:arn",
    "for-sns": "kms:EncryptionContext:aws:sns:topicArn",
    "for-logs": "kms:EncryptionContext:aws:logs:arn",
    "for-lambda": "kms:EncryptionContext:aws:lambda:FunctionArn",
    "boundary": "iam:PermissionsBoundary",
    "to": "iam:PassedToService",
    "aud": "token.actions.githubusercontent.com:aud",
    "sub": "token.actions.githubusercontent.com:sub",
    "ref": "token.actions.githubusercontent.com:ref",
}
# http: without TLS. network: from inside the private network. opened: as if somebody had added a statement that lets
# everybody in to the resource's policy, which its denials have to outlast.
FLAGS = {"http", "network", "opened"}
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
GIVEN: dict[str, Document] = {
    "everything": {"Statement": EVERYTHING},
    "nothing": {"Statement": []},
    # The policy of a key that has no other.
    "account decides": {"Statement": EVERYTHING | {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}},
}
# Names in the tables that stand for several.
SEVERAL = {
    "{data}": ("{raw}", "{processed}", "{rejected}"),
    "{every_alarm}": (
        "{alarm}-function-errors", "{alarm}-function-throttles", "{alarm}-function-duration", "{alarm}-rejected-files",
        "{alarm}-failed-files", "{alarm}-lost-events", "{alarm}-dead-letter-queue", "{alarm}-oldest-message",
        "{alarm}-nothing-processed",
    ),
}  # fmt: skip
# Who in the tables has which role. unbounded is the function without its boundary; bounded, further below, whatever
# else its boundary lets in.
ROLES = {"function": "role", "unbounded": "role", "plan": "plan_role", "apply": "apply_role"}
PEOPLE = ("uploader", "reader", "eraser")  # who has the policy of that name and no other
BUCKETS = ("raw", "processed", "rejected")
NEED_THE_RESOURCES_POLICY = ("kms:", "sts:")  # an identity policy alone opens neither a key nor a role


def names(environment: str, region: str = REGION) -> dict[str, Any]:
    """Return what the tables call the resources of an environment."""
    prefix = "eyes" if environment == "dev" else f"eyes-{environment}"
    own, processor = f"{region}:{ACCOUNT}", f"{prefix}-data-processor"
    buckets = {"raw": "raw-data", "processed": "processed-data", "rejected": "rejected", "log": "access-log"}
    state = f"arn:aws:s3:::eyes-tfstate-{ACCOUNT}-us-east-1"
    return {role: f"arn:aws:s3:::{prefix}-{name}-1234abcd" for role, name in buckets.items()} | {
        "env": environment,
        "prefix": prefix,
        "state_bucket": state,
        "state": f"{state}/{environment}/terraform.tfstate",
        "ingestion": f"arn:aws:sqs:{own}:{prefix}-ingestion",
        "dead_letter": f"arn:aws:sqs:{own}:{prefix}-dead-letter",
        "alarms": f"arn:aws:sns:{own}:{prefix}-alarms",
        "rejections": f"arn:aws:sns:{own}:{prefix}-rejections",
        "alarm": f"arn:aws:cloudwatch:{own}:alarm:{prefix}",
        "dashboard": f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/{prefix}",
        "key": f"arn:aws:kms:{own}:key/{environment}",
        "keys": f"arn:aws:kms:{own}:key",
        "alias": f"arn:aws:kms:{own}:alias/{prefix}",
        "function": f"arn:aws:lambda:{own}:function:{processor}",
        "layer": f"arn:aws:lambda:{own}:layer:{prefix}-dependencies",
        "mapping": f"arn:aws:lambda:{own}:event-source-mapping:7a1b",
        "log_group": f"arn:aws:logs:{own}:log-group:/aws/lambda/{processor}",
        "role": f"arn:aws:iam::{ACCOUNT}:role/{processor}",
        "policy": f"arn:aws:iam::{ACCOUNT}:policy/eyes-github-{environment}",
        "plan_role": f"arn:aws:iam::{ACCOUNT}:role/eyes-github-{environment}-plan",
        "apply_role": f"arn:aws:iam::{ACCOUNT}:role/eyes-github-{environment}-apply",
        "ec2": f"arn:aws:ec2:{own}",
    }


@dataclass(frozen=True)
class Policy:
    """One document, in the forms that the evaluator takes."""

    document: Document

    @cached_property
    def parsed(self) -> list[iam.ParsedStatement]:
        """As an identity's policy."""
        return list(iam.parse_policy_document(self.document))

    @cached_property
    def for_services(self) -> Document:
        """As a resource's policy that is asked about a service, or about a provider of identities as if it were one.

        The evaluator knows providers for sts:AssumeRoleWithWebIdentity only.
        """
        statements = []
        for statement in self.document["Statement"]:
            who = statement.get("Principal")
            is_provider = isinstance(who, dict) and "Federated" in who
            statements.append(statement | {"Principal": {"Service": who["Federated"]}} if is_provider else statement)
        return {"Statement": statements}


Policies = dict[str, Policy]


@dataclass(frozen=True)
class Request:
    """A request, whether it is to be allowed, and which policies decide it: keys of Policies."""

    row: Row
    environment: str
    action: str
    resource: str
    is_allowed: bool
    context: iam.EvalContext = field(repr=False)
    service: str | None  # the service of AWS that asks, or the provider that vouches for who asks
    identity: list[str]
    boundary: list[str]
    resource_policy: str | None
    endpoint: str | None

    @property
    def decided_by(self) -> set[str]:
        """The policies that are asked."""
        return {*self.identity, *self.boundary, self.resource_policy or "", self.endpoint or ""}

    def verdict(self, policies: Policies) -> bool:
        """Return whether the policies allow it."""
        if (
            self.endpoint
            and iam.evaluate_resource_policy(policies[self.endpoint].document, self.context).decision != "Allow"
        ):
            return False
        policy = policies[self.resource_policy] if self.resource_policy else None
        document = policy and (policy.for_services if self.service else policy.document)
        if document and "opened" in self.row.flags:
            document = {"Statement": [*document["Statement"], EVERYTHING | {"Principal": "*"}]}
        if self.service:
            return bool(iam.evaluate_resource_policy(document, self.context, self.service).decision == "Allow")
        limits = [[policies[name].parsed] for name in self.boundary]
        identity = iam.evaluate(self.context, [policies[name].parsed for name in self.identity], *limits)
        result = iam.combine_resource_policy(
            identity,
            self.context,
            document,
            ACCOUNT,
            required=document is not None and self.action.startswith(NEED_THE_RESOURCES_POLICY),
            limits=tuple(limits),
        )
        return bool(result.decision == "Allow")

    def __str__(self) -> str:
        verdict = "allow" if self.is_allowed else "refuse"
        return f"{self.row.place} {self.environment}: {verdict} {self.row.who} {self.action} on {self.resource}"


@dataclass(frozen=True)
class Row:
    """One line of a table: requests of somebody, each action on each resource, and where they are to be allowed."""

    place: str
    who: str
    only: str  # the one environment that it is about; empty: each
    actions: list[str]
    allowed: list[str]
    refused: list[str]
    context: dict[str, str]
    flags: set[str]
    why: str

    @classmethod
    def parse(cls, place: str, text: str) -> list[Row]:
        """Return a line of a table, for each whom it is about. Raises ValueError for anything else."""
        cells = [" ".join(cell.split()) for cell in text.split("|")]
        if len(cells) != 6 or not all((cells[0], cells[1], cells[2] + cells[3], cells[5])):
            raise ValueError(f"{place}: not who | actions | allowed on | refused on | with | why")
        who, at, only = cells[0].partition("@")
        words = cells[4].split()
        context = dict(word.split("=", 1) for word in words if "=" in word)
        flags = {word for word in words if "=" not in word}
        keys = {key for key in context if ":" not in key} - {*KEYS, "tags"}
        if unknown := [*(flags - FLAGS), *keys, *([only] if at and only not in ENVIRONMENTS else [])]:
            raise ValueError(f"{place}: unknown: {' '.join(unknown)}")
        actions, allowed, refused = (spelled_out(cell) for cell in cells[1:4])
        return [cls(place, each, only, actions, allowed, refused, context, flags, cells[5]) for each in who.split()]

    def requests(self, world: World) -> list[Request]:
        """Return its requests, in each environment."""
        return [
            world.request(self, environment, action, resource, is_allowed=is_allowed)
            for environment in ENVIRONMENTS
            if self.only in ("", environment)
            for is_allowed, resources in ((True, self.allowed), (False, self.refused))
            for resource in resources
            for action in self.actions
        ]


def spelled_out(words: str) -> list[str]:
    """Return the words of a cell, those that stand for several replaced."""
    found = []
    for word in words.split():
        several = next((name for name in SEVERAL if word.startswith(name)), None)
        found += [name + word.removeprefix(several) for name in SEVERAL[several]] if several else [word]
    return found


def rows() -> list[Row]:
    """Return the lines of all tables. Raises ValueError when one is no such line."""
    found = []
    for table in sorted(TABLES.glob("*.txt")):
        lines: list[tuple[int, str]] = []
        for number, line in enumerate(table.read_text().splitlines(), 1):
            if line.startswith(" "):
                lines[-1] = lines[-1][0], lines[-1][1] + line
            elif line and not line.startswith("#"):
                lines.append((number, line))
        found += [row for number, line in lines for row in Row.parse(f"{table.stem}:{number}", line)]
    return found


class World:
    """The policies, and which of them decides on whom and on what."""

    def __init__(self, rendered: Rendered) -> None:
        self.rendered = rendered
        self.policies = {name: Policy(document) for name, document in (rendered.policies | GIVEN).items()}
        self._resources: dict[str, str] = {}
        self._roles: dict[str, str] = {}
        for environment in ENVIRONMENTS:
            name, pipeline = names(environment), f'module.pipeline["{environment}"]'
            self._resources |= {
                **{name[role]: f'{pipeline}.module.bucket["{role}"].aws_s3_bucket_policy.this' for role in BUCKETS},
                name["log"]: f"{pipeline}.module.log_bucket.aws_s3_bucket_policy.this",
                name["state_bucket"]: "aws_s3_bucket_policy.state",
                name["key"]: f"{pipeline}.module.kms.aws_kms_key.this",
                name["ingestion"]: f"{pipeline}.module.queue.aws_sqs_queue.ingestion",
                name["dead_letter"]: f"{pipeline}.module.queue.aws_sqs_queue.dead_letter",
                name["alarms"]: f"{pipeline}.module.monitoring.module.alarms.aws_sns_topic_policy.this",
                name["rejections"]: f"{pipeline}.module.rejections.aws_sns_topic_policy.this",
                **{name["function"] + part: f"{pipeline}.aws_lambda_permission.s3" for part in ("", ":live", ":1")},
            }
            self._roles |= {
                name["role"]: f"{pipeline}.module.iam.aws_iam_role.execution",
                **{name[f"{role}_role"]: f'aws_iam_role.github["{environment}-{role}"]' for role in ("plan", "apply")},
            }

    def _resource_policy(self, action: str, resource: str) -> str | None:
        """Return the policy that the resource has itself, if it has one."""
        if action.startswith("sts:"):
            return self._roles.get(resource)
        if ":key/" in resource:
            return self._resources.get(resource, "account decides")
        return self._resources.get(resource.partition("/")[0] if resource.startswith("arn:aws:s3") else resource)

    def request(self, row: Row, environment: str, action: str, resource: str, *, is_allowed: bool) -> Request:
        """Return a request of a row, with the context that AWS adds. Raises ValueError when nobody is called so."""
        name = names(environment)
        other = ENVIRONMENTS[environment]
        name |= {
            "other": SimpleNamespace(**names(other)),
            "abroad": SimpleNamespace(**names(environment, ABROAD)),
        }
        tags = {
            environment: {"Project": "eyes", "Environment": environment},
            other: {"Project": "eyes", "Environment": other},
            "foreign": {"Project": "theirs", "Environment": environment},
            "untagged": {},
        }
        resource = resource.format_map(name)
        given: dict[str, Any] = {}
        for key, text in row.context.items():
            value = text.format_map(name)
            if key == "tags":
                given |= {f"aws:RequestTag/{tag}": content for tag, content in tags[value].items()}
            else:
                given[KEYS.get(key, key)] = value.split(",") if "," in value else value
        for tag, content in tags.get(resource.rpartition("/")[2], {}).items():
            given[f"aws:ResourceTag/{tag}"] = content
        secure = "http" not in row.flags
        if action.startswith("s3:") and secure:
            given.setdefault("s3:TlsVersion", "1.3")

        provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{row.who}"
        outsiders = {"amazonaws.com": row.who, "githubusercontent.com": provider}
        service = outsiders.get(".".join(row.who.split(".")[-2:]))
        account: str | None = None if service or row.who == "anonymous" else ACCOUNT
        role, identity, boundary = "", ["nothing"], list[str]()
        if row.who in ("admin", "bounded"):
            role, identity = f"arn:aws:iam::{ACCOUNT}:role/{row.who}", ["everything"]
        elif row.who == "stranger":
            account = "999999999999"
            role, identity = f"arn:aws:iam::{account}:role/{row.who}", ["everything"]
        elif row.who in PEOPLE:
            role = f"arn:aws:iam::{ACCOUNT}:role/{row.who}"
            identity = [f'aws_iam_policy.people["{name["prefix"]}-{row.who}"]']
        elif row.who in ROLES:
            role = name[ROLES[row.who]]
            identity = self.rendered.attached[self._roles[role]]
            if row.who != "unbounded" and self._roles[role] in self.rendered.boundaries:
                boundary = [self.rendered.boundaries[self._roles[role]]]
        elif not service and row.who != "anonymous":
            raise ValueError(f"{row.place}: nobody is called {row.who}")
        if row.who == "bounded":
            boundary = [f'aws_iam_policy.github["{environment}-boundary"]']
        if row.who != "anonymous":
            given["aws:PrincipalIsAWSService"] = str(service == row.who).lower()
        endpoint = f'module.pipeline["{environment}"].module.network[0].aws_vpc_endpoint.s3'
        return Request(
            row,
            environment,
            action,
            resource,
            is_allowed,
            iam.EvalContext(
                principal_arn=role or service or "",
                principal_type="AssumedRole",
                principal_account=account,
                action=action,
                resource_arn=resource,
                region=REGION,
                source_ip="10.0.0.7",
                secure_transport=secure,
                service_context={key.lower(): value for key, value in given.items()},
            ),
            service,
            identity if role else ["nothing"],
            boundary,
            self._resource_policy(action, resource),
            endpoint if "network" in row.flags else None,
        )
