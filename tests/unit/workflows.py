"""The workflows as GitHub reads them: their expressions, which jobs run, and what signs in to AWS."""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from commands.settings import ROOT


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / ".github" / path).read_text())


WORKFLOWS: dict[str, Any] = {path.stem: load(f"workflows/{path.name}") for path in ROOT.glob(".github/workflows/*.yml")}
SETUP = load("actions/setup/action.yml")
Context = Mapping[str, str]

# What is set up, and where a pull request comes from.
TWO_SECRETS = {"secrets.AWS_ACCESS_KEY_ID": "test", "secrets.AWS_SECRET_ACCESS_KEY": "test"}
PROD_TOO = TWO_SECRETS | {"vars.DEPLOY_PROD": "true"}
REPOSITORY = "acme/pipeline"
OWN_BRANCH = {"github.repository": REPOSITORY, "github.event.pull_request.head.repo.full_name": REPOSITORY}


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


def jobs_that_run(workflow: str, context: Context) -> list[str]:
    """Return the names of a workflow's jobs that run, in an order in which they can."""
    runs: list[str] = []
    jobs = WORKFLOWS[workflow]["jobs"]
    while ready := [
        name
        for name, job in jobs.items()
        if name not in runs and {job.get("needs")} <= {None, *runs} and value(job.get("if", "True"), context)
    ]:
        runs += ready
    return runs


def setup_inputs(step: Any, context: Context) -> dict[str, str]:
    """Return what a step that sets a job up passes on."""
    return {f"inputs.{name}": text(given, context) for name, given in step.get("with", {}).items()}


def credentials(inputs: Context) -> dict[str, str] | None:
    """Return the inputs of the action that takes credentials, or None when the set-up does not call it."""
    (step,) = [step for step in SETUP["runs"]["steps"] if "configure-aws-credentials" in step["uses"]]
    if not value(step["if"], inputs):
        return None
    return {name: text(given, inputs) for name, given in step["with"].items()}
