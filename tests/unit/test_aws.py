"""A run's credentials and the keys that Terraform gets: real profile files, and a server that answers as AWS does."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import boto3
import pytest
from botocore.credentials import SSOProvider
from botocore.tokens import SSOTokenProvider
from botocore.utils import JSONFileCache, LoginTokenLoader, SSOTokenLoader
from commands import aws
from commands.environment import Environment
from commands.terminal import Refused
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT, CODE, SECRET = "123456789012", "123456", "a-secret-key"
KEYS = f"aws_access_key_id = AKIADA\naws_secret_access_key = {SECRET}\n"
ROLE = f"role_arn = arn:aws:iam::{ACCOUNT}:role/deploy\nsource_profile = base\n"
MFA = f"mfa_serial = arn:aws:iam::{ACCOUNT}:mfa/ada\n"
LOGIN = f"login_session = arn:aws:iam::{ACCOUNT}:user/ada\n"
# A process that signs in. It prints who Python is, and what Terraform is handed.
PROGRAM = """
import json, sys
from commands import aws
from commands.environment import Environment
from commands.terminal import Refused
try:
    account = aws.connect(Environment("dev", {"region": "us-east-1", "environments": {"dev": {}}}))
    arn = account.client("sts").get_caller_identity()["Arn"]
    print(json.dumps([arn, account.environment()]))
except Refused as refused:
    sys.exit(f"error: {refused}")
"""
# Makes standard input the terminal of the session, and becomes a command.
AT_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Aws(ThreadingHTTPServer):
    """STS, AWS Sign-In and IAM Identity Center, as far as they give keys and tell whose these are."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.refused: dict[str, tuple[int, dict[str, str]]] = {}  # by action: status, and code and message
        self.calls: list[tuple[str, str, str]] = []  # action, access key and region of each

    def refuse(self, action: str, code: str, message: str, status: int = 403, **more: str) -> None:
        self.refused[action] = status, {"code": code, "message": message, **more}

    def actions(self) -> list[str]:
        return [action for action, _, _ in self.calls]


