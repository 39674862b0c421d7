"""Properties of the Terraform files themselves, which no plan shows."""

from __future__ import annotations

import re

import pytest
from parts import ROOT

# A resource that opens a way in or out is not seen in the others. So these are all that there are, by module.
KNOWN = """
    iam: aws_iam_role.execution aws_iam_role_policy.execution aws_iam_role_policy.network
    kms: aws_kms_alias.this aws_kms_key.this
    lambda: aws_cloudwatch_log_group.this aws_lambda_alias.live aws_lambda_function.this
      aws_lambda_function_event_invoke_config.this
    layers: aws_lambda_layer_version.this
    monitoring: aws_cloudwatch_dashboard.this aws_cloudwatch_metric_alarm.nothing_processed
      aws_cloudwatch_metric_alarm.this aws_cloudwatch_query_definition.this aws_s3_bucket_metric.uploads
    names:
    network: aws_default_security_group.this aws_route_table.private aws_route_table_association.private
      aws_security_group.function aws_subnet.private aws_vpc.this aws_vpc_endpoint.s3
      aws_vpc_security_group_egress_rule.s3 terraform_data.zones
    pipeline: aws_lambda_event_source_mapping.queue aws_lambda_permission.s3 aws_s3_bucket_notification.raw
      aws_s3_bucket_notification.rejected terraform_data.bucket_suffix
    queue: aws_sqs_queue.dead_letter aws_sqs_queue.ingestion
    s3: aws_s3_bucket.this aws_s3_bucket_lifecycle_configuration.this aws_s3_bucket_logging.this
      aws_s3_bucket_object_lock_configuration.this aws_s3_bucket_ownership_controls.this aws_s3_bucket_policy.this
      aws_s3_bucket_public_access_block.this aws_s3_bucket_server_side_encryption_configuration.this
      aws_s3_bucket_versioning.this
    topic: aws_sns_topic.this aws_sns_topic_policy.this aws_sns_topic_subscription.email
"""


def test_no_module_has_a_resource_that_no_test_knows() -> None:
    known = {module: set(words.split()) for module, words in re.findall(r"(\w+):((?:\s+\w+\.\w+)*)", KNOWN)}
    found: dict[str, set[str]] = {}
    for file in ROOT.glob("modules/*/*.tf"):
        resources = re.findall(r'^resource "(\w+)" "(\w+)"', file.read_text(), re.MULTILINE)
        found.setdefault(file.parent.name, set()).update(map(".".join, resources))
    assert found == known


@pytest.mark.parametrize(("environment", "file"), [("dev", "backend.hcl"), ("prod", "prod-backend.hcl")])
def test_each_state_is_encrypted_and_locked_and_its_environments_own(environment: str, file: str) -> None:
    settings = dict(re.findall(r"^(\w+) += (.*)$", (ROOT / "env" / file).read_text(), re.MULTILINE))
    assert settings == {
        "key": f'"{environment}/terraform.tfstate"',
        "region": '"us-east-1"',
        "encrypt": "true",
        "use_lockfile": "true",
    }
