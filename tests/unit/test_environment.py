"""An environment: its files are the only settings, and anything else that Terraform would read is refused."""

from pathlib import Path

import pytest
from commands import environment
from commands.environment import Environment, holding, siblings
from commands.terminal import Refused

from tests.unit.checkout import backend, make

ACCOUNT = "123456789012"


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make(tmp_path, monkeypatch)


def refusal(name: str = "dev") -> str:
    with pytest.raises(Refused) as refused:
        Environment.read(name)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_the_environments_of_this_repository_are_sound() -> None:
    assert environment.names()
    for name in [*environment.names(), "local"]:
        read = Environment.read(name)
        assert read.state_bucket(ACCOUNT).endswith(f"-tfstate-{ACCOUNT}-{read.variable('region')}")


def test_an_environment_is_what_its_files_say(env: Path) -> None:
    dev = Environment.read("dev")
    assert (dev.region, dev.project_name, dev.state_key) == (
        "us-east-1",
        "ikerian-data-pipeline",
        "dev/terraform.tfstate",
    )
    assert (dev.entries, dev.accounts) == ({"dev": {}}, set())
    assert dev.state_bucket(ACCOUNT) == f"ikerian-data-pipeline-tfstate-{ACCOUNT}-us-east-1"


# Names


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (
            "object_lock_day = 30",
            "there is no setting object_lock_day in environments.dev; did you mean object_lock_days?",
        ),
        ("memory = 512", "there is no setting memory in environments.dev; did you mean memory_mb?"),
        ('alarm_email = "a@b.c"', "there is no setting alarm_email in environments.dev; did you mean alarm_emails?"),
        ("batchsize = 5", "there is no setting batchsize in environments.dev; did you mean batch_size?"),
        (
            'private_network = { zones = ["us-east-1a"] }',
            "there is no setting zones in environments.dev.private_network; known are availability_zones, cidr_block.",
        ),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_known_one(env: Path, setting: str, says: str) -> None:
    (env / "dev.tfvars").write_text(f"environments = {{ dev = {{ {setting} }} }}")
    assert refusal() == f"env/dev.tfvars: {says}"


def test_every_unknown_setting_is_named(env: Path) -> None:
    (env / "dev.tfvars").write_text('regoin = "eu-central-1"\nenvironments = { dev = { memory = 1 } }')
    assert refusal() == (
        "env/dev.tfvars: there is no setting regoin; did you mean region? "
        "there is no setting memory in environments.dev; did you mean memory_mb?"
    )


@pytest.mark.parametrize("written", ["enviroments = { prod = {} }", ""])
def test_a_file_without_environments_is_refused(env: Path, written: str) -> None:
    (env / "prod.tfvars").write_text(written)
    (env / "prod-backend.hcl").write_text(backend("prod"))
    expected = {
        True: "env/prod.tfvars: there is no setting enviroments; did you mean environments?",
        False: "env/prod.tfvars has no environments, so Terraform would put its default, dev, into the state of prod. "
        "Add environments = { prod = {} }.",
    }
    assert refusal("prod") == expected[bool(written)]


@pytest.mark.parametrize("written", ["environments = {}", "environments = null"])
def test_empty_environments_are_refused(env: Path, written: str) -> None:
    (env / "dev.tfvars").write_text(written)
    assert refusal().startswith("env/dev.tfvars has no environments, ")


@pytest.mark.parametrize("name", ["staging", "bootstrap", "../env/dev", "", "prod"])
def test_an_unknown_environment(env: Path, name: str) -> None:
    assert refusal(name).startswith(
        f"unknown environment: {name}. env/ has dev. A new one needs env/{name}.tfvars and "
    )


# Files


def test_a_missing_file_stops_only_its_own_environment(env: Path) -> None:
    (env / "staging.tfvars").write_text("environments = { staging = {} }")
    assert refusal("staging") == (
        "env/staging-backend.hcl is missing. Every environment needs one; use prod's as a template."
    )
    assert Environment.read("dev").entries


def test_a_file_that_cannot_be_read(env: Path) -> None:
    (env / "dev.tfvars").write_text("environments = {")
    message = refusal()
    assert message.startswith("env/dev.tfvars cannot be read (")
    assert message.endswith("). terraform fmt shows where.")


@pytest.mark.parametrize("missing", ["key", "region"])
def test_an_incomplete_backend(env: Path, missing: str) -> None:
    (env / "backend.hcl").write_text("\n".join(line for line in backend("dev").splitlines() if missing not in line))
    assert refusal() == f"env/backend.hcl has no {missing}. Add it; use that of prod as a template."


