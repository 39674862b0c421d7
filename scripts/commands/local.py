"""./deploy.sh local: the whole pipeline on this machine, deployed by the real Terraform to the local AWS."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import python_env
from local_aws import provider
from local_aws.process import LocalAws, is_foreign, port_from_environment

from commands import sample, state
from commands.deploy import Run, apply_new_plan
from commands.environment import Environment, data_dir
from commands.settings import ROOT
from commands.terraform import check_version

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def local(options: argparse.Namespace) -> int:
    """Deploy to the local AWS and process the sample. Then stop it, unless it is to be kept or was already running."""
    aws, began = LocalAws(port_from_environment()), time.monotonic()
    if not options.stop:
        check_version()  # before anything is installed
    python_env.make(ROOT / ".venv/local-aws", ROOT / "scripts/local_aws/requirements.txt")
    exports = settings_for_a_shell(aws)
    use(aws)
    if options.stop:
        aws.stop()
        return 0
    provider.install()
    started, kept = aws.start(), False
    try:
        run_sample(aws, options)
        print(f"In all: {time.monotonic() - began:.0f} s")
        kept = options.keep
    finally:
        if started and not kept:
            aws.stop()
    if kept:
        print(
            f"\nThe local AWS keeps running. To use it from a shell in this folder:\n\n{exports}\n\n"
            "  aws s3 cp ikerian_sample.json s3://$(terraform output -raw raw_data_bucket_name)/\n"
            "  aws s3 ls s3://$(terraform output -raw processed_data_bucket_name)/\n\n"
            "Stop it with ./deploy.sh local --stop",
            flush=True,
        )
    return 0


def run_sample(aws: LocalAws, options: argparse.Namespace) -> None:
    """Deploy env/local.tfvars and send the sample through. Steps say how long they took; their output is in a log."""
    log = aws.folder / "terraform/deploy.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    options.environment = Environment.read("local")
    run = Run.on(options, deployed=False)
    run = replace(run, log=log, unlock=f"rm -r {shlex.quote(str(aws.folder))}")
    # The emulator runs functions on this machine. If it is not like Lambda's, Lambda's packages would not load.
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        run = replace(run, packages=ROOT / ".local/build")
    state.make_bucket(run.environment, run.account)  # bare: nobody else can reach it
    with attached(run) as run:
        apply_new_plan(run, data_loss=False)
    (pipeline,) = state.pipelines(run.environment, run.account)
    sample.run(pipeline)


@contextlib.contextmanager
def attached(run: Run) -> Iterator[Run]:
    """Start the provider once for all Terraform commands: starting it for each would take longer than the work."""
    executable = provider.executable(data_dir())
    if not executable:
        run.terraform().init("Install the AWS provider")
        executable = provider.executable(data_dir())
    if not executable:
        yield run
        return
    types = provider.types_in(ROOT) | state.resource_types(run.environment, run.account)
    log = data_dir() / "provider.log"
    started = provider.Provider.start(executable, types, root=ROOT, environment=dict(os.environ), log=log)
    try:
        yield replace(run, provider=started.attach)
    finally:
        started.stop()


def use(aws: LocalAws) -> None:
    """Let this process, and what it starts, reach the local AWS and no other, whatever the caller has set."""
    environment = aws.full_environment()
    os.environ.clear()
    os.environ.update(environment)


def settings_for_a_shell(aws: LocalAws) -> str:
    """Return the lines that do the same as `use` in a shell."""
    foreign = sorted(name for name in os.environ if is_foreign(name) and name not in aws.environment())
    unset = [f"unset {' '.join(foreign)}"] if foreign else []
    return "\n".join(unset + [f"export {name}={shlex.quote(value)}" for name, value in aws.environment().items()])
