"""A standalone Spark master with two workers on 127.0.0.1, started from the wheel alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

SECONDS_TO_START = 120
DEFAULTS = """
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.driver.memory 700m
spark.executor.memory 700m
spark.ui.enabled false
"""
LOGGING = """
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
"""


def lacking() -> str | None:
    """Why there can be no cluster here; None if there can."""
    missing = [name for name in ("pyspark", "pyarrow", "pandas") if find_spec(name) is None]
    if missing:
        return f"no {', '.join(missing)}: pip install '.[spark]', or make test-spark"
    return None if shutil.which("java") else "no Java: Spark needs 17 or newer"


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@dataclass
class Standalone:
    """A master and its workers, one core each; `environment` is what a driver must be started with."""

    folder: Path
    workers: int = 2
    cores: int = 1
    port: int = field(default_factory=free_port)
    web_port: int = field(default_factory=free_port)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"spark://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        import pyspark

        return {
            **os.environ,
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "SPARK_CONF_DIR": str(self.folder / "conf"),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_WORKER_DIR": str(self.folder / "work"),
            "SPARK_NO_DAEMONIZE": "1",
            "PYSPARK_PYTHON": sys.executable,
        }

    def __enter__(self) -> Standalone:
        for name in ("conf", "local", "work"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "conf" / "spark-defaults.conf").write_text(DEFAULTS)
        (self.folder / "conf" / "log4j2.properties").write_text(LOGGING)
        self._start(
            "master.Master", "--host", "127.0.0.1", "--port", self.port, "--webui-port", self.web_port
        )
        self._wait_until(lambda: self._alive() == 0)
        for _ in range(self.workers):
            options = (
                "--host",
                "127.0.0.1",
                "--cores",
                self.cores,
                "--memory",
                "1g",
                "--webui-port",
                free_port(),
            )
            self._start("worker.Worker", *options, self.url)
        self._wait_until(lambda: self._alive() == self.workers)
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._started):
            process.terminate()
        for process in self._started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()

    def executors(self) -> list[int]:
        """Process ids of the executors that this cluster's workers have started."""
        return [
            process
            for worker in self._started[1:]
            for process in descendants(worker.pid)
            if b"CoarseGrainedExecutorBackend" in command_of(process)
        ]

    def kill_an_executor(self) -> int:
        process = self.executors()[0]
        os.kill(process, signal.SIGKILL)
        return process

    def _start(self, name: str, *options: str | int) -> None:
        home = Path(self.environment["SPARK_HOME"])
        words = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *map(str, options)]
        environment = {**self.environment, "SPARK_DAEMON_MEMORY": "256m"}
        with (self.folder / f"{len(self._started)}.log").open("wb") as log:
            self._started.append(
                subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
            )

    def _alive(self) -> int | None:
        """How many workers the master knows; None while it does not answer."""
        with suppress(OSError, ValueError):
            page = f"http://127.0.0.1:{self.web_port}/json/"
            with urllib.request.urlopen(page, timeout=5) as answer:
                return int(json.load(answer)["aliveworkers"])
        return None

    def _wait_until(self, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + SECONDS_TO_START
        while not holds():
            if time.monotonic() > until or any(process.poll() is not None for process in self._started):
                logs = "\n".join(
                    path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log")
                )
                self.__exit__()
                raise AssertionError(f"the cluster did not start\n{logs}")
            time.sleep(0.1)


def descendants(process: int) -> list[int]:
    found, asked = [], [process]
    while asked:
        with suppress(OSError):
            threads = Path(f"/proc/{asked[0]}/task").iterdir()
            children = sorted(
                {int(word) for thread in threads for word in (thread / "children").read_text().split()}
            )
            found += children
            asked += children
        asked.pop(0)
    return found


def command_of(process: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""