BOTH = "must say encrypt = true and use_lockfile = true. Add what is missing."


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            "use_lockfile = false",
            "env/backend.hcl must say encrypt = true and use_lockfile = true. Add what is missing.",
        ),
        ("encrypt = false", "env/backend.hcl must say encrypt = true and use_lockfile = true. Add what is missing."),
        (
            'profile = "other"',
            "env/backend.hcl sets profile, which the commands do not know, so that they and Terraform could look for "
            "the state in different places. Remove it.",
        ),
        (
            'key = "bootstrap/terraform.tfstate"',
            "env/backend.hcl names the state of bootstrap, bootstrap/terraform.tfstate. Use a key of its own.",
        ),
    ],
)
def test_a_backend_that_points_elsewhere(env: Path, changed: str, says: str) -> None:
    kept = [line for line in backend("dev").splitlines() if not line.startswith(changed.partition(" ")[0])]
    (env / "backend.hcl").write_text("\n".join([*kept, changed]))
    assert refusal() == says


def test_packages_are_taken_only_from_the_folder_they_are_built_into(env: Path) -> None:
    (env / "dev.tfvars").write_text('packages_dir = "old"\nenvironments = { dev = {} }')
    assert refusal() == "env/dev.tfvars sets packages_dir, but the commands build into build/. Remove it."


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ('environments = { dev = "queue" }', "environments.dev must be an object, in braces."),
        ("environments = 7", "environments must be a map, in braces."),
    ],
)
def test_settings_of_the_wrong_shape(env: Path, written: str, says: str) -> None:
    (env / "dev.tfvars").write_text(written)
    assert refusal() == f"env/dev.tfvars: {says}"


def test_one_region_for_resources_and_state(env: Path) -> None:
    (env / "dev.tfvars").write_text('region = "eu-central-1"\nenvironments = { dev = {} }')
    assert refusal() == (
        "dev is in eu-central-1, and env/backend.hcl looks for its state in us-east-1. "
        "Set region to the same in env/dev.tfvars and in env/backend.hcl."
    )
    (env / "backend.hcl").write_text(backend("dev", "eu-central-1"))
    dev = Environment.read("dev")
    assert dev.state_bucket(ACCOUNT) == f"ikerian-data-pipeline-tfstate-{ACCOUNT}-eu-central-1"


@pytest.mark.parametrize("written", [ACCOUNT, f'"{ACCOUNT}"'])
def test_an_account_with_and_without_quotes(env: Path, written: str) -> None:
    (env / "dev.tfvars").write_text(f"environments = {{ dev = {{ account_id = {written} }} }}")
    assert Environment.read("dev").accounts == {ACCOUNT}


@pytest.mark.parametrize("written", ["001122223333", '"1234"', '"acme"'])
def test_an_invalid_account_id(env: Path, written: str) -> None:
    (env / "dev.tfvars").write_text(f"environments = {{ dev = {{ account_id = {written} }} }}")
    assert refusal() == "account_id in env/dev.tfvars is not an AWS account. Use its 12 digits in quotes."


# Two environments


def test_two_environments_do_not_share_a_state(env: Path) -> None:
    (env / "staging.tfvars").write_text("environments = { staging = {} }")
    (env / "staging-backend.hcl").write_text(backend("dev"))
    assert refusal("staging") == (
        "env/staging-backend.hcl and env/backend.hcl name the same state, dev/terraform.tfstate. "
        "Give each environment a key of its own."
    )


def test_two_environments_do_not_hold_the_same_pipeline(env: Path) -> None:
    (env / "prod.tfvars").write_text('environments = { dev = { ingestion = "queue" } }')
    (env / "prod-backend.hcl").write_text(backend("prod"))
    assert refusal("prod") == (
        "dev is in env/prod.tfvars and in env/dev.tfvars, which would make resources of the same names. "
        "Rename one of them."
    )


@pytest.mark.parametrize(
    "apart",
    [
        ('region = "eu-central-1"\nenvironments = { dev = {} }', backend("dev", "eu-central-1")),
        ('project_name = "other"\nenvironments = { dev = {} }', backend("dev")),
        ('environments = { dev = { account_id = "111122223333" } }', backend("dev")),
    ],
    ids=["region", "project", "account"],
)
def test_environments_in_other_accounts_or_regions_may_be_alike(env: Path, apart: tuple[str, str]) -> None:
    (env / "dev.tfvars").write_text(f'environments = {{ dev = {{ account_id = "{ACCOUNT}" }} }}')
    (env / "other.tfvars").write_text(apart[0])
    (env / "other-backend.hcl").write_text(apart[1])
    assert Environment.read("other").entries.keys() == {"dev"}


def test_the_environments_of_an_account(env: Path) -> None:
    (env / "prod.tfvars").write_text(f'environments = {{ prod = {{ account_id = "{ACCOUNT}" }} }}')
    (env / "far.tfvars").write_text('environments = { far = { account_id = "111122223333" } }')
    (env / "local.tfvars").write_text("environments = { dev = {} }")
    assert siblings(ACCOUNT) == ["dev", "prod"]


