"""The account that a run works in: credentials, resolved once, for both the commands and Terraform."""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import LoginCredentialFetcher
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    HTTPClientError,
    LoginError,
    LoginInsufficientPermissions,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.utils import JSONFileCache

from commands.terminal import Refused, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from commands.environment import Environment

AGAIN = "then run this again."
THREADS = 32  # concurrent calls for which a client has connections
CONNECT_SECONDS = 5
WORK = Config(
    retries={"mode": "standard", "total_max_attempts": 8},
    max_pool_connections=THREADS,
    connect_timeout=CONNECT_SECONDS,
)
# Fewer attempts, because somebody is waiting: without a network, 8 take 40 seconds.
SIGN_IN = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=CONNECT_SECONDS)
# Settings for how to reach AWS, not as whom, and the equivalent variables. _reach adds the endpoints.
REACH = {
    "ca_bundle": "AWS_CA_BUNDLE",
    "use_fips_endpoint": "AWS_USE_FIPS_ENDPOINT",
    "use_dualstack_endpoint": "AWS_USE_DUALSTACK_ENDPOINT",
}
# Error codes, which differ from service to service.
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
UNKNOWN_CALLER = {"InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"}

# Keys of `aws login` are valid for 15 minutes, and botocore renews them in the last 5. Terraform cannot renew the keys
# that it was started with, so it should get them with most of their time left.
LoginCredentialFetcher._REFRESH_THRESHOLD = 12 * 60  # type: ignore[attr-defined,unused-ignore]


class Account:
    """The account of the credentials, in the region of an environment."""

    def __init__(self, session: boto3.Session, account_id: str = "", arn: str = "") -> None:
        self._session, self._clients = session, dict[str, Any]()
        self.id, self.arn = account_id, arn

    @property
    def region(self) -> str:
        """The region of everything but global services."""
        return str(self._session.region_name)

    def client(self, service: str) -> Any:
        """Return the client of a service, the same one each time. The SDK retries throttled and broken calls."""
        if service not in self._clients:
            make: Any = self._session.client
            self._clients[service] = make(service, config=WORK)
        return self._clients[service]

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which another program calls AWS as this account, and as nobody else.

        Profiles are not passed on, because the program could read them differently. The keys are the current ones:
        temporary keys that are about to expire are renewed first. Raises Refused when that is not possible.
        """
        try:
            found: Any = self._session.get_credentials()
            keys = found.get_frozen_credentials()
        except Exception as error:  # noqa: BLE001 - as in connect
            raise Refused(explain(error)) from None
        others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        token = {"AWS_SESSION_TOKEN": keys.token} if keys.token else {}
        return (
            others
            | _reach(self._session._session)
            | token
            | {
                "AWS_ACCESS_KEY_ID": keys.access_key,
                "AWS_SECRET_ACCESS_KEY": keys.secret_key,
                "AWS_REGION": self.region,
                "AWS_DEFAULT_REGION": self.region,
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        )


def _reach(session: Any) -> dict[str, str]:
    """Return the variables by which another program reaches AWS as this session does: see botocore's precedence."""
    found = {name: session.get_config_variable(setting) for setting, name in REACH.items()}
    if found["AWS_CA_BUNDLE"]:  # Terraform runs in another folder
        found["AWS_CA_BUNDLE"] = Path(found["AWS_CA_BUNDLE"]).absolute()
    if not session.get_config_variable("ignore_configured_endpoint_urls"):
        profile = session.get_scoped_config()
        services = session.full_config.get("services", {}).get(profile.get("services"), {})
        if not os.environ.get("AWS_ENDPOINT_URL"):  # which overrides everything in the profile
            found["AWS_ENDPOINT_URL"] = profile.get("endpoint_url")
            for service, settings in services.items():
                found[f"AWS_ENDPOINT_URL_{service.upper()}"] = dict(settings).get("endpoint_url")
        found |= {name: url for name, url in os.environ.items() if name.startswith("AWS_ENDPOINT_URL") and url}
    return {name: "true" if value is True else str(value) for name, value in found.items() if value}


