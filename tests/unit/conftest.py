"""What the unit tests share: S3 in this process (moto), an invocation's context, and the handler's log."""

from __future__ import annotations

import functools
import gc
import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ.update(
    PROCESSED_BUCKET="processed",
    REJECTED_BUCKET="rejected",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_EC2_METADATA_DISABLED="true",
)
for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "POWERTOOLS_SERVICE_NAME"):
    os.environ.pop(name, None)

from coverage import Coverage  # noqa: E402

measurements: list[Coverage] = []  # of coverage, the newest last; none without pytest-cov


def pause() -> None:
    """Stop measuring: what runs while coverage is measured takes twice as long, whether it is in the handler or not.

    pytest-cov's own mark, no_cover, leaves imports and fixtures measured.
    """
    while running := Coverage.current():
        running.stop()
        if running not in measurements:
            measurements.append(running)


pause()

import botocore.hooks  # noqa: E402
import botocore.session  # noqa: E402

# Sessions share what they read about AWS's services: each would read and parse it again, for a fifth of all the time.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)
# And what they find out about the names of events, each for itself.
aliaser: Any = botocore.hooks.EventAliaser
alias = aliaser(botocore.hooks.HierarchicalEmitter())._alias_event_name
aliaser._alias_event_name = staticmethod(functools.cache(alias))

import moto  # noqa: E402  before the handler makes its client, which is then answered by moto
import moto.backends  # noqa: E402
import moto.core.base_backend  # noqa: E402
import moto.core.models  # noqa: E402
import moto.core.responses  # noqa: E402
import moto.sqs.models  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, Phase, settings  # noqa: E402
from xdist.scheduler import LoadScopeScheduling  # noqa: E402

for measurement in measurements:
    measurement.start()
import lambda_function  # noqa: E402

pause()

from .invocations import Context  # noqa: E402

# What moto works out at every request, though it does not change: a service's URLs, Python's names of actions, the list
# of services. It makes three datetimes to know the time, twice for each message in a queue: a third of the time of some
# tests. And each mock registers thousands of addresses with the requests library, which nothing here uses.
backend: Any = moto.core.base_backend.BaseBackend
responses: Any = moto.core.responses
sqs: Any = moto.sqs.models
backend.urls = property(functools.cache(backend.urls.fget))
responses.camelcase_to_underscores = functools.cache(responses.camelcase_to_underscores)
sqs.camelcase_to_underscores = responses.camelcase_to_underscores
sqs.unix_time_millis = lambda: time.time() * 1000
services = tuple(moto.backends.list_of_moto_modules())
moto.backends.list_of_moto_modules = lambda: services
moto.core.models.RESPONSES_METHODS = []

settings.register_profile(
    "unit",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],  # the machine may be busy
)
settings.register_profile("mutants", settings.get_profile("unit"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("unit")


def pytest_collection_finish() -> None:
    """Keep what was imported out of the garbage collector's sight, which would look through it again and again."""
    gc.collect()
    gc.freeze()


POOLS = [name for name, value in vars(lambda_function).items() if isinstance(value, ThreadPoolExecutor)]
# Their quick tests reach all of the handler.
MEASURED = ("test_events.py", "test_faults.py", "test_framing.py", "test_objects.py", "test_validation.py")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """Pause the measurement that pytest-cov has started in a process of pytest-xdist."""
    pause()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Measure coverage in some tests, with new threads for the handler: only what starts meanwhile is measured."""
    if not measurements or item.path.name not in MEASURED or item.get_closest_marker("slow"):
        return (yield)
    for name in POOLS:
        setattr(lambda_function, name, ThreadPoolExecutor(getattr(lambda_function, name)._max_workers))
    measurements[-1].start()
    try:
        return (yield)
    finally:
        pause()


class OneProcessForAModule(LoadScopeScheduling):  # type: ignore[misc] # has no types
    """Keeps the tests of a module in one process where they share what takes long to make."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if module.endswith(("/test_build.py", "/test_python_env.py", "/test_runtime.py")) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneProcessForAModule:
    return OneProcessForAModule(config, log)


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture
def s3() -> Iterator[Any]:
    """The raw, the processed and the rejected bucket, all versioned."""
    with moto.mock_aws():
        client = lambda_function.s3
        for bucket in ("raw", "processed", "rejected"):
            client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    """The output of the logger."""
    stream = io.StringIO()
    handler: Any = lambda_function.logger.registered_handler
    before = handler.setStream(stream)
    yield stream
    handler.setStream(before)
