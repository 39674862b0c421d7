"""The handler's module, for the commands that run its code."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from commands.settings import ROOT
from commands.terminal import Refused

if TYPE_CHECKING:
    from types import ModuleType


def load(who: str) -> ModuleType:
    """Return the handler's module, whatever AWS settings there are: the client that it makes is not used.

    who: the command or option that needs it. Raises Refused where the handler's packages are missing.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AWS_", "POWERTOOLS_")):
            del os.environ[name]
    os.environ |= {
        "PROCESSED_BUCKET": "none",
        "REJECTED_BUCKET": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module("lambda_function")
    except ImportError as error:
        raise Refused(f"{who} runs the function's own code, which needs {error.name}. Install it.") from None
    finally:
        os.environ.clear()
        os.environ.update(before)
