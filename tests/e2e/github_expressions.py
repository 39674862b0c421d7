"""An interpreter of the expressions in workflows, as far as this repository uses them."""

import re
from collections.abc import Mapping
from typing import Any

Context = Mapping[str, str]


def value(expression: str, context: Context) -> Any:
    """Evaluate an expression of a workflow. A name that is not in the context is empty, as on GitHub."""
    words = re.sub(r"[a-z]+(?:\.[\w-]+)+(?=(?:[^']*'[^']*')*[^']*$)", lambda name: f"get({name[0]!r}, '')", expression)
    python = words.replace("&&", " and ").replace("||", " or ")
    return eval(python, {"__builtins__": {}, "get": context.get})  # noqa: S307  our own files


def text(template: Any, context: Context) -> str:
    """Fill in the expressions of a text."""

    def filled(found: re.Match[str]) -> str:
        result = value(found[1], context)
        return str(result).lower() if isinstance(result, bool) else str(result)

    return re.sub(r"\$\{\{ *(.*?) *\}\}", filled, str(template))
