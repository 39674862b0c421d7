"""Say in one line what some of Terraform's errors mean: terraform_errors.py TARGET VERB ENV <ERRORS.

TARGET is what Terraform worked on, an environment or bootstrap; VERB is what ./deploy.sh was asked to do with it. Known
are a lock that somebody holds, and a saved plan that something has overtaken. Of all others it says nothing.
"""

import re
import sys

COLOURS, FRAME = re.compile(r"\x1b\[[0-9;]*m"), re.compile(r"^[╷│╵ ]+", re.MULTILINE)


def meaning(errors: str, target: str, verb: str, environment: str) -> str:
    """Return what the errors mean and what to do; empty when they are of no known kind."""
    plain = FRAME.sub("", COLOURS.sub("", errors))
    lock = dict(re.findall(r"^(ID|Who|Created|Operation): +(.+)$", plain, re.MULTILINE))
    if "Error acquiring the state lock" in plain and "ID" in lock:
        option = " --bootstrap" if target == "bootstrap" else ""
        return (
            f"{target} is locked by {lock['Who']} since {lock['Created'][:19]} UTC ({lock['Operation']}). "
            f"Wait for that to end. If it has died: ./deploy.sh unlock {environment} {lock['ID']}{option}"
        )
    if "Saved plan is stale" in plain:
        return (
            f"the plan for {target} is out of date, as the state has changed since; nothing was done. "
            f"Plan anew: ./deploy.sh {verb} {environment}"
        )
    return ""


def main() -> None:
    """End with the meaning of the errors on standard input, if it is known."""
    if known := meaning(sys.stdin.read(), *sys.argv[1:]):
        sys.exit(f"error: {known}")


if __name__ == "__main__":
    main()
