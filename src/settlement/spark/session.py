"""The connection with a cluster: started quietly, refused clearly where there is none."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Fault, Refusal, SettlementError
from . import worker

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_STATIC = {
    "spark.app.name": "settlement",
    "spark.shuffle.compress": "false",  # blobs are compressed already
    "spark.shuffle.spill.compress": "false",
    "spark.driver.maxResultSize": "0",  # shards tell small tables, but there may be thousands of them
    "spark.ui.showConsoleProgress": "false",
    "spark.executorEnv.POLARS_MAX_THREADS": "1",  # a task has one core
}
_SQL = {
    "spark.sql.adaptive.enabled": "false",  # the number of shards is ours
    "spark.sql.execution.arrow.maxRecordsPerBatch": "16",  # blobs of up to 50 MB each
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 * 2**20),
}
_LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}
_SECONDS_TO_CONNECT = 10


@contextmanager
def session(master: str) -> Iterator[SparkSession]:
    """The session of this process if it has one, else a new one that ends with the block.

    Raises: Refusal without pyspark or Java, or if there is no such cluster.
    """
    _refuse_without_spark()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        running = _running()
        spark = running or _started(master)
        try:
            with _settings_of_ours(spark):
                yield spark
        finally:
            if running is None:
                spark.stop()


@contextmanager
def _settings_of_ours(spark: SparkSession) -> Iterator[None]:
    """The session may be somebody's: it has its own settings again afterwards."""
    ours = {**_SQL, "spark.sql.shuffle.partitions": str(spark.sparkContext.defaultParallelism)}
    before = {key: spark.conf.get(key) for key in ours}
    for key, value in ours.items():
        spark.conf.set(key, value)
    try:
        yield
    finally:
        for key, value in before.items():
            spark.conf.set(key, value)


def _running() -> SparkSession | None:
    from pyspark.sql import SparkSession

    return SparkSession.getActiveSession()


def _started(master: str) -> SparkSession:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    refuse_unreachable(master)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master)
    for key, value in _settings(master).items():
        builder = builder.config(key, value)
    log = Path(tempfile.gettempdir()) / f"settlement-spark-{os.getpid()}.log"
    try:
        with _quiet(log):
            spark = builder.getOrCreate()
    except (PySparkException, _java_error(), OSError, ValueError) as error:
        raise Refusal(
            f"--master {master}",
            f"Spark did not start: {_last_words(log) or type(error).__name__}",
            "a cluster that answers, and Java 17 or newer on this machine",
            f"see {log}",
        ) from error
    log.unlink(missing_ok=True)  # Spark holds it open; it goes with Spark
    return spark


def _settings(master: str) -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    own = {"spark.executorEnv.PYTHONPATH": path} if path else {}
    return {**_STATIC, **own, **(_LOCAL if master.startswith("local") else {})}


def _java_error() -> type[Exception]:
    from py4j.protocol import Py4JError

    return Py4JError  # type: ignore[no-any-return]


@contextmanager
def _quiet(log: Path) -> Iterator[None]:
    """Spark's own log goes to a file: its process takes over the standard error that this one has now."""
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as kept:  # noqa: PTH123
        sys.stderr.flush()
        shown = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(shown, 2)
            os.close(shown)


def _last_words(log: Path) -> str:
    """The last error that Spark logged, in one line."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    errors = [line for line in lines if re.search(r"ERROR|Exception|Unsupported", line)]
    return errors[-1].strip()[:200] if errors else ""


# ---------------------------------------------------------------- what is refused


def _refuse_without_spark() -> None:
    missing = [name for name in ("pyspark", "pyarrow", "pandas") if find_spec(name) is None]
    if missing:
        raise Refusal(
            "--engine spark",
            f"not installed: {', '.join(missing)}",
            "the extra `spark`",
            "python3 -m pip install 'settlement[spark]', here and on every node",
        )
    java = os.environ.get("JAVA_HOME")
    if not (java and (Path(java) / "bin" / "java").exists()) and shutil.which("java") is None:
        raise Refusal(
            "--engine spark",
            "no Java",
            "Java 17 or newer, in PATH or JAVA_HOME",
            "install a Java runtime, for example openjdk-17-jre-headless",
        )


def refuse_unreachable(master: str) -> None:
    """Ask the first door of a standalone master before Spark does, which would try for a minute."""
    addresses = [part.rpartition(":") for part in master.removeprefix("spark://").split(",")]
    if not master.startswith("spark://"):
        return
    found = [_answers(host, port) for host, _, port in addresses]
    if None not in found:
        raise Refusal(
            f"--master {master}",
            f"no answer: {found[0]}",
            "a Spark master that can be reached, written spark://host:port",
            "check the address, and that the master runs",
        )


def _answers(host: str, port: str) -> str | None:
    """None for a door that opens, else what was found."""
    if not (host and port.isdigit()):
        return "no host and port"
    try:
        with socket.create_connection((host, int(port)), _SECONDS_TO_CONNECT):
            return None
    except (OSError, OverflowError) as error:
        return str(getattr(error, "strerror", None) or error).lower()


# ---------------------------------------------------------------- what fails while it runs


@contextmanager
def told_in_our_words() -> Iterator[None]:
    """What a worker refused is refused; any other failure of the cluster is a fault, told without cells."""
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, _java_error()) as error:
        raise in_our_words(str(error)) from None


def in_our_words(message: str) -> SettlementError:
    """What Spark says of a failed task, as the refusal or the fault it was."""
    refused = re.search(rf"{worker.REFUSED} (\[.*\])", message)
    if refused:
        return Refusal(*json.loads(refused[1]))
    failed = re.search(rf"{worker.FAILED} (.*?)(?:\n\s*\n|\n\s*at |\Z)", message, re.DOTALL)
    found = failed[1] if failed else message.partition("\n")[0][:300]
    return Fault("spark", found, "a job that ends", "see the cluster's own log; nothing was posted")
