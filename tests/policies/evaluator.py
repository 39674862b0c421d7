"""The evaluator of policies: that of the local AWS (ministack), called by itself.

It takes identity and resource policies and boundaries, and honours their conditions; test_evaluator.py holds it to the
rules of IAM's documentation. moto's knows one operator of conditions, and no package on PyPI does more than to analyse
policies as text. It does not know NotPrincipal, which no policy here uses.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Last, so that nothing else comes from there: that environment holds the local AWS, and what a function finds on AWS.
sys.path.extend(str(folder) for folder in (ROOT / ".venv/local-aws").glob("lib/python3*/site-packages"))

from ministack.core import iam_evaluator as iam  # noqa: E402 - it is found there

_value = iam._resolve_condition_key


def _value_in_request(key: str, context: iam.EvalContext) -> Any:
    given = context.service_context
    return given[key.lower()] if key.lower() in given else _value(key, context)


# It takes each bucket for one of whoever asks, because its ARN names no account. A request here may say whose it is.
iam._resolve_condition_key = _value_in_request

__all__ = ["iam"]
