"""What AWS knows when it authorizes a call and the emulator does not: names, mappings' functions, boundaries, branches.

The emulator evaluates these calls as calls on "*", so a policy that names the resource would deny them. AWS's Service
Authorization Reference says which resources and condition keys AWS evaluates.
"""

import json
import re
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import iam, lambda_svc, sts
from ministack.services.cognito import _decode_id_token_unverified

_LAYER_VERSION = re.compile(r"/layers/[^/]+/versions/([0-9]+)$")

_action = iam_actions.extract_iam_action
_resource_arn = iam_actions.extract_resource_arn
_request_context = iam_actions.request_tag_context
_enforce = iam_evaluator.enforce
_web_identity_principal = sts._web_identity_principal


def _action_of_request(service: str, method: str, path: str, headers: Any, body: bytes, params: Any) -> str | None:
    if service == "lambda" and (name := iam_actions._match_rest_action(service, method, path, params)):
        return "lambda:InvokeFunction" if name == "Invoke" else f"lambda:{name}"
    action: str | None = _action(service, method, path, headers, body, params)
    return action


def _named_resource_arn(
    service: str, method: str, path: str, headers: Any, body: bytes, params: Any, region: str, account: str
) -> str:
    found: str = _resource_arn(service, method, path, headers, body, params, region, account)
    if service == "lambda" and (version := _LAYER_VERSION.search(path)):
        return f"{found}:{version[1]}"
    if found != "*":
        return found

    if service == "lambda" and method == "POST" and path.rstrip("/").endswith("/functions"):
        return f"arn:aws:lambda:{region}:{account}:function:{iam_actions._safe_json_field(body, 'FunctionName')}"

    def asked(name: str) -> str:
        return str(iam_actions._query_param(params, name))

    if service in ("monitoring", "sns") and (arn := asked("ResourceARN") or asked("ResourceArn")):
        return arn
    if service == "monitoring" and (name := asked("DashboardName") or asked("DashboardNames.member.1")):
        return f"arn:aws:cloudwatch::{account}:dashboard/{name}"
    if service == "monitoring" and asked("Action") == "DeleteAlarms":
        return f"arn:aws:cloudwatch:{region}:{account}:alarm:{asked('AlarmNames.member.1')}"
    if service == "kms" and (name := iam_actions._safe_json_field(body, "AliasName")):
        return f"arn:aws:kms:{region}:{account}:{name}"
    return found


def _context_of_request(service: str, action: str, body: bytes, params: Any) -> dict[str, Any]:
    context: dict[str, Any] = _request_context(service, action, body, params)
    if action == "iam:CreateRole" or action == "iam:PutRolePermissionsBoundary":
        context["iam:PermissionsBoundary"] = iam_actions._query_param(params, "PermissionsBoundary") or None
    if action == "lambda:CreateEventSourceMapping":
        context["lambda:FunctionArn"] = json.loads(body)["FunctionName"]
    return context


def _enforce_with_resource_context(
    key: str, action: str, service: str, region: str, resource_arn: str = "*", service_context: Any = None
) -> Any:
    context = dict(service_context or {})
    name = resource_arn.rpartition(":")[2]
    if service == "iam" and (role := iam._roles.get(name.removeprefix("role/"))):
        context.setdefault("iam:PermissionsBoundary", role["PermissionsBoundary"] or None)
    if service == "lambda" and (mapping := lambda_svc._esms.get(name)):
        context.setdefault("lambda:FunctionArn", mapping["FunctionArn"])
    return _enforce(key, action, service, region, resource_arn=resource_arn, service_context=context)


def _principal_with_branch(token: str, provider_id: str, role_arn: str) -> Any:
    principal, keys = _web_identity_principal(token, provider_id, role_arn)
    claims = _decode_id_token_unverified(token)
    return principal, keys | {f"{claims['iss'].removeprefix('https://')}:ref": claims.get("ref")}


# The emulator knows only Lambda's most common calls by name; botocore knows all.
iam_actions._BOTOCORE_SERVICE_MAP["lambda"] = ["lambda"]
iam_actions.extract_iam_action = _action_of_request
iam_actions.extract_resource_arn = _named_resource_arn
iam_actions.request_tag_context = _context_of_request
iam_evaluator.enforce = _enforce_with_resource_context
sts._web_identity_principal = _principal_with_branch
