"""The private network by hand, with Terraform alone: the function joins it, works in it and leaves it.

test_going_back.py does the same with deploy.sh.
"""

from collections.abc import Mapping
from pathlib import Path

from by_hand import BOTH, PRIVATE, changes, is_false_drift, terraform, variables
from local_aws.process import LocalAws
from pipeline import RECORDS, Pipeline
from scanner import cloudsplaining

# What cloudsplaining is told to leave out: Lambda does it as the role, on interfaces whose names nobody can foresee.
# The function's own code is denied it.
ONLY_LAMBDA = [
    *("ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"),
    *("ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
]


def networks(dev: Pipeline) -> list[str]:
    tag = {"Name": "tag:Name", "Values": ["ikerian-data-pipeline"]}
    return [network["VpcId"] for network in dev.client("ec2").describe_vpcs(Filters=[tag])["Vpcs"]]


def networks_of_function(dev: Pipeline) -> list[str]:
    """Return the network of the version that uploads start, empty for none."""
    live = dev.functions.get_function_configuration(FunctionName=dev.function, Qualifier="live")
    return [network for network in [live["VpcConfig"]["VpcId"]] if network]


def apply(aws: LocalAws, environments: Mapping[str, object]) -> str:
    return terraform(aws, "apply", "-input=false", "-auto-approve", "-no-color", variables(aws, environments)).stdout


def touched(aws: LocalAws, environments: Mapping[str, object]) -> list[str]:
    _, planned = changes(aws, variables(aws, environments))
    return [address for address in planned if not is_false_drift(address)]


def test_the_function_joins_uses_and_leaves_its_private_network(
    both: dict[str, Pipeline], aws: LocalAws, tmp_path: Path
) -> None:
    dev, private = both["dev"], BOTH | {"dev": PRIVATE}
    warning = "The network of ikerian-data-pipeline-data-processor is new"
    assert warning in " ".join(apply(aws, private).split())
    assert networks_of_function(dev) == []
    assert warning not in " ".join(apply(aws, private).split())
    assert networks_of_function(dev) == networks(dev) != []
    assert touched(aws, private) == []
    (network,) = networks(dev)
    subnets = dev.client("ec2").describe_subnets(Filters=[{"Name": "vpc-id", "Values": [network]}])["Subnets"]
    assert sorted(subnet["AvailabilityZone"] for subnet in subnets) == ["us-east-1a", "us-east-1b"]
    dev.await_result("private.json", dev.upload("private.json", RECORDS))
    assert cloudsplaining(dev, tmp_path, *ONLY_LAMBDA) == "There were no results found.\n"

    lines = apply(aws, BOTH).splitlines()
    assert networks_of_function(dev) == networks(dev) == []
    assert touched(aws, BOTH) == []
    dev.await_result("private.json", dev.upload("private.json", RECORDS))

    def positions(part: str, event: str) -> list[int]:
        return [number for number, line in enumerate(lines) if f".{part}" in line and f": {event}" in line]

    (left,) = positions("aws_lambda_alias.live", "Modifications complete")
    assert left < min(positions("module.network[0]", "Destroying"))
    (forbidden,) = positions("aws_iam_role_policy.network[0]", "Destroying")
    for part in ("aws_subnet.private", "aws_security_group.function"):
        assert max(positions(part, "Destruction complete")) < forbidden
