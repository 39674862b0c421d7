"""The verbs that change what is deployed, or show what would change. Each takes options and returns an exit code."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from commands import aws, build, drift_issue, github, plan, smoke, state
from commands.adopt import adoptable
from commands.environment import BOOTSTRAP, BOOTSTRAP_KEY, Environment, data_dir, names, siblings
from commands.settings import ROOT, read_settings
from commands.terminal import Refused, confirm, say, step
from commands.terraform import Terraform, check_version

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from commands.aws import Account

PACKAGES = ROOT / "build"


@dataclass(frozen=True)
class Run:
    """The target of a run, resolved once. packages: the folder to build them in; log: where output goes, if set."""

    environment: Environment
    account: Account
    verb: str
    unlock: str = ""  # the command that releases a lock, if it is not the verb of that name
    packages: Path = PACKAGES
    log: Path | None = None
    provider: str = ""  # how Terraform attaches to a running one, if it is not to start its own

    @classmethod
    def on(cls, options: argparse.Namespace, *, deployed: bool = True) -> Run:
        """Resolve the rest. Raises Refused; with `deployed`, also when the account has no state bucket."""
        environment: Environment = options.environment
        check_version()
        keep_others_out()
        run = cls(environment, aws.connect(environment), options.verb)
        # Checked in any case: nothing is done in a bucket of this name that belongs to somebody else.
        if not state.has_bucket(environment, run.account) and deployed:
            raise state.never_deployed(environment, run.account)
        return run

    def terraform(self) -> Terraform:
        """Return Terraform on the environment."""
        name = self.environment.name
        retry = "./deploy.sh local" if self.verb == "local" else f"./deploy.sh {self.verb} {name}"
        variables = [f"-var-file={ROOT / self.environment.variables_file}"]
        if self.packages != PACKAGES:
            variables.append(f"-var=packages_dir={self.packages.relative_to(ROOT)}")
        return Terraform(
            target=name,
            root=ROOT,
            data_dir=data_dir(),
            account=self.account,
            backend=[f"-backend-config={ROOT / self.environment.backend_file}", self._bucket],
            variables=variables,
            state=f"s3://{self.environment.state_bucket(self.account.id)}/{self.environment.state_key}",
            retry=retry,
            replan=f"./deploy.sh plan {name}" if self.verb == "apply" else retry,
            unlock=self.unlock or f"./deploy.sh unlock {name} {{id}}",
            log=self.log,
            provider=self.provider,
        )

    def bootstrap(self) -> Terraform:
        """Return Terraform on what the account needs once."""
        values = self.bootstrap_variables()
        return Terraform(
            target="bootstrap",
            root=BOOTSTRAP,
            data_dir=data_dir(BOOTSTRAP),
            account=self.account,
            backend=[f"-backend-config=region={self.account.region}", self._bucket],
            variables=[
                f"-var-file={ROOT / 'env/bootstrap.tfvars'}",
                *(f"-var={name}={one if isinstance(one, str) else json.dumps(one)}" for name, one in values.items()),
            ],
            state=f"s3://{self.environment.state_bucket(self.account.id)}/{BOOTSTRAP_KEY}",
            retry=f"./deploy.sh bootstrap {self.environment.name}",
            replan=f"./deploy.sh bootstrap {self.environment.name}",
            unlock=f"./deploy.sh unlock {self.environment.name} {{id}} --bootstrap",
            precious="the state bucket or what GitHub signs in with",
            log=self.log,
        )  # fmt: skip

    def bootstrap_variables(self) -> dict[str, Any]:
        """Return the variables of bootstrap that come from the environments."""
        return {
            "project_name": self.environment.project_name,
            "region": self.account.region,
            "environments": siblings(self.account.id),
        }

    @property
    def _bucket(self) -> str:
        return f"-backend-config=bucket={self.environment.state_bucket(self.account.id)}"

    def _report(self, line: str) -> None:
        if self.log:
            with self.log.open("a") as log:
                log.write(f"{line}\n")
        else:
            print(line, flush=True)

    def build(self) -> None:
        """Build the packages."""
        with step("Build packages", self.log):
            build.build(self.packages, for_this_machine=self.packages != PACKAGES, report=self._report)


_locks: list[int] = []  # held until this process ends


def keep_others_out() -> None:
    """Raise Refused while another command works in this checkout: one would plan against the other's state."""
    if _locks:
        return
    data_dir().mkdir(parents=True, exist_ok=True)
    lock = os.open(data_dir() / "commands.lock", os.O_CREAT | os.O_WRONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Refused(
            "another command is running in this checkout. Wait for it to finish, or use another clone."
        ) from None
    _locks.append(lock)


def show_plan(run: Run, terraform: Terraform, *options: str) -> plan.Summary:
    """Plan, show a summary, and return it. Raises Refused when Terraform planned with other settings."""
    planned = terraform.plan(*options)
    if terraform.root == BOOTSTRAP:
        resolved = read_settings(ROOT / "env/bootstrap.tfvars", BOOTSTRAP / "variables.tf") | run.bootstrap_variables()
    else:
        names = ("project_name", "region")
        resolved = {name: run.environment.variable(name) for name in names} | run.environment.settings
    refuse_other_plan(terraform, planned, resolved)
    with step("Summary", run.log):
        summary = plan.summary(planned, terraform.target)
        if not run.log:
            summary.show()
    return summary


def refuse_other_plan(terraform: Terraform, planned: dict[str, Any], resolved: dict[str, Any]) -> None:
    """Delete a saved plan and raise Refused when it was made with values other than those that were resolved."""
    if names := plan.other_variables(planned, resolved):
        terraform.forget_plan()
        raise Refused(
            f"the plan for {terraform.target} has values of {' and '.join(names)} that differ from env/; "
            f"nothing was changed. Plan again: {terraform.replan}"
        )


def change(run: Run, terraform: Terraform, summary: plan.Summary, *, data_loss: bool) -> None:
    """Apply the saved plan, unless it deletes what must stay and nobody has agreed to that. Raises Refused.

    If the plan has only the modules that must come first, the rest is planned and applied afterwards.
    """
    if summary.lost and not data_loss:
        for line in summary.lost:
            say(line)
        if os.environ.get("CI") or not sys.stdin.isatty():
            raise Refused(
                f"this plan deletes {terraform.precious}, so nothing was changed. If this is intended, run: "
                f"{terraform.retry} --allow-data-loss"
            )
        confirm(f"This deletes {terraform.precious} for good.", terraform.target)
    with summary.leaving.meanwhile(run.account):
        terraform.apply()
    if summary.first or summary.again:
        change(run, terraform, show_plan(run, terraform), data_loss=data_loss)


def finish(run: Run) -> None:
    """Smoke-test what was deployed, and show where it is."""
    for pipeline in state.pipelines(run.environment, run.account):
        smoke.test(pipeline)
        print(
            f"\n{pipeline.name} is deployed.\n"
            f"  uploads    {pipeline.raw}\n"
            f"  results    {pipeline.processed}\n"
            f"  function   {pipeline.function}\n"
            f"  dashboard  {pipeline.dashboard}\n"
            f"Upload a file: aws s3 cp ikerian_sample.json s3://{pipeline.raw}/",
            flush=True,
        )


def build_packages(_: argparse.Namespace) -> int:
    """Build the packages of function and layer into build/."""
    build.build(PACKAGES)
    return 0


def bootstrap(options: argparse.Namespace) -> int:
    """Make or update what an account needs once: state bucket, roles."""
    bootstrap_account(Run.on(options, deployed=False), data_loss=options.allow_data_loss)
    return 0


def bootstrap_account(run: Run, *, data_loss: bool) -> None:
    """Make the state bucket, bare at first; its own module, whose state is in it, then imports and completes it."""
    given = read_settings(ROOT / "env/bootstrap.tfvars", BOOTSTRAP / "variables.tf")
    if twice := sorted(given.keys() & run.bootstrap_variables().keys()):
        raise Refused(
            f"env/bootstrap.tfvars sets {twice[0]}, which comes from the files of the environments. Remove it there."
        )
    for setting in ("key_prefixes", "disposable_environments"):
        if unknown := sorted(set(given.get(setting) or ()) - set(names())):
            raise Refused(
                f"env/bootstrap.tfvars names {unknown[0]} in {setting}, and env/ has no environment of that name, only "
                f"{', '.join(names())}. Correct it."
            )
    if settings := given.get("github"):
        github.check_subjects(settings, f"./deploy.sh bootstrap {run.environment.name}")
    with step(f"Make the state bucket {run.environment.state_bucket(run.account.id)}", run.log):
        state.make_bucket(run.environment, run.account)
    terraform = run.bootstrap()
    terraform.init()
    change(run, terraform, show_plan(run, terraform), data_loss=data_loss)


def plan_environment(options: argparse.Namespace) -> int:
    """Show what a deploy would change, and keep the plan for apply."""
    run = Run.on(options)
    plan_to_apply(run, "-lock=false")  # it changes nothing, and whoever plans may not be allowed to lock
    print(f"\nTo apply exactly this: ./deploy.sh apply {run.environment.name}")
    return 0


def apply(options: argparse.Namespace) -> int:
    """Apply exactly what the last plan showed."""
    run = Run.on(options)
    terraform = run.terraform()
    name = run.environment.name
    if not terraform.plan_file.exists():
        raise Refused(f"there is no saved plan for {name}. Make one: ./deploy.sh plan {name}")
    terraform.init()
    saved = terraform.plan_of_this_state()
    # Settings may have been edited since the plan, but not the project, the region or the environments' names.
    here = {name: run.environment.variable(name) for name in ("project_name", "region")}
    refuse_other_plan(terraform, saved, here | {"environments": dict.fromkeys(run.environment.entries)})
    change(run, terraform, plan.summary(saved, name), data_loss=options.allow_data_loss)
    finish(run)
    return 0


def deploy(options: argparse.Namespace) -> int:
    """Build, plan, apply, and try it."""
    run = Run.on(options, deployed=False)
    if not state.is_bootstrapped(run.environment, run.account):
        bootstrap_account(run, data_loss=options.allow_data_loss)
    apply_new_plan(run, data_loss=options.allow_data_loss)
    finish(run)
    return 0


def apply_new_plan(run: Run, *, data_loss: bool) -> None:
    """Build, plan and apply an environment whose state bucket exists."""
    terraform, summary = plan_to_apply(run)
    change(run, terraform, summary, data_loss=data_loss)


def plan_anew(run: Run, *options: str) -> tuple[Terraform, plan.Summary]:
    """Build, plan an environment whose state bucket exists, show a summary, and return Terraform and the summary."""
    run.build()
    terraform = run.terraform()
    terraform.init()
    return terraform, show_plan(run, terraform, *options)


def plan_to_apply(run: Run, *options: str) -> tuple[Terraform, plan.Summary]:
    """Do the same, and leave a saved plan that can be applied.

    If a network is created for an existing function, the saved plan has that network alone: with both in one plan, the
    provider would leave the function outside or, if more of it changes, fail halfway.
    """
    terraform, summary = plan_anew(run, *options)
    if summary.first:
        terraform.plan(*options, *(f"-target={module}" for module in summary.first))
    return terraform, summary


def drift(options: argparse.Namespace) -> int:
    """Report whether AWS has drifted from the code. Raises Refused if it has."""
    run = Run.on(options)
    terraform, summary = plan_anew(run, "-lock=false")
    terraform.forget_plan()
    if options.issue:
        print(drift_issue.keep(run.environment.name, summary.text() if summary.changes else ""), flush=True)
    if summary.changes:
        restore = f"./deploy.sh deploy {run.environment.name}"
        raise Refused(f"AWS has drifted from the code: the differences are above. To restore it: {restore}")
    return 0


def destroy(options: argparse.Namespace) -> int:
    """Remove an environment."""
    run = Run.on(options)
    environment = run.environment
    # Every pipeline of the state counts, not only those that the file names: destroy removes all that the state holds.
    kept = [each.name for each in state.pipelines(environment, run.account) if not each.force_destroy]
    if kept:
        raise Refused(
            f"{' and '.join(kept)} keeps its data. To delete that too, set force_destroy = true in "
            f"{environment.variables_file}, run ./deploy.sh deploy {environment.name}, and destroy again."
        )
    terraform = run.terraform()
    terraform.init()
    if not options.yes:
        if not sys.stdin.isatty():
            raise Refused(
                "destroy asks for the environment's name, and there is no terminal. To answer it beforehand: "
                f"./deploy.sh destroy {environment.name} --yes"
            )
        confirm(f"This deletes the {environment.name} environment with all its data.", environment.name)
    terraform.destroy()
    return 0


def unlock(options: argparse.Namespace) -> int:
    """Release the lock of a killed deploy, and import what it created last. Can be repeated."""
    run = Run.on(options)
    if options.bootstrap:
        terraform = run.bootstrap()
    else:
        run.build()
        terraform = run.terraform()
    terraform.init()
    if not terraform.force_unlock(options.id):
        print(f"{terraform.target} is not locked.", flush=True)
    show_plan(run, terraform)
    for address, import_id in list(adoptable(terraform.saved_plan(), run.account)):
        terraform.adopt(address, import_id)
    terraform.forget_plan()
    return 0
