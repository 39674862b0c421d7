"""The private network comes, the function works in it, and it goes."""

from pathlib import Path

from conftest import BOTH, RECORDS, Pipeline, terraform, variables
from local_aws.process import LocalAws
from test_permissions import cloudsplaining

# What cloudsplaining is told to leave out: Lambda does it as the role, on interfaces whose names nobody can foresee.
# The function's own code is denied it.
ONLY_LAMBDA = [
    *("ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"),
    *("ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
]
PRIVATE = {"private_network": {"availability_zones": ["us-east-1a", "us-east-1b"]}}


def networks(dev: Pipeline) -> list[str]:
    tag = {"Name": "tag:Name", "Values": ["ikerian-data-pipeline"]}
    return [network["VpcId"] for network in dev.client("ec2").describe_vpcs(Filters=[tag])["Vpcs"]]


def test_the_function_works_in_a_private_network_which_can_be_removed(
    both: dict[str, Pipeline], aws: LocalAws, tmp_path: Path
) -> None:
    dev = both["dev"]
    terraform(aws, "apply", "-input=false", "-auto-approve", variables(aws, BOTH | {"dev": PRIVATE}))
    (network,) = networks(dev)
    subnets = dev.client("ec2").describe_subnets(Filters=[{"Name": "vpc-id", "Values": [network]}])["Subnets"]
    assert sorted(subnet["AvailabilityZone"] for subnet in subnets) == ["us-east-1a", "us-east-1b"]
    # That the function is in it the local AWS does not show; tests/terraform compares its subnets.
    dev.await_result("private.json", dev.upload("private.json", RECORDS))
    assert cloudsplaining(dev, tmp_path, *ONLY_LAMBDA) == "There were no results found.\n"

    # The local AWS cannot read an egress rule to a prefix list back, so Terraform goes by its state.
    terraform(aws, "apply", "-input=false", "-auto-approve", "-refresh=false", variables(aws, BOTH))
    assert networks(dev) == []
    dev.await_result("private.json", dev.upload("private.json", RECORDS))
