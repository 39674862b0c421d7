"""The emulator, mended where it does less than AWS and the pipeline needs it. local_aws.py starts it.

Events that S3 sends to an alias: the emulator looks for the destination of failed ones with the function alone, and
would lose them. In AWS an alias has its own (Lambda developer guide, "Configuring error handling settings for
asynchronous invocations").
"""

from typing import Any

from ministack.app import app as app
from ministack.services import lambda_svc

_invoke = lambda_svc.invoke_async_with_retry


def _invoke_alias(function: dict[str, Any], event: dict[str, Any]) -> None:
    config = function["config"]
    base = lambda_svc._functions[config["FunctionName"]]
    for name, alias in base["aliases"].items():
        if alias["FunctionVersion"] == config["Version"]:
            function = function | {"event_invoke_config": base["event_invoke_configs"].get(name)}
    _invoke(function, event)


lambda_svc.invoke_async_with_retry = _invoke_alias
