"""IAM users who call the pipeline: with hardly any permission, with one action, or with the policy for a person."""

import contextlib
import json
from collections.abc import Iterator

from pipeline import Pipeline


def policy_for(pipeline: Pipeline, person: str) -> str:
    """Return the ARN of the policy for an uploader, a reader or an eraser."""
    return f"arn:aws:iam::000000000000:policy/{pipeline.outputs['dashboard_name']}-{person}"


@contextlib.contextmanager
def user(
    pipeline: Pipeline, action: str = "sts:GetCallerIdentity", called: str = "somebody"
) -> Iterator[dict[str, str]]:
    """Make a user with one permission, by default one that everybody has; yield the environment of their shell."""
    name, policy = {"UserName": called}, {"PolicyName": "action"}
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    pipeline.iam.create_user(**name)
    pipeline.iam.put_user_policy(**name, **policy, PolicyDocument=document)
    key = pipeline.iam.create_access_key(**name)["AccessKey"]
    try:
        yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    finally:
        pipeline.iam.delete_access_key(**name, AccessKeyId=key["AccessKeyId"])
        pipeline.iam.delete_user_policy(**name, **policy)
        pipeline.iam.delete_user(**name)


@contextlib.contextmanager
def holder(pipeline: Pipeline, person: str) -> Iterator[dict[str, str]]:
    """Make a user who also has the policy for such a person; yield the environment of their shell."""
    attachment = {"UserName": person, "PolicyArn": policy_for(pipeline, person)}
    with user(pipeline, called=person) as environment:
        pipeline.iam.attach_user_policy(**attachment)
        try:
            yield environment
        finally:
            pipeline.iam.detach_user_policy(**attachment)
