"""What is refused before there is a cluster: no pyspark or Java, no answer, options that do not fit."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from settlement import cli
from settlement.errors import Fault, Refusal
from settlement.spark import session, worker
from test_batch import write_batch


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the program says when it refuses these words."""
    monkeypatch.setattr(sys, "argv", ["settlement", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "spark"], "no --master"),
        (["--master", "local[2]"], "--master"),
        (["--shards", "3"], "--shards"),
        (["--engine", "cloud"], "local or spark"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_options_that_do_not_fit(
    command: str,
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    batch = write_batch(tmp_path / "batch")
    monkeypatch.chdir(tmp_path)
    assert said in refusal(monkeypatch, capsys, command, str(batch), "--month", "2026-03", *options)
    assert not (tmp_path / "ledger").exists()


def test_a_restatement_is_settled_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("restate", str(tmp_path), "--month", "2026-03", "--reason", "r", "--engine", "spark")
    assert "on this machine" in refusal(monkeypatch, capsys, *words)


@pytest.mark.parametrize("missing", ["pyspark", "pyarrow", "pandas"])
def test_without_the_extra_it_says_how_to_install_it(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "find_spec", lambda name: None if name == missing else object())
    words = (
        "run",
        str(write_batch(tmp_path / "batch")),
        "--month",
        "2026-03",
        "--ledger",
        str(tmp_path / "l"),
    )
    told = refusal(monkeypatch, capsys, *words, "--engine", "spark", "--master", "local[2]")
    assert f"not installed: {missing}" in told
    assert "settlement[spark]" in told
    assert not (tmp_path / "l").exists()


def test_without_java_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "find_spec", lambda _: object())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(Refusal, match="no Java"), session.session("local[2]"):
        pass


def test_a_master_that_does_not_answer_is_refused_at_once() -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))  # taken, and nobody listens
        with pytest.raises(Refusal, match="refused"):
            session.refuse_unreachable(f"spark://127.0.0.1:{door.getsockname()[1]}")


def test_one_of_several_masters_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        session.refuse_unreachable(f"spark://127.0.0.1:1,127.0.0.1:{door.getsockname()[1]}")


@pytest.mark.parametrize(
    "master", ["spark://", "spark://host", "spark://host:seven", "spark://127.0.0.1:99999"]
)
def test_an_address_that_is_none_is_refused(master: str) -> None:
    with pytest.raises(Refusal, match="spark://"):
        session.refuse_unreachable(master)


def test_what_a_worker_refused_is_refused() -> None:
    told = (
        f"Traceback …\nRuntimeError: {worker.REFUSED} "
        + '["file \\"x\\"", "found", "expected", "remedy"]\n\n at'
    )
    found = session.in_our_words(told)
    assert isinstance(found, Refusal)
    assert found.args == ('file "x"', "found", "expected", "remedy")


def test_what_failed_on_a_worker_is_told_by_its_frames_alone() -> None:
    def failing() -> None:
        with worker._told_without_cells():
            raise ValueError("1201011990" * 2)

    with pytest.raises(RuntimeError) as raised:
        failing()
    found = session.in_our_words(f"Job aborted\nTraceback\nRuntimeError: {raised.value}\n\n\tat org.apache")
    assert isinstance(found, Fault)
    assert "12010119901201011990" not in str(found)
    assert "ValueError" in found.found
    assert "in failing" in found.found
    assert "org.apache" not in found.found
