"""Add what the emulator leaves out when it describes a private network: a rule's prefix list, an endpoint's policy.

Otherwise Terraform would report both as drift in every plan.
"""

import re
from typing import Any

from ministack.services import ec2

_permissions = ec2._parse_ip_permissions
_rule_xml = ec2._sg_rule_xml
_endpoint_xml = ec2._vpce_fields_xml
_create_endpoint = ec2._create_vpc_endpoint


def _permissions_with_prefix_list(params: Any, prefix: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = _permissions(params, prefix)
    for number, rule in enumerate(rules, 1):
        asked = f"{prefix}.{number}.PrefixListIds.1"
        if found := ec2._p(params, f"{asked}.PrefixListId"):
            rule["PrefixListIds"] = [{"PrefixListId": found, "Description": ec2._p(params, f"{asked}.Description")}]
    return rules


def _rule_xml_with_prefix_list(group: str, rule: dict[str, Any], is_egress: bool = False) -> str:
    xml: str = _rule_xml(group, rule, is_egress)
    for found in rule["PrefixListIds"]:
        xml = xml.replace("</groupId>", f"</groupId><prefixListId>{found['PrefixListId']}</prefixListId>", 1)
    return xml


def _endpoint_xml_with_policy(endpoint: dict[str, Any], tag: str = "item") -> str:
    policy = f"<policyDocument>{ec2._esc(endpoint.get('PolicyDocument', ''))}</policyDocument>"
    xml: str = _endpoint_xml(endpoint, tag)
    return xml.removesuffix(f"</{tag}>") + f"{policy}</{tag}>"


def _create_endpoint_with_policy(params: Any) -> Any:
    status, headers, body = _create_endpoint(params)
    if found := re.search("<vpcEndpointId>(.+)</vpcEndpointId>", body.decode()):
        ec2._vpc_endpoints[found[1]]["PolicyDocument"] = ec2._p(params, "PolicyDocument")
    return status, headers, body


ec2._parse_ip_permissions = _permissions_with_prefix_list
ec2._sg_rule_xml = _rule_xml_with_prefix_list
ec2._vpce_fields_xml = _endpoint_xml_with_policy
ec2._ACTION_MAP["CreateVpcEndpoint"] = _create_endpoint_with_policy
