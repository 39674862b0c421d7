"""The private network comes, the function works in it, and it goes."""

from conftest import BOTH, RECORDS, Pipeline, terraform, variables
from local_aws import LocalAws

PRIVATE = {"private_network": {"availability_zones": ["us-east-1a", "us-east-1b"]}}


def networks(dev: Pipeline) -> list[str]:
    tag = {"Name": "tag:Name", "Values": ["ikerian-data-pipeline"]}
    return [network["VpcId"] for network in dev.client("ec2").describe_vpcs(Filters=[tag])["Vpcs"]]


def test_the_function_works_in_a_private_network_which_can_be_removed(both: dict[str, Pipeline], aws: LocalAws) -> None:
    dev = both["dev"]
    terraform(aws, "apply", "-input=false", "-auto-approve", variables(aws, BOTH | {"dev": PRIVATE}))
    (network,) = networks(dev)
    subnets = dev.client("ec2").describe_subnets(Filters=[{"Name": "vpc-id", "Values": [network]}])["Subnets"]
    assert sorted(subnet["AvailabilityZone"] for subnet in subnets) == ["us-east-1a", "us-east-1b"]
    dev.await_result("private.json", dev.upload("private.json", RECORDS))

    # The local AWS cannot read an egress rule to a prefix list back, so Terraform goes by its state.
    terraform(aws, "apply", "-input=false", "-auto-approve", "-refresh=false", variables(aws, BOTH))
    assert networks(dev) == []
    dev.await_result("private.json", dev.upload("private.json", RECORDS))
