"""Hold what the .tf files say of AWS against the schemas of the provider's version 6, by Terraform itself.

version_6.py COMMAND runs a shell command, such as `terraform validate`, with Terraform attached to a stand-in for the
provider: it hands out the schemas that bindings.py reads, and finds every value right. So Terraform says which types,
arguments, blocks and attributes version 6 does not have, or has of another kind. Neither the behaviour of
version 6 nor its deprecations are tested.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bindings
import grpc
import hcl2

ROOT = Path(__file__).resolve().parents[2]
FILES = [file for pattern in ("*.tf", "bootstrap/*.tf", "modules/*/*.tf") for file in sorted(ROOT.glob(pattern))]
TERRAFORMS_OWN = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioner"}
READ = re.compile(r"\b((?:data\.)?aws_\w+)\.\w+(?:\[[^]]+\])?\.(\w+)")
NO_COMPLAINT = b""
QUESTIONS = ("PrepareProviderConfig", "ValidateResourceTypeConfig", "ValidateDataSourceConfig", "Stop")


class StandIn(grpc.GenericRpcHandler):  # type: ignore[misc] # has no types
    """A provider that knows schemas alone."""

    def __init__(self, schemas: bytes) -> None:
        self._answers = dict.fromkeys(QUESTIONS, NO_COMPLAINT) | {"GetSchema": schemas}

    def service(self, call: Any) -> Any:
        """Return the handler of a method: None, for unknown, where Terraform can do without."""
        answer = self._answers.get(call.method.rpartition("/")[2])
        return None if answer is None else grpc.unary_unary_rpc_method_handler(lambda *_: answer)


def run(command: str, schemas: bytes) -> int:
    """Run a shell command with Terraform attached to the stand-in. Return its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        server = grpc.server(ThreadPoolExecutor(), handlers=[StandIn(schemas)])
        server.add_insecure_port(f"unix:{folder}/provider")
        server.start()
        address = {"Network": "unix", "String": f"{folder}/provider"}
        attach = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True, "Addr": address}
        variables = {"TF_REATTACH_PROVIDERS": json.dumps({"registry.terraform.io/hashicorp/aws": attach})}
        code = subprocess.run(["bash", "-euc", command], env=os.environ | variables, check=False).returncode
        server.stop(grace=None)
        return code


def said() -> dict[str, tuple[set[str], set[str]]]:
    """Return the types that the files name, each with the arguments that they set and the attributes that they read."""
    found = defaultdict[str, tuple[set[str], set[str]]](lambda: (set(), set()))
    options = hcl2.SerializationOptions(strip_string_quotes=True, with_comments=False)
    for file in FILES:
        text = file.read_text()
        content = hcl2.loads(text, serialization_options=options)
        for kind, prefix in (("resource", ""), ("data", "data.")):
            for name, named in [pair for block in content.get(kind, []) for pair in block.items()]:
                (body,) = [body for body in named.values() if isinstance(body, dict)]
                if name.startswith("aws_"):
                    of_aws = {key: value for key, value in body.items() if key not in TERRAFORMS_OWN}
                    found[f"{prefix}{name}"][0].update(arguments(of_aws))
        for name, attribute in READ.findall(text):
            found[name][1].add(attribute)
    return found


def arguments(body: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the arguments and blocks of a block, with those of the blocks within."""
    for name, value in body.items():
        if name == "dynamic":
            for label, dynamic in [pair for each in value for pair in each.items() if isinstance(pair[1], dict)]:
                yield from arguments({label: dynamic["content"]}, path)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and "__is_block__" in value[0]:
            yield f"{path}{name}"
            for block in value:
                yield from arguments(block, f"{path}{name}.")
        elif name != "__is_block__":
            yield f"{path}{name}"


def main(command: str) -> int:
    """Say what is tested, and test it. Return the exit code."""
    types = said()
    schemas, version = bindings.schemas(bindings.installed(), {name.removeprefix("data.") for name in types})
    print(f"The .tf files set and read, by the schemas of version {version} of the AWS provider:")
    for name, (written, read) in sorted(types.items()):
        print(f"  {name}: {' '.join(sorted(written))}{f'; read: {" ".join(sorted(read))}' if read else ''}", flush=True)
    terraform = subprocess.run(["terraform", "version", "-json"], capture_output=True, text=True, check=True).stdout
    page = " ".join((ROOT / "tests/README.md").read_text().split())
    for tested in (f"Terraform {json.loads(terraform)['terraform_version']}", f"schemas of {version}"):
        if tested not in page:
            print(f"error: tests/README.md does not name {tested}, which this run tests. Correct the versions there.")
            return 1
    return run(command, schemas)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