def connect(environment: Environment) -> Account:
    """Return the account of the caller. Raises Refused when there is none, or it is not the environment's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        if re.search(r"\s", os.environ.get(name, "")):  # an error about the request header would quote it
            raise Refused(f"{name} has white space in it. Set it again without, {AGAIN}")
    try:
        session = _sign_in(environment.region)
        caller = session.client("sts", config=SIGN_IN).get_caller_identity()
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - of any kind: a profile may involve processes, files and networks
        raise Refused(explain(error)) from None
    account = str(caller["Account"])
    if environment.accounts - {account}:
        expected = " and ".join(sorted(environment.accounts))
        raise Refused(
            f"{environment.name} belongs to account {expected}, and these credentials belong to {account}. Nothing was "
            f"done. Use credentials of that account, or correct account_id in {environment.variables_file}."
        )
    return Account(session, account, str(caller["Arn"]))


def _sign_in(region: str) -> boto3.Session:
    """Return a session in a region, with the credentials that boto3 finds."""
    # They are resolved in the region of the profile: a session of `aws login` can be renewed only where it was begun.
    core = botocore.session.get_session()
    if not core.get_config_variable("region"):
        core.set_config_variable("region", region)
    core.set_default_client_config(SIGN_IN)
    chain = core.get_component("credential_provider")
    assume_role: Any = chain.get_provider("assume-role")
    assume_role._prompter = _ask_for_mfa_code
    # As the AWS CLI does: ask for a code once, and use the resulting credentials until they expire.
    assume_role.cache = JSONFileCache(str(Path.home() / ".aws/cli/cache"))
    here = botocore.session.get_session()
    here.register_component("credential_provider", chain)
    return boto3.Session(botocore_session=here, region_name=region)


def _ask_for_mfa_code(prompt: str) -> str:
    """Ask at the terminal. Raises Refused when there is none."""
    name = next(iter(_profiles()))
    try:
        Path("/dev/tty").open("rb").close()
    except OSError:
        raise Refused(
            f"the AWS profile {name} asks for an MFA code, and there is no terminal to type it at. Sign in at one "
            f"first: aws sts get-caller-identity --profile {shlex.quote(name)}"
        ) from None
    try:
        code = getpass.getpass(prompt).strip()
    except EOFError:
        code = ""
    if not re.fullmatch("[0-9]{6}", code):  # botocore would report an invalid parameter
        raise Refused("an MFA code has six digits. Run this again.")
    return code


def reason(error: Exception) -> str:
    """Say in a few words why a request failed."""
    if isinstance(error, ClientError):
        return f"{error.operation_name} {error.response['Error']['Code']}"
    return str(error).rstrip(".")


def explain(error: Exception) -> str:
    """Return why there are no valid credentials, and the command or setting that helps, in one line."""
    if isinstance(error, ProfileNotFound):
        return _explain_unknown_profile(error.kwargs["profile"])
    if isinstance(error, ConfigParseError):
        return f"{error.kwargs['path']} cannot be read as a configuration file. Correct its syntax, {AGAIN}"
    profiles = _profiles()
    name, settings = list(profiles.items())[-1]  # the last one has the credentials that the others start from
    profile, option = f"the AWS profile {name}", f" --profile {shlex.quote(name)}"
    said = _one_line(error.kwargs.get("error_msg", error) if isinstance(error, BotoCoreError) else error)
    match error:
        case NoCredentialsError():
            return _explain_nobody(name if settings else "")
        case PartialCredentialsError():
            missing = error.kwargs["cred_var"]
            if error.kwargs["provider"] == "env":
                return f"AWS_ACCESS_KEY_ID is set and {missing} is not. Set both or unset both, {AGAIN}"
            return f"{profile} has no {missing}. Add it: aws configure{option}"
        case LoginInsufficientPermissions():
            return f"AWS does not renew the session of {profile}: {said}. Ask for that permission, {AGAIN}"
        case LoginError() | SSOError() | TokenRetrievalError():
            return _explain_expired(name, settings)
        case RefreshWithMFAUnsupportedError():
            return f"the session of {profile}, which needs an MFA code, has expired. Run this again."
        case SSLError() if not Path(os.environ.get("AWS_CA_BUNDLE") or os.devnull).exists():
            return f"AWS_CA_BUNDLE names {os.environ['AWS_CA_BUNDLE']}, which does not exist. Correct it, {AGAIN}"
        case SSLError():
            return f"AWS cannot be reached: {said}. Name the certificates of your proxy in AWS_CA_BUNDLE, {AGAIN}"
        case AwsConnectionError() | HTTPClientError():
            suspects = (
                "network, proxy and AWS_ENDPOINT_URL" if "AWS_ENDPOINT_URL" in os.environ else "network and proxy"
            )
            return f"AWS cannot be reached: {said}. Check {suspects}, {AGAIN}"
        case ClientError():
            return _explain_answer(error, name, settings)
        case RuntimeError() if "still expired" in said:
            return _explain_expired(name, settings)
        case OSError() if error.filename:  # the program of a credential_process, a token, the cache
            given = error.filename == os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
            who = "AWS_WEB_IDENTITY_TOKEN_FILE" if given else profile
            return f"{who} needs {error.filename}, which cannot be used: {error.strerror}. Correct that, {AGAIN}"
        case ValueError() if said.startswith("Invalid endpoint"):
            return f"AWS cannot be reached: {said}. Correct AWS_ENDPOINT_URL or endpoint_url, {AGAIN}"
        case json.JSONDecodeError():
            said = "its output is not JSON"
    if not isinstance(error, BotoCoreError | ValueError | OSError):
        said = f"{type(error).__name__}: {said}"
    what = f"the credential_process of {profile}" if "credential_process" in settings else profile
    return f"{what} gives no credentials: {said or 'it failed'}. Correct it in {_config_file()}, {AGAIN}"


def _explain_unknown_profile(name: str) -> str:
    # The one that botocore looks at first, contrary to its documentation.
    variable = "AWS_DEFAULT_PROFILE" if "AWS_DEFAULT_PROFILE" in os.environ else "AWS_PROFILE"
    if not name:
        return f"{variable} is empty, and there is no AWS profile without a name. Unset it, {AGAIN}"
    if known := botocore.session.get_session().available_profiles:
        return f"{variable} names an AWS profile that does not exist, {name}. Set it to one of {', '.join(known)}."
    command = f"aws login --profile {shlex.quote(name)}"
    return f"there is no AWS profile {name}, nor any other. Sign in, which makes it: {command}"


def _explain_nobody(profile: str) -> str:
    if os.environ.get("GITHUB_ACTIONS"):
        return (
            "there are no AWS credentials. In the job's GitHub environment set the variable AWS_APPLY_ROLE_ARN, or "
            "AWS_PLAN_ROLE_ARN for plans, or the secrets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if profile:
        return f"the AWS profile {profile} has no credentials. Sign in: aws login --profile {shlex.quote(profile)}"
    return f"there are no AWS credentials. Sign in, for example with aws login, or set AWS_PROFILE, {AGAIN}"


def _explain_expired(profile: str, settings: Mapping[str, Any]) -> str:
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return f"the AWS credentials in the environment have expired. Get new ones or unset them, {AGAIN}"
    if not settings.keys() & {"login_session", "sso_session", "sso_start_url"}:
        return f"the credentials of the AWS profile {profile} have expired. Get new ones as you got these, {AGAIN}"
    command = "aws login" if "login_session" in settings else "aws sso login"
    return (
        f"the session of the AWS profile {profile} has expired, or there is none. "
        f"Sign in: {command} --profile {shlex.quote(profile)}"
    )


def _explain_answer(error: ClientError, profile: str, settings: Mapping[str, Any]) -> str:
    code, call = error.response["Error"]["Code"], error.operation_name
    said = _one_line(error.response["Error"].get("Message", ""))
    in_force = next(iter(_profiles()))
    if call == "AssumeRoleWithWebIdentity":
        return f"AWS does not accept the web identity token ({code}): {said}. Renew it, or correct the role, {AGAIN}"
    if code in EXPIRED or call == "CreateOAuth2Token":
        return _explain_expired(profile, settings)
    if code in UNKNOWN_CALLER:
        if os.environ.get("AWS_ACCESS_KEY_ID"):
            return (
                f"AWS does not accept the keys in the environment ({code}). Check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY, for temporary keys AWS_SESSION_TOKEN, and this machine's clock."
            )
        return (
            f"AWS does not accept the keys of the AWS profile {profile} ({code}). Check this machine's clock, or enter "
            f"them again: aws configure --profile {shlex.quote(profile)}"
        )
    if call == "AssumeRole" and "MultiFactorAuthentication" in said:
        return f"AWS does not accept the MFA code for the AWS profile {in_force}. Wait for the next code, {AGAIN}"
    if call == "AssumeRole":
        return (
            f"the AWS profile {in_force} may not assume its role ({code}): {said}. Correct role_arn or the role's "
            f"trust policy, {AGAIN}"
        )
    return f"AWS refuses {call} ({code}): {said}. Check what aws sts get-caller-identity says, {AGAIN}"


def _profiles() -> dict[str, Mapping[str, Any]]:
    """Return the active profile, and the chain of profiles that it takes its credentials from."""
    core = botocore.session.get_session()
    name, known = core.profile or "default", core.full_config["profiles"]
    found: dict[str, Mapping[str, Any]] = {name: known.get(name, {})}
    while (name := found[name].get("source_profile", "")) in known.keys() - found.keys():
        found[name] = known[name]
    return found


def _config_file() -> str:
    return str(botocore.session.get_session().get_config_variable("config_file"))


def _one_line(text: object) -> str:
    return printable(textwrap.shorten(str(text), 300, placeholder=" ...")).rstrip(". ")
