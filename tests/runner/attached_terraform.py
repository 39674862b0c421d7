"""Terraform as the tests call it: attached to a provider of providers.py, which runs already."""

import json
import os
import socket
import sys

NEED_NO_PROVIDER = {"fmt", "version"}


def main() -> None:
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "version")
    folders = [word.removeprefix("-chdir=") for word in sys.argv[1:] if word.startswith("-chdir=")]
    pool = os.environ.get("TERRAFORM_PROVIDERS")  # a test takes it away, to start the provider as everybody does
    if pool and command not in NEED_NO_PROVIDER and "TF_REATTACH_PROVIDERS" not in os.environ:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(pool)
        request = {"root": os.path.realpath(folders[0] if folders else "."), "environment": dict(os.environ)}
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(connection.makefile("rb").readline())
        if "error" in answer:
            sys.exit(f"error: {answer['error']}")
        os.environ.update(answer)
        # The provider is Terraform's for as long as this stays open, which is until Terraform ends.
        os.set_inheritable(connection.fileno(), True)
    os.execv(os.environ["TERRAFORM"], ["terraform", *sys.argv[1:]])  # noqa: S606 - no shell is wanted


main()
