"""The local AWS: an emulator process on 127.0.0.1, reached over TLS.

TLS, because the buckets and queues refuse anything else, here as in AWS. IAM is enforced. Its data lives in
.local/<port>/ and survives a stop. The port is LOCAL_AWS_PORT, 4566 by default.
"""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from commands.settings import ROOT
from commands.terminal import Refused

EMULATOR = Path(__file__).with_name("emulator.py")
REGION = "us-east-1"
START_SECONDS = 30.0
STOP_SECONDS = 30.0
# Longer than clients keep idle connections: Terraform's do for 90 s. A server that closes one while a request is on its
# way may carry that out and not answer, and what is sent again, a new permission for instance, is there already.
KEEP_ALIVE_SECONDS = 600
# By itself, glibc keeps most of what large files have taken, for each thread, once it is free.
GIVE_MEMORY_BACK = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(512 * 1024)}
_started: dict[int, subprocess.Popen[bytes]] = {}  # by this process, by process ID


@dataclass(frozen=True)
class LocalAws:
    """The local AWS of one port. root is the repository; python the interpreter that emulator and functions run on."""

    port: int
    root: Path = ROOT
    python: Path = ROOT / ".venv/local-aws/bin/python"

    @property
    def folder(self) -> Path:
        """The folder of everything that this local AWS stores."""
        return self.root / ".local" / str(self.port)

    @property
    def log(self) -> Path:
        """The emulator's own log."""
        return self.folder / "emulator.log"

    @property
    def calls(self) -> Path:
        """One line for each principal and IAM action that the emulator has allowed."""
        return self.folder / "calls.log"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "emulator.pid"

    @property
    def _tls(self) -> Path:
        return self.folder / "tls"

    def environment(self) -> dict[str, str]:
        """Return the variables that point every AWS client and Terraform here, and nowhere else."""
        return {
            "AWS_ENDPOINT_URL": f"https://127.0.0.1:{self.port}",
            "AWS_CA_BUNDLE": str(self._tls / "client.pem"),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "TF_DATA_DIR": str(self.folder / "terraform"),
        }

    def full_environment(self) -> dict[str, str]:
        """Return the caller's environment without its AWS settings, plus environment()."""
        return {name: value for name, value in os.environ.items() if not is_foreign(name)} | self.environment()

    def start(self, program: Path = EMULATOR) -> bool:
        """Start a program, emulator.py or what imports it, unless it runs already; return whether this call did so.

        Raises Refused when the port is taken or the emulator does not come up.
        """
        if self._answers():
            return False
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise Refused(
                    f"port {self.port} is in use by another program. "
                    f"Stop that, or choose another port: LOCAL_AWS_PORT={self.port + 1} ./deploy.sh local"
                )
        if self._pid_file.exists():
            # It was killed and could not save: what is on disk is inconsistent. Terraform's state is deleted with it.
            shutil.rmtree(self.folder / "state")
            shutil.rmtree(self.folder / "s3")
        for name in ("state", "s3", "tmp", "tls"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not (self._tls / "client.pem").exists():
            certificate = [str(self.python), "-P", "-m", "trustme", "--quiet", "--identities", "127.0.0.1"]
            subprocess.run([*certificate, "--dir", str(self._tls)], check=True)
        options = ["--bind", f"127.0.0.1:{self.port}", "--workers", "0", "--keep-alive", str(KEEP_ALIVE_SECONDS)]
        options += ["--certfile", str(self._tls / "server.pem"), "--keyfile", str(self._tls / "server.key")]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [self.python, "-P", "-m", "hypercorn", f"{program}:app", *options],
                env=self._emulator_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own session: Ctrl-C is for Terraform, which still needs the emulator to save its state.
                start_new_session=True,
            )
        _started[process.pid] = process
        self._pid_file.write_text(str(process.pid))
        try:
            self._await_answer(process)
        except BaseException:
            _kill(process.pid)
            raise
        return True

    def stop(self) -> None:
        """Stop the emulator and its functions, if they run; it saves its data first."""
        if not self._answers():
            return  # the process ID in the file may belong to another process by now
        pid = int(self._pid_file.read_text())
        # The whole group: a function's open connection would hold up the emulator, which waits for them to close.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _is_alive(pid):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            self._pid_file.unlink()  # a file that remains shows start() that the stop was not clean
        _kill(pid)

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
                raise Refused(f"the local AWS did not start; the end of {self.log}:\n{tail}")
            time.sleep(0.05)

    def _emulator_environment(self) -> dict[str, str]:
        settings = {
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "AUTH": "true",
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(self._tls / "server.pem"),
            "MINISTACK_SSL_KEY": str(self._tls / "server.key"),
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "PERSIST_STATE": "1",
            "S3_PERSIST": "1",
            "STATE_DIR": str(self.folder / "state"),
            "S3_DATA_DIR": str(self.folder / "s3"),
            "TMPDIR": str(self.folder / "tmp"),
            "CALLS_LOG": str(self.calls),
            # How long a function's process waits idle for the next event: after a burst each still takes 40 MB.
            "LAMBDA_WARM_TTL_SECONDS": "20",
            # AWS waits a minute or more before it retries a failed event.
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.2",
        }
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
        return kept | self.environment() | settings | GIVE_MEMORY_BACK

    def _answers(self) -> bool:
        """Return whether the emulator of this folder, known by its certificate, answers on the port."""
        try:
            trust = ssl.create_default_context(cafile=str(self._tls / "client.pem"))
            url = f"https://127.0.0.1:{self.port}/_ministack/health"
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
            )
            with opener.open(url, timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False


def is_foreign(name: str) -> bool:
    """Return whether an environment variable could lead a client to another AWS, or change what Terraform does."""
    changes_terraform = name.startswith(("TF_VAR_", "TF_CLI_ARGS")) and name != "TF_CLI_ARGS_init"
    return name.startswith("AWS_") or changes_terraform or name in ("TF_WORKSPACE", "TF_DATA_DIR")


def _is_alive(pid: int) -> bool:
    if pid in _started:  # this process's child stays a zombie until it is waited for
        return _started[pid].poll() is None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _kill(pid: int) -> None:
    """End the emulator and its functions, which are in its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if process := _started.pop(pid, None):
        process.wait()


def port_from_environment() -> int:
    """Return LOCAL_AWS_PORT. Raises Refused when it is not a port number."""
    text = os.environ.get("LOCAL_AWS_PORT") or "4566"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise Refused(f"LOCAL_AWS_PORT is not a port number: {text}. Use one from 1 to 65535, or leave it unset.")
    return int(text)