class Handler(BaseHTTPRequestHandler):
    server: Aws

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parameter's name in the base class
        pass

    def answer(self, status: int, body: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path = self.path.partition("?")[0]
        named = {
            "/v1/token": "CreateOAuth2Token",
            "/federation/credentials": "GetRoleCredentials",
            "/token": "CreateToken",
        }
        asked = dict(parse_qsl(body)) if path == "/" else {}
        action = asked.get("Action") or named.get(path, path)
        signed = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", self.headers.get("Authorization", ""))
        key, region = signed.groups() if signed else ("", "")
        self.server.calls.append((action, key, region))
        if action == "AssumeRole" and asked.get("TokenCode", CODE) != CODE:
            said = "MultiFactorAuthentication failed with invalid MFA one time pass code. "
            self.refuse(403, {"code": "AccessDenied", "message": said})
        elif action in self.server.refused:
            self.refuse(*self.server.refused[action])
        elif action == "GetCallerIdentity":
            arn = f"arn:aws:iam::{ACCOUNT}:user/{key}"
            self.answer(200, result(action, f"<Account>{ACCOUNT}</Account><Arn>{arn}</Arn><UserId>U</UserId>"))
        elif action.startswith("AssumeRole"):
            keys = f"<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
            until = f"<Expiration>{moment(3600)}</Expiration>"
            self.answer(
                200, result(action, f"<Credentials>{keys}<SessionToken>role</SessionToken>{until}</Credentials>")
            )
        elif action == "CreateOAuth2Token":
            keys = json.dumps({"accessKeyId": "ASIANEW", "secretAccessKey": SECRET, "sessionToken": "new"})
            self.answer(
                200, f'{{"accessToken": {keys}, "tokenType": "aws_sigv4", "expiresIn": 900, "refreshToken": "r2"}}'
            )
        else:
            self.answer(404, "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")

    do_GET = do_POST = do_HEAD = handle_request

    def refuse(self, status: int, error: dict[str, str]) -> None:
        if self.path == "/":
            inner = "".join(f"<{name.title()}>{value}</{name.title()}>" for name, value in error.items())
            self.answer(status, f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>")
        else:
            self.answer(status, json.dumps(error), x_amzn_ErrorType=error["code"])


def result(action: str, inner: str) -> str:
    return f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"


def moment(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def server() -> Iterator[Aws]:
    with Aws() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(server: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person without AWS settings apart from the server's address."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GITHUB_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    (folder / ".aws").mkdir(parents=True)
    settings = {
        "HOME": str(folder),
        "AWS_CONFIG_FILE": str(folder / ".aws/config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / ".aws/credentials"),
        "AWS_ENDPOINT_URL": server.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return folder


def config(home: Path, text: str) -> None:
    (home / ".aws/config").write_text(text)


def environment(**settings: Any) -> Environment:
    return Environment("dev", {"region": "us-east-1", "environments": {"dev": settings}})


def refusal(**settings: Any) -> str:
    with pytest.raises(Refused) as refused:
        aws.connect(environment(**settings))
    return one_line(str(refused.value))


def one_line(text: str) -> str:
    assert "\n" not in text
    assert SECRET not in text
    return text


def start(python: str = sys.executable) -> subprocess.Popen[str]:
    """Start PROGRAM without a terminal."""
    return start_session([python, "-c", PROGRAM], subprocess.DEVNULL)


def start_session(command: list[str], stdin: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "PYTHONWARNINGS": "default"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, dict[str, str]]:
    """Return Python's identity and the environment that Terraform got."""
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    arn, handed = json.loads(output)
    return arn.rpartition("/")[2], handed


def refused(process: subprocess.Popen[str]) -> str:
    """Return the one line of its refusal."""
    output, errors = process.communicate()
    assert (process.returncode, output) == (1, "")
    (line,) = errors.splitlines()
    return one_line(line)


def keys(handed: Mapping[str, str]) -> list[str | None]:
    return [handed.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")]


# Nobody, and the wrong one


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal() == (
        "there are no AWS credentials. Sign in, for example with aws login, or set AWS_PROFILE, then run this again."
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")  # as a workflow sets them that has no secrets
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert refusal() == (
        "there are no AWS credentials. In the job's GitHub environment set the variable AWS_APPLY_ROLE_ARN, or "
        "AWS_PLAN_ROLE_ARN for plans, or the secrets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )


def test_a_profile_without_credentials(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(home, "[profile 'my own']\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_PROFILE", "my own")
    assert refusal() == "the AWS profile my own has no credentials. Sign in: aws login --profile 'my own'"


def test_an_unknown_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "prod")
    assert refusal() == "there is no AWS profile prod, nor any other. Sign in, which makes it: aws login --profile prod"
    config(home, f"[profile ada]\n{KEYS}[profile bob]\n{KEYS}")
    assert refusal() == "AWS_PROFILE names an AWS profile that does not exist, prod. Set it to one of ada, bob."
    monkeypatch.setenv("AWS_DEFAULT_PROFILE", "dev")
    monkeypatch.setenv("AWS_PROFILE", "ada")  # which botocore does not look at then
    assert refusal() == "AWS_DEFAULT_PROFILE names an AWS profile that does not exist, dev. Set it to one of ada, bob."
    monkeypatch.setenv("AWS_DEFAULT_PROFILE", "")
    assert refusal() == (
        "AWS_DEFAULT_PROFILE is empty, and there is no AWS profile without a name. Unset it, then run this again."
    )


def test_incomplete_credentials(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(home, f"[profile ada]\naws_access_key_id = AKIADA\n[profile role]\n{ROLE.replace('base', 'ada')}")
    for profile in ("ada", "role"):
        monkeypatch.setenv("AWS_PROFILE", profile)
        assert refusal() == "the AWS profile ada has no aws_secret_access_key. Add it: aws configure --profile ada"
    config(home, f"[profile role]\n{ROLE.splitlines()[0]}")
    assert refusal() == (
        "the AWS profile role has no source_profile or credential_source. Add it: aws configure --profile role"
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIADA")
    assert refusal() == (
        "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not. Set both or unset both, then run this again."
    )


@pytest.mark.parametrize("written", [int(ACCOUNT), ACCOUNT])
def test_the_right_account(monkeypatch: pytest.MonkeyPatch, written: object) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIADA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    account = aws.connect(environment(account_id=written))
    assert (account.id, account.arn) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/AKIADA")
    assert account.region == account.client("sqs").meta.region_name == "us-east-1"


@pytest.mark.parametrize("written", [111122223333, "111122223333"])
def test_the_wrong_account(monkeypatch: pytest.MonkeyPatch, written: object) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIADA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert refusal(account_id=written) == (
        f"dev belongs to account 111122223333, and these credentials belong to {ACCOUNT}. Nothing was done. "
        "Use credentials of that account, or correct account_id in env/dev.tfvars."
    )


# Settings that are of no use


@pytest.mark.parametrize(
    "text", ["[profile ada\n", "aws_secret_access_key = a-secret-key\n", "[default]\ns3 =\n  a-secret-key\n"]
)
@pytest.mark.parametrize("file", ["config", "credentials"])
def test_a_file_that_cannot_be_parsed(home: Path, file: str, text: str) -> None:
    path = home / f".aws/{file}"
    path.write_text(text)
    assert refusal() == f"{path} cannot be read as a configuration file. Correct its syntax, then run this again."


def test_a_source_profile_that_is_missing_or_circular(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "ada")
    file = home / ".aws/config"
    config(home, f"[profile ada]\n{ROLE}")
    assert refusal() == (
        'the AWS profile ada gives no credentials: The source_profile "base" referenced in the profile "ada" does not '
        f"exist. Correct it in {file}, then run this again."
    )
    config(home, f"[profile ada]\n{ROLE}[profile base]\n{ROLE.replace('base', 'ada')}")
    assert refusal().startswith(
        "the AWS profile base gives no credentials: Infinite loop in credential configuration detected. "
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'echo not on the list >&2; echo; exit 3'", "not on the list"),
        ("sh -c 'exit 3'", "it failed"),
        ("echo hello", "its output is not JSON"),
        ("echo []", "AttributeError: 'list' object has no attribute 'get'"),
        ("""echo '{"Version": 2}'""", "Unsupported version '2' for credential process provider, supported versions: 1"),
        ("""echo '{"Version": 1}'""", "Missing required key in response: 'AccessKeyId'"),
        (r"printf '\033[31mred'", "its output is not JSON"),
        (r"""sh -c 'printf "\\033[31mred" >&2; exit 1'""", r'"\u001b[31mred"'),
        ("'", "No closing quotation"),
    ],
)
def test_a_credential_process_that_gives_no_credentials(home: Path, command: str, said: str) -> None:
    config(home, f"[default]\ncredential_process = {command}\n")
    assert refusal() == (
        f"the credential_process of the AWS profile default gives no credentials: {said}. Correct it in "
        f"{home / '.aws/config'}, then run this again."
    )


def test_a_missing_credential_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "ada")
    config(home, f"[profile ada]\n{ROLE}[profile base]\ncredential_process = no-such-program --json\n")
    assert refusal() == (
        "the AWS profile base needs no-such-program, which cannot be used: No such file or directory. Correct that, "
        "then run this again."
    )


def test_a_missing_token_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    role = ROLE.splitlines()[0]
    config(home, f"[default]\n{role}\nweb_identity_token_file = /nowhere/token\n")
    remedy = "/nowhere/token, which cannot be used: No such file or directory. Correct that, then run this again."
    assert refusal() == f"the AWS profile default needs {remedy}"
    config(home, "")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token")
    monkeypatch.setenv("AWS_ROLE_ARN", role.split()[-1])
    assert refusal() == f"AWS_WEB_IDENTITY_TOKEN_FILE needs {remedy}"


# What AWS says


def test_a_web_identity_that_aws_refuses(server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "token").write_text("a-secret-key")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE.split()[2])
    server.refuse("AssumeRoleWithWebIdentity", "ExpiredTokenException", "Token expired", 400)
    assert refusal() == (
        "AWS does not accept the web identity token (ExpiredTokenException): Token expired. Renew it, or correct the "
        "role, then run this again."
    )


def test_expired_keys(server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.refuse("GetCallerIdentity", "ExpiredToken", "The security token included in the request is expired")
    config(home, f"[profile ada]\n{KEYS}aws_session_token = old\n")
    monkeypatch.setenv("AWS_PROFILE", "ada")
    assert refusal() == (
        "the credentials of the AWS profile ada have expired. Get new ones as you got these, then run this again."
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIADA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    expired = "the AWS credentials in the environment have expired. Get new ones or unset them, then run this again."
    assert refusal() == expired
    server.refused.clear()
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", moment(-60))  # as aws configure export-credentials says it
    assert refusal() == expired


def test_wrong_keys(server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.refuse("GetCallerIdentity", "InvalidClientTokenId", "The security token included in the request is invalid.")
    config(home, f"[default]\n{KEYS}")
    assert refusal() == (
        "AWS does not accept the keys of the AWS profile default (InvalidClientTokenId). Check this machine's clock, "
        "or enter them again: aws configure --profile default"
    )
    server.refuse("GetCallerIdentity", "SignatureDoesNotMatch", "Check your AWS Secret Access Key")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIADA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert refusal() == (
        "AWS does not accept the keys in the environment (SignatureDoesNotMatch). Check AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, for temporary keys AWS_SESSION_TOKEN, and this machine's clock."
    )


def test_a_role_that_may_not_be_assumed(server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.refuse("AssumeRole", "AccessDenied", "User: ada is not authorized to perform: sts:AssumeRole on resource: x")
    config(home, f"[profile ada]\n{ROLE}[profile base]\n{KEYS}")
    monkeypatch.setenv("AWS_PROFILE", "ada")
    assert refusal() == (
        "the AWS profile ada may not assume its role (AccessDenied): User: ada is not authorized to perform: "
        "sts:AssumeRole on resource: x. Correct role_arn or the role's trust policy, then run this again."
    )
    server.refuse("AssumeRole", "InvalidClientTokenId", "The security token included in the request is invalid.")
    assert refusal().startswith("AWS does not accept the keys of the AWS profile base (InvalidClientTokenId). ")


def test_an_unexpected_answer(server: Aws, home: Path) -> None:
    config(home, f"[default]\n{KEYS}")
    server.refuse("GetCallerIdentity", "InternalFailure", "We are\nsorry.", 500)
    assert refusal() == (
        "AWS refuses GetCallerIdentity (InternalFailure): We are sorry. Check what aws sts get-caller-identity says, "
        "then run this again."
    )
    assert len(server.calls) == 3  # somebody waits


def test_aws_cannot_be_reached(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(home, f"[default]\n{KEYS}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert refusal() == (
        'AWS cannot be reached: Could not connect to the endpoint URL: "http://127.0.0.1:1/". '
        "Check network, proxy and AWS_ENDPOINT_URL, then run this again."
    )
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("HTTPS_PROXY", f"http://ada:{SECRET}@127.0.0.1:1")
    assert refusal() == (
        'AWS cannot be reached: Failed to connect to proxy URL: "http://***:***@127.0.0.1:1". '
        "Check network and proxy, then run this again."
    )


def test_an_untrusted_certificate(server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(home, f"[default]\n{KEYS}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url.replace("http:", "https:"))
    said = refusal()
    assert said.startswith("AWS cannot be reached: SSL validation failed for https://127.0.0.1:")
    assert said.endswith(". Name the certificates of your proxy in AWS_CA_BUNDLE, then run this again.")


# Codes, sessions and roles, each in a process of its own


def mfa_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(home, f"[profile ada]\n{ROLE}{MFA}[profile base]\n{KEYS}")
    monkeypatch.setenv("AWS_PROFILE", "ada")


@contextlib.contextmanager
def typing(code: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command, or else PROGRAM, at a terminal, and type a code when it asks for one."""
    ours, theirs = pty.openpty()
    command = command or (sys.executable, "-c", PROGRAM)
    process = start_session([sys.executable, "-c", AT_TERMINAL, *command], theirs)
    os.close(theirs)
    shown = b""
    while not shown.endswith(b"mfa/ada: "):
        shown += os.read(ours, 1024)
    os.write(ours, code.encode())
    yield process
    os.close(ours)


def test_an_mfa_code_is_typed_once_for_python_and_terraform(
    server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mfa_profile(home, monkeypatch)
    with typing(f"{CODE}\n") as process:
        arn, handed = ended(process)
    assert arn == "ASIAROLE"
    assert keys(handed) == ["ASIAROLE", SECRET, "role"]
    assert server.actions() == ["AssumeRole", "GetCallerIdentity", "GetCallerIdentity"]
    (cached,) = (home / ".aws/cli/cache").iterdir()
    assert cached.stat().st_mode & 0o777 == 0o600
    server.calls.clear()
    assert ended(start()) == (arn, handed)  # and without a terminal
    assert server.actions() == ["GetCallerIdentity", "GetCallerIdentity"]


def test_an_mfa_code_without_a_terminal(server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mfa_profile(home, monkeypatch)
    remedy = "aws sts get-caller-identity --profile ada"
    assert refused(start()) == (
        "error: the AWS profile ada asks for an MFA code, and there is no terminal to type it at. "
        f"Sign in at one first: {remedy}"
    )
    assert server.calls == []
    # And that helps: the AWS CLI keeps what it gets where it is looked for.
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    cli, *arguments = remedy.split()
    with typing(f"{CODE}\n", str(Path(sys.executable).with_name(cli)), *arguments) as process:
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert ACCOUNT in output
    assert keys(ended(start())[1]) == ["ASIAROLE", SECRET, "role"]
    assert server.actions().count("AssumeRole") == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "654321\n",
            "AWS does not accept the MFA code for the AWS profile ada. Wait for the next code, then run this again.",
        ),
        ("12345\n", "an MFA code has six digits. Run this again."),
        ("\x04", "an MFA code has six digits. Run this again."),
    ],
    ids=["wrong", "too short", "none"],
)
def test_a_wrong_mfa_code(home: Path, monkeypatch: pytest.MonkeyPatch, typed: str, said: str) -> None:
    mfa_profile(home, monkeypatch)
    with typing(typed) as process:
        assert refused(process) == f"error: {said}"
    assert not (home / ".aws/cli/cache").exists()


@pytest.fixture(scope="session")
def python_of_commands() -> str:
    """The Python that deploy.sh uses: that of the tests has no awscrt."""
    subprocess.run([ROOT / "deploy.sh", "help"], capture_output=True, check=True)
    return str(ROOT / ".venv/commands/bin/python")


def login(home: Path, seconds: float) -> None:
    """Write what `aws login` leaves: keys that are valid for so long."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    token = {
        "accessToken": {
            "accessKeyId": "ASIAOLD",
            "secretAccessKey": SECRET,
            "sessionToken": "old",
            "accountId": ACCOUNT,
            "expiresAt": moment(seconds),
        },
        "tokenType": "aws_sigv4",
        "refreshToken": "r1",
        "clientId": "arn:aws:signin:::devtools/same-device",
        "dpopKey": pem,
    }
    cache: Any = LoginTokenLoader
    cache(JSONFileCache(str(home / ".aws/login/cache"))).save_token(LOGIN.split()[-1], token)


def test_a_session_of_aws_login(
    server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch, python_of_commands: str
) -> None:
    config(home, f"[profile ada]\n{LOGIN}")
    monkeypatch.setenv("AWS_PROFILE", "ada")
    login(home, seconds=890)
    arn, handed = ended(start(python_of_commands))
    assert (arn, keys(handed)) == ("ASIAOLD", ["ASIAOLD", SECRET, "old"])
    assert "CreateOAuth2Token" not in server.actions()
    login(home, seconds=8 * 60)  # too short for Terraform, which could not renew them
    assert keys(ended(start(python_of_commands))[1]) == ["ASIANEW", SECRET, "new"]


def test_an_expired_session_of_aws_login(
    server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch, python_of_commands: str
) -> None:
    config(home, f"[profile ada]\n{ROLE}[profile base]\n{LOGIN}")
    monkeypatch.setenv("AWS_PROFILE", "ada")
    remedy = (
        "error: the session of the AWS profile base has expired, or there is none. Sign in: aws login --profile base"
    )
    assert refused(start(python_of_commands)) == remedy
    login(home, seconds=-60)
    server.refuse("CreateOAuth2Token", "AccessDeniedException", "expired", error="TOKEN_EXPIRED")
    assert refused(start(python_of_commands)) == remedy
    server.refuse("CreateOAuth2Token", "ValidationException", "bad", 400, error="INVALID_REQUEST")  # begun elsewhere
    assert refused(start(python_of_commands)) == remedy
    server.refuse("CreateOAuth2Token", "AccessDeniedException", "no", error="INSUFFICIENT_PERMISSIONS")
    assert "'signin:CreateOAuth2Token' action. Ask for that permission, then" in refused(start(python_of_commands))


@pytest.mark.parametrize("session", ["work", None], ids=["sso-session", "of its own"])
def test_an_expired_sso_session(server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch, session: str | None) -> None:
    folder, url = str(home / ".aws/sso/cache"), "https://acme.awsapps.com/start"
    for reader in (SSOProvider, SSOTokenProvider):
        monkeypatch.setattr(reader, "_SSO_TOKEN_CACHE_DIR", folder)  # as HOME was when this process began
    where = f"sso_start_url = {url}\nsso_region = us-east-1\n"
    base = f"[profile base]\nsso_account_id = {ACCOUNT}\nsso_role_name = deploy\n"
    config(
        home,
        f"[profile ada]\n{ROLE}"
        + (f"{base}sso_session = work\n[sso-session work]\n{where}" if session else f"{base}{where}"),
    )
    monkeypatch.setenv("AWS_PROFILE", "ada")
    remedy = "the session of the AWS profile base has expired, or there is none. Sign in: aws sso login --profile base"
    assert refusal() == remedy
    cache: Any = SSOTokenLoader(JSONFileCache(folder))
    token = {"accessToken": SECRET, "expiresAt": moment(-60)}
    cache.save_token(url, token, session_name=session)
    assert refusal() == remedy
    cache.save_token(url, token | {"expiresAt": moment(3600)}, session_name=session)
    server.refuse("GetRoleCredentials", "UnauthorizedException", "Session token not found or invalid", 401)
    assert refusal() == remedy
    server.refuse("GetRoleCredentials", "ForbiddenException", "No access")
    assert refusal() == (
        "AWS refuses GetRoleCredentials (ForbiddenException): No access. Check what aws sts get-caller-identity says, "
        "then run this again."
    )


def test_a_refusal_at_the_command_line_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "prod")
    run = subprocess.run(
        [sys.executable, "-m", "commands", "status"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "error: there is no AWS profile prod, nor any other. Sign in, which makes it: aws login --profile prod\n"
    )


def test_keys_are_fetched_in_the_region_of_the_profile(
    server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config(home, f"[profile ada]\n{ROLE}region = eu-west-1\n[profile base]\n{KEYS}")
    monkeypatch.setenv("AWS_PROFILE", "ada")
    assert aws.connect(environment()).environment()["AWS_REGION"] == "us-east-1"
    assert server.calls == [("AssumeRole", "AKIADA", "eu-west-1"), ("GetCallerIdentity", "ASIAROLE", "us-east-1")]


# What Terraform is handed


def test_terraform_is_handed_the_keys_and_nothing_else_of_the_caller(
    server: Aws, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config(home, f"[profile ada]\n{KEYS}aws_session_token = session\nregion = eu-west-1\n")
    for name in (
        *("ROLE_ARN", "ROLE_SESSION_NAME", "CONTAINER_CREDENTIALS_FULL_URI", "CONTAINER_AUTHORIZATION_TOKEN"),
        *("S3_ENDPOINT", "STS_ENDPOINT", "IAM_ENDPOINT", "DYNAMODB_ENDPOINT", "SSE_CUSTOMER_KEY", "STS_REGION"),
        *("SECURITY_TOKEN", "CREDENTIAL_EXPIRATION", "SDK_LOAD_CONFIG", "METADATA_URL", "DEFAULT_OUTPUT"),
    ):
        monkeypatch.setenv(f"AWS_{name}", "of the caller")
    for name, value in {"PROFILE": "ada", "REGION": "eu-west-2", "DEFAULT_REGION": "eu-west-3"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    handed = aws.connect(environment()).environment()
    assert {name: value for name, value in handed.items() if name.startswith("AWS_")} == {
        "AWS_ACCESS_KEY_ID": "AKIADA",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "session",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    assert others.items() <= handed.items()
    assert "HTTPS_PROXY" in handed


ELSEWHERE = "http://127.0.0.1:2"
SERVICES = f"services = mine\n[services mine]\ns3 =\n  endpoint_url = {ELSEWHERE}\n  other = 1\n"


@pytest.mark.parametrize(
    ("profile", "variables", "expected"),
    [
        ("", {}, {}),
        ("endpoint_url = http://127.0.0.1:1\n", {}, {"ENDPOINT_URL": "http://127.0.0.1:1"}),
        (SERVICES, {}, {"ENDPOINT_URL_S3": ELSEWHERE}),
        (SERVICES, {"ENDPOINT_URL": ""}, {"ENDPOINT_URL_S3": ELSEWHERE}),
        (SERVICES, {"ENDPOINT_URL": "http://127.0.0.1:1"}, {"ENDPOINT_URL": "http://127.0.0.1:1"}),
        (SERVICES, {"ENDPOINT_URL_S3": "http://127.0.0.1:1"}, {"ENDPOINT_URL_S3": "http://127.0.0.1:1"}),
        (
            f"endpoint_url = http://127.0.0.1:1\n{SERVICES}",
            {"ENDPOINT_URL_STS": "http://127.0.0.1:3"},
            {
                "ENDPOINT_URL": "http://127.0.0.1:1",
                "ENDPOINT_URL_S3": ELSEWHERE,
                "ENDPOINT_URL_STS": "http://127.0.0.1:3",
            },
        ),
        (f"ignore_configured_endpoint_urls = true\n{SERVICES}", {"ENDPOINT_URL": "http://127.0.0.1:1"}, {}),
        (SERVICES, {"IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "ENDPOINT_URL_S3": "http://127.0.0.1:1"}, {}),
        ("use_fips_endpoint = true\n", {}, {"USE_FIPS_ENDPOINT": "true"}),
        ("use_dualstack_endpoint = true\n", {"USE_FIPS_ENDPOINT": "1"}, {"USE_DUALSTACK_ENDPOINT": "true"}),
        ("use_fips_endpoint = true\n", {"USE_FIPS_ENDPOINT": "false"}, {}),
        ("ca_bundle = certificates.pem\n", {}, {"CA_BUNDLE": str(Path.cwd() / "certificates.pem")}),
        ("ca_bundle = /a.pem\n", {"CA_BUNDLE": "/b.pem"}, {"CA_BUNDLE": "/b.pem"}),
    ],
)
def test_terraform_reaches_aws_as_python_does(
    home: Path, monkeypatch: pytest.MonkeyPatch, profile: str, variables: dict[str, str], expected: dict[str, str]
) -> None:
    config(home, f"[profile ada]\n{KEYS}{profile}")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    for name, value in {"PROFILE": "ada", **variables}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    account = aws.Account(aws._sign_in("us-east-1"))
    handed = account.environment()
    reach = {name: value for name, value in handed.items() if re.match("AWS_.*(_URL|ENDPOINT|BUNDLE)", name)}
    assert reach == {f"AWS_{name}": value for name, value in expected.items()}
    endpoints = [account.client(service).meta.endpoint_url for service in ("s3", "sts", "iam")]
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in handed.items():
        monkeypatch.setenv(name, value)
    session: Any = boto3.Session()
    assert [session.client(service).meta.endpoint_url for service in ("s3", "sts", "iam")] == endpoints


def test_keys_are_renewed_whenever_terraform_starts(home: Path) -> None:
    process = home / "process.py"
    process.write_text(
        "import json, pathlib, sys\n"
        "count = pathlib.Path(sys.argv[1])\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        "number < 5 or sys.exit('no more')\n"
        f"print(json.dumps(dict(Version=1, AccessKeyId=f'ASIA{{number}}', SecretAccessKey='{SECRET}', "
        f"SessionToken='t', Expiration='{moment(300)}')))\n"
    )
    config(home, f"[default]\ncredential_process = {sys.executable} {process} {home / 'count'}\n")
    account = aws.Account(aws._sign_in("us-east-1"))
    assert [account.environment()["AWS_ACCESS_KEY_ID"] for _ in range(3)] == ["ASIA2", "ASIA3", "ASIA4"]
    with pytest.raises(
        Refused, match="the credential_process of the AWS profile default gives no credentials: no more"
    ):
        account.environment()