def test_a_pipeline_is_found_by_file_or_by_entry(env: Path) -> None:
    (env / "team.tfvars").write_text("environments = { red = {}, blue = {} }")
    (env / "team-backend.hcl").write_text(backend("team"))
    assert [holding(name).name for name in ("dev", "team", "red", "blue")] == ["dev", "team", "team", "team"]
    assert refusal("red") == "red is an entry of env/team.tfvars and is deployed with it. Use team instead."
    (env / "local.tfvars").write_text('environments = { dev = { account_id = "000000000000" } }')
    (env / "local-backend.hcl").write_text(backend("dev"))
    assert holding("local").accounts == {"000000000000"}
    with pytest.raises(Refused, match=r"^unknown environment: green\. env/ has dev, team, and the entries in these\.$"):
        holding("green")


# What Terraform would listen to besides


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "TF_WORKSPACE",
            "staging",
            "TF_WORKSPACE is staging, which has a state of its own. An environment is a file in env/ here: "
            "unset TF_WORKSPACE.",
        ),
        (
            "TF_CLI_ARGS_plan",
            "-var=region=eu-west-1",
            "TF_CLI_ARGS_plan adds -var=region=eu-west-1 to the options of Terraform. Unset TF_CLI_ARGS_plan; "
            "settings belong in env/.",
        ),
        (
            "TF_CLI_ARGS",
            "-no-color -lock=false",
            "TF_CLI_ARGS adds -lock=false to the options of Terraform. Unset TF_CLI_ARGS; settings belong in "
            "env/.",
        ),
        (
            "TF_CLI_ARGS_init",
            "-backend-config=key=other",
            "TF_CLI_ARGS_init adds -backend-config=key=other to the options of Terraform. Unset "
            "TF_CLI_ARGS_init; settings belong in env/.",
        ),
        ("TF_CLI_ARGS_apply", "-var 'a", "TF_CLI_ARGS_apply adds -var 'a to the options of Terraform. Unset "
            "TF_CLI_ARGS_apply; settings belong in env/."),
        (
            "TF_VAR_region",
            "eu-west-1",
            "TF_VAR_region is set, and only Terraform would read it. Unset it, and set region in env/.",
        ),
        (
            "TF_VAR_environments",
            "{}",
            "TF_VAR_environments is set, and only Terraform would read it. Unset it, and set environments in "
            "env/.",
        ),
        (
            "TF_VAR_github",
            "null",
            "TF_VAR_github is set, and only Terraform would read it. Unset it, and set github in env/.",
        ),
    ],
)  # fmt: skip
def test_a_variable_that_contradicts_the_files_is_refused_by_name(
    env: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    assert refusal() == says


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TF_WORKSPACE", ""),
        ("TF_WORKSPACE", "default"),
        ("TF_CLI_ARGS", "-no-color"),
        ("TF_CLI_ARGS_plan", "-parallelism=5 -compact-warnings"),
        ("TF_CLI_ARGS_init", "-plugin-dir=/usr/share/terraform"),
        ("TF_VAR_of_another_project", "1"),
        ("TF_LOG", "DEBUG"),
    ],
)
def test_harmless_variables_are_allowed(env: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert Environment.read("dev").name == "dev"


@pytest.mark.parametrize("folder", ["", "bootstrap/"])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("terraform.tfvars", "sets variables"),
        ("terraform.tfvars.json", "sets variables"),
        ("mine.auto.tfvars", "sets variables"),
        ("mine.auto.tfvars.json", "sets variables"),
        ("override.tf", "changes the code"),
        ("mine_override.tf", "changes the code"),
        ("mine_override.tf.json", "changes the code"),
    ],
)
def test_a_file_that_terraform_finds_by_itself_is_refused_by_name(env: Path, folder: str, name: str, what: str) -> None:
    (env.parent / folder / name).write_text('region = "eu-west-1"')
    assert refusal() == (
        f"{folder}{name} {what} for Terraform alone. Move its content into env/ or into the code, and delete it."
    )


@pytest.mark.parametrize("data_dir", [".terraform", ".terraform-bootstrap", "elsewhere"])
def test_a_workspace_that_was_selected_is_refused_by_name(
    env: Path, monkeypatch: pytest.MonkeyPatch, data_dir: str
) -> None:
    if data_dir == "elsewhere":
        monkeypatch.setenv("TF_DATA_DIR", data_dir)
    (env.parent / data_dir).mkdir()
    (env.parent / data_dir / "environment").write_text("default")
    assert Environment.read("dev").name == "dev"
    (env.parent / data_dir / "environment").write_text("staging")
    assert refusal() == (
        "the workspace staging is selected, which has a state of its own. Go back: "
        f"rm {env.parent / data_dir / 'environment'}"
    )
