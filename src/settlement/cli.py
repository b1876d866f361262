"""The command line: parse, call, print, exit code. The only module that prints.

Layer 7. Heavy imports happen inside commands, so that help appears at once.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from typer.core import TyperCommand, TyperGroup

from . import __version__
from .errors import (
    DONE,
    DONE_WITH_DIFFERENCES,
    DONE_WITH_REJECTED_LINES,
    OUR_FAULT,
    Refusal,
    SettlementError,
)
from .texts import ENGLISH, Words, words_in

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console, RenderableType

    from .forecast import Forecast
    from .ledger import Ledger
    from .policy import Policy
    from .runs import Order, Report
    from .simulate import Simulation
    from .spark import Cluster

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Point-threshold payment settlement for basic medical insurance. 区域点数法阈值结算\n\n"
    "A month of claim lines goes in, an exact and explained payment for every institution comes out.",
)
thresholds_app = typer.Typer(no_args_is_help=True, help="The thresholds of a policy.")
ledger_app = typer.Typer(no_args_is_help=True, help="The ledger folder.")
app.add_typer(thresholds_app, name="thresholds")
app.add_typer(ledger_app, name="ledger")

BatchFolder = Annotated[
    Path, typer.Argument(metavar="BATCH", help="Folder with claims, institutions, agreements …")
]
Month = Annotated[str, typer.Option("--month", help="The month to settle, YYYY-MM.")]
PolicyName = Annotated[
    str, typer.Option("--policy", help="Id of a shipped policy, or the path of a policy file.")
]
LedgerFolder = Annotated[Path, typer.Option("--ledger", help="The ledger folder.")]
Readings = Annotated[
    list[str] | None, typer.Option("--reading", help="key=value: another reading; repeatable.")
]
Encoding = Annotated[
    str | None, typer.Option("--encoding", help="utf-8 or gb18030, instead of detecting it.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse the batch if any line is rejected.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")]
SubmittedOn = Annotated[
    str | None,
    typer.Option("--submitted-on", help="Day the institutions submitted, YYYY-MM-DD: gives the payment day."),
]
Engine = Annotated[str, typer.Option("--engine", help="local: this machine; spark: a cluster.")]
Master = Annotated[
    str | None,
    typer.Option("--master", metavar="URL", help="The cluster: spark://host:port, yarn, local[2] …"),
]
Shards = Annotated[
    int | None,
    typer.Option("--shards", min=1, help="Parts that a cluster settles; default: by lines and cores."),
]
NoDueDate = Annotated[bool, typer.Option("--no-due-date", help="Leave the payment day empty.")]
ClosedMonth = Annotated[str, typer.Argument(metavar="MONTH", help="The month to close, YYYY-MM.")]
Year = Annotated[int, typer.Option("--year", min=1900, max=2998, help="The calendar year, YYYY.")]
Language = Annotated[
    str | None,
    typer.Option(
        "--lang",
        metavar="LANG",
        callback=lambda language: _choose(language),
        expose_value=False,
        help="en or zh; default: the locale's language.",
    ),
]
_LEDGER = Path("ledger")
_MOST_DETAILED = 20  # scenarios that are shown zone by zone
_OPEN_LEDGER: list[Path] = []  # where a trace of our own fault goes
_CHOSEN: list[Words] = []  # by --lang; of several the last one holds


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 done with rejected lines, 2 refused, 3 our own fault."""
    _write_utf8()
    try:
        program()()
    except SettlementError as error:
        _fail(error, error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(DONE) from None
    except Exception as error:  # whatever is left is our own fault, and is told as such
        _fail(error, OUR_FAULT)
    finally:
        _CHOSEN.clear()


def program() -> TyperGroup:
    """The app; whichever command is called takes --lang too, for nobody remembers on which side it belongs."""
    group = cast("TyperGroup", typer.main.get_command(app))  # a group, for it has commands
    lang = next(option for option in group.params if option.name == "lang")
    for command in commands_of(group):
        command.params.append(lang)
    return group


def commands_of(group: TyperGroup) -> Iterator[TyperCommand]:
    for command in group.commands.values():
        if isinstance(command, TyperGroup):
            yield from commands_of(command)
        elif isinstance(command, TyperCommand):
            yield command


def _choose(language: str | None) -> None:
    if language is not None:
        _CHOSEN.append(words_in(language, os.environ))


def _words() -> Words:
    """The texts in the language of --lang, else of the locale."""
    return _CHOSEN[-1] if _CHOSEN else words_in(None, os.environ)


def _say(text: str) -> None:
    """Prints a sentence of the program in the language of the reader."""
    print(_words().told(text))


def _write_utf8() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(encoding="utf-8", errors="replace")


def _fail(error: Exception, code: int) -> None:
    words = _words()
    title = words.told("refused" if code != OUR_FAULT else "our own fault, please report it")
    print(f"{title}\n", file=sys.stderr)
    if isinstance(error, SettlementError):
        print(words.error(error), file=sys.stderr)
    if code == OUR_FAULT:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"where:    {Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
        print(words.told(place), file=sys.stderr)
        print(words.told(f"trace:    {_trace(error)}"), file=sys.stderr)
    raise SystemExit(code)


def _trace(error: Exception) -> str:
    """Write the trace beside the ledger. Frames only: messages of libraries may quote cells of the input."""
    folder = (_OPEN_LEDGER[-1] if _OPEN_LEDGER else _LEDGER).absolute().parent
    path = folder / f"settlement-trace-{datetime.now(UTC):%Y%m%dT%H%M%S}.txt"
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
    message = str(error) if isinstance(error, SettlementError) else ""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o640), "w", encoding="utf-8") as trace:  # noqa: PTH123 - not for others
            trace.write(f"settlement {__version__}\n{type(error).__name__}\n{message}\n{''.join(frames)}")
    except OSError as cause:
        return f"could not be written to {folder}: {cause.strerror}"
    return str(path)


def _version(is_asked: bool) -> None:
    if is_asked:
        print(f"settlement {__version__}")
        raise typer.Exit


@app.callback()
def settlement(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    lang: Language = None,
) -> None:
    """Point-threshold payment settlement for basic medical insurance. 区域点数法阈值结算."""


# ---------------------------------------------------------------- commands


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write into; must be new or empty.")] = Path(
        "demo"
    ),
) -> None:
    """Write a small batch as a bureau would export it, settle it, and show what to try next.

    Example: settlement demo /tmp/demo
    """
    from .policy import load_policy
    from .runs import Order, run
    from .synthesis import write_demo

    _refuse_filled(folder)
    with _progress() as progress:
        progress("writing the batch")
        batch = write_demo(folder / "batch").folder
        order = Order(batch, "2026-03", load_policy("tianjin"))
        report = run(order, _opened(folder / "ledger"), progress)
    _show(report)
    print()
    _say("Try next:")
    for command in (
        f"settlement sql --ledger {folder / 'ledger'} 'from threshold_use'",
        f"settlement run {batch} --month 2026-03 --ledger {folder / 'ledger'} --reading attribution=pro_rata",
        f"settlement explain H12010400002 --month 2026-03 --ledger {folder / 'ledger'}",
    ):
        print(f"  {command}")


@app.command()
def run(
    context: typer.Context,
    batch: BatchFolder,
    month: Annotated[
        str | None, typer.Option("--month", help="The month to settle, YYYY-MM; with --replay, the run's.")
    ] = None,
    policy: PolicyName = "tianjin",
    ledger: LedgerFolder = _LEDGER,
    submitted_on: SubmittedOn = None,
    no_due_date: NoDueDate = False,
    reading: Readings = None,
    encoding: Encoding = None,
    strict: Strict = False,
    engine: Engine = "local",
    master: Master = None,
    shards: Shards = None,
    replay: Annotated[
        str | None,
        typer.Option(
            "--replay",
            metavar="RUN",
            help="Write nothing: settle as this run was settled and compare the results.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Settle a month into the ledger.

    Example: settlement run batch/ --month 2026-03 --policy tianjin --ledger ledger/
    """
    from . import runs

    if replay is not None:
        _refuse_options_of_the_record(context, month, replay)
        _replay(batch, replay, ledger, as_json)
    if month is None:
        raise typer.BadParameter("Missing option '--month'.", ctx=context)
    order = _order(batch, month, policy, reading, encoding, strict, submitted_on, no_due_date)
    order = replace(order, cluster=_cluster(engine, master, shards))
    with _progress() as progress:
        report = runs.run(order, _opened(ledger), progress)
    _report(report, as_json)


@app.command()
def close(month: ClosedMonth, ledger: LedgerFolder = _LEDGER) -> None:
    """Close a month: it never changes again; what comes later is a restatement.

    Example: settlement close 2026-03 --ledger ledger/
    """
    from . import restatement
    from .batch import month_of

    run_id = restatement.close(_existing(ledger), month_of(month))
    _say(f"month {month} closed: run {run_id} stands")


@app.command()
def restate(
    batch: BatchFolder,
    month: Month,
    reason: Annotated[str, typer.Option("--reason", help="Why the closed month is restated.")],
    policy: PolicyName = "tianjin",
    ledger: LedgerFolder = _LEDGER,
    submitted_on: SubmittedOn = None,
    no_due_date: NoDueDate = False,
    reading: Readings = None,
    encoding: Encoding = None,
    strict: Strict = False,
    engine: Engine = "local",
    as_json: AsJson = False,
) -> None:
    """Settle a closed month anew, beside its run; the next open month's statements take the difference.

    Example: settlement restate batch/ --month 2026-03 --reason "late lines" --ledger ledger/
    """
    from . import restatement

    _refuse_other_engine(engine)
    order = _order(batch, month, policy, reading, encoding, strict, submitted_on, no_due_date)
    with _progress() as progress:
        report = restatement.restate(order, _opened(ledger), reason, progress)
    _report(report, as_json)


@app.command()
def clear(
    year: Year,
    ledger: LedgerFolder = _LEDGER,
    assessments: Annotated[
        Path | None, typer.Option(help="Scores that add to those of the batches and come before them.")
    ] = None,
) -> None:
    """Clear a year whose months are closed: annual statements, and the deposit released by assessment.

    Example: settlement clear --year 2026 --ledger ledger/
    """
    from . import clear as clearing
    from .summary import annual_summary

    _existing(ledger)
    _print_parts(annual_summary(clearing.clear(ledger, year, assessments), _words()))


@app.command()
def diff(
    earlier: Annotated[str, typer.Argument(metavar="RUN", help="A run, for example 2026-03.1.")],
    later: Annotated[str, typer.Argument(metavar="RUN", help="A later run of the same month.")],
    batch: Annotated[
        list[str] | None,
        typer.Option("--batch", help="RUN=PATH: where the run's claim lines lie now; repeatable."),
    ] = None,
    ledger: LedgerFolder = _LEDGER,
    as_json: AsJson = False,
) -> None:
    """Show what a later run pays more or less, by institution, class and cause.

    Example: settlement diff 2026-03.1 2026-03.2 --ledger ledger/
    """
    from .differences import difference

    folders = dict(_run_and_folder(text) for text in batch or [])
    with _progress() as progress:
        found = difference(_existing(ledger), earlier, later, folders, progress)
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        _print_frame(found.rows)
        for note in found.notes:
            _say(f"note: {note}")
    raise typer.Exit(DONE if found.rows.is_empty() else DONE_WITH_DIFFERENCES)


@app.command()
def check(
    batch: BatchFolder,
    month: Month,
    policy: PolicyName = "tianjin",
    submitted_on: SubmittedOn = None,
    no_due_date: NoDueDate = False,
    reading: Readings = None,
    encoding: Encoding = None,
    strict: Strict = False,
    engine: Engine = "local",
    master: Master = None,
    shards: Shards = None,
    as_json: AsJson = False,
) -> None:
    """Validate a batch and report what a run would settle, without a ledger.

    Example: settlement check batch/ --month 2026-03
    """
    from . import runs

    order = _order(batch, month, policy, reading, encoding, strict, submitted_on, no_due_date)
    order = replace(order, cluster=_cluster(engine, master, shards))
    with _progress() as progress:
        report = runs.check(order, progress)
    _report(report, as_json)


@app.command()
def simulate(
    batch: BatchFolder,
    month: Month,
    policy: PolicyName = "tianjin",
    growth: Annotated[
        list[str] | None, typer.Option(help="Growth of the month's year, 0.03 = 3 %; repeatable.")
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(help="zone=urban,class=service,factor=1.1: scaled thresholds; repeatable."),
    ] = None,
    other_policy: Annotated[
        list[str] | None, typer.Option(help="Id or path of a policy to compare; repeatable.")
    ] = None,
    every_reading: Annotated[
        bool, typer.Option("--every-reading", help="Each other value of each reading, alone.")
    ] = False,
    combine: Annotated[
        bool, typer.Option("--combine", help="Every policy with every growth and every scale.")
    ] = False,
    reading: Readings = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """What if: what other growth, thresholds, policies or readings would pay. No ledger is touched.

    Example: settlement simulate batch/ --month 2026-03 --growth 0.03 --scale zone=urban,class=service,factor=1.1
    """
    from . import simulate as what_if
    from .batch import month_of
    from .policy import load_policy

    base, *others = (
        _with_readings(load_policy(name), reading or []) for name in (policy, *(other_policy or []))
    )
    asked = what_if.scenarios(
        base, month_of(month), growth=growth or [], scale=scale or [], others=others, is_combined=combine
    )
    readings = what_if.other_readings(base) if every_reading else []
    with _progress() as progress:
        found = what_if.simulate(
            batch, month, base, [*asked, *readings], encoding=encoding, progress=progress
        )
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        _show_simulation(found, len(asked))
    raise typer.Exit(DONE_WITH_REJECTED_LINES if found.base.lines_rejected else DONE)


@app.command()
def forecast(
    batch: BatchFolder,
    month: Month,
    as_of: Annotated[str, typer.Option("--as-of", help="Last day whose lines are looked at, YYYY-MM-DD.")],
    policy: PolicyName = "tianjin",
    reading: Readings = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Who will pass a threshold by the month's end, from the month so far: coaching reminders, T 3(4).

    Example: settlement forecast batch/ --month 2026-03 --as-of 2026-03-15
    """
    from . import forecast as prospects
    from .policy import load_policy

    day = _day(as_of, "--as-of")
    chosen = _with_readings(load_policy(policy), reading or [])
    with _progress() as progress:
        found = prospects.forecast(batch, month, day, chosen, encoding=encoding, progress=progress)
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        _show_forecast(found)


@app.command()
def generate(
    month: Month,
    lines: Annotated[int, typer.Option(help="How many claim lines.")],
    institutions: Annotated[int, typer.Option(help="How many institutions.")],
    out: Annotated[Path, typer.Option(help="Folder to write the batch into; must be new or empty.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same batch.")] = 1,
    file_format: Annotated[str, typer.Option("--format", help="parquet or csv.")] = "parquet",
    capped: Annotated[str, typer.Option(help="Share of institutions over a threshold, 0 to 1.")] = "0.03",
) -> None:
    """Write a synthetic batch of any size.

    Example: settlement generate --month 2026-03 --lines 100000 --institutions 200 --out /tmp/batch --seed 1
    """
    from . import synthesis

    if file_format not in ("parquet", "csv"):
        raise Refusal("--format", repr(file_format), "parquet or csv", "for example --format parquet")
    with _progress() as progress:
        made = synthesis.generate(
            out,
            month,
            lines,
            institutions,
            seed,
            "csv" if file_format == "csv" else "parquet",
            capped,
            progress=lambda written: progress(f"{written:,} lines written"),
        )
    _say(
        f"{made.folder}: {made.lines:,} lines ({made.bad_lines:,} of them bad), {made.institutions:,} institutions, "
        f"{len(made.over_threshold):,} over a threshold"
    )


@app.command()
def runs(ledger: LedgerFolder = _LEDGER) -> None:
    """List the runs of a ledger, and the head of its journal to write down elsewhere.

    Example: settlement runs --ledger ledger/
    """
    from .ledger import query

    kept = _existing(ledger)
    frame = query(
        kept,
        "select run_id, status, policy_id, policy_status, lines_in, lines_rejected, points_settled, finished_at, "
        "left(results_sha256, 12) as results from runs order by month, finished_at",
    )
    _print_frame(frame)
    acts = kept.acts()
    if acts:
        print()
        _say(f"head of the journal: {acts[-1].hash} (act {acts[-1].seq}); keep it elsewhere")


@app.command()
def verify(
    head: Annotated[
        str | None,
        typer.Option("--head", help="Hash of a journal line, as `runs` showed it, kept elsewhere."),
    ] = None,
    ledger: LedgerFolder = _LEDGER,
) -> None:
    """Hash the whole record again, hold the DuckDB file against it, and name every difference.

    Exit code 1 if there are any. Nothing is repaired; give --head to see also what was cut off or written anew.

    Example: settlement verify --ledger ledger/
    """
    from .ledger import Ledger
    from .ledger import verify as verified

    with _progress() as progress:
        found = verified(Ledger(_opened(ledger)), head, progress)
    for difference in found.differences:
        told = (difference.where, difference.found, difference.expected, difference.remedy)
        print(_words().difference(*told))
    for note in found.notes:
        _say(f"note: {note}")
    _say(
        f"{len(found.differences)} difference(s) in {found.lines:,} journal line(s), {found.runs:,} run(s), "
        f"{found.files:,} file(s) of {found.bytes:,} bytes, and settlement.duckdb"
    )
    _say(
        f"head of the journal: {found.head}"
        + ("" if head else "; keep it elsewhere, and give it with --head")
    )
    raise typer.Exit(DONE_WITH_DIFFERENCES if found.differences else DONE)


@app.command()
def sql(
    statement: Annotated[
        str, typer.Argument(metavar="SQL", help="One SELECT over the ledger's tables and views.")
    ],
    ledger: LedgerFolder = _LEDGER,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
) -> None:
    """Ask the ledger a question; nothing can be changed.

    Example: settlement sql "select institution_id, payable_points from current_settlements"
    """
    from .ledger import query
    from .spreadsheet import without_formulas

    frame = query(_existing(ledger), statement)
    if csv:
        print(without_formulas(frame).write_csv(), end="")
    else:
        _print_frame(frame, is_ours=False)


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="Folder to write into; must be new or empty.")],
    ledger: LedgerFolder = _LEDGER,
) -> None:
    """Write the newest run of every month as Parquet files, for readers that must not touch the ledger.

    One folder per table, one partition per month: DuckDB, polars and Spark read a table's folder as one table.

    Example: settlement export --out /tmp/export --ledger ledger/
    """
    from .ledger import export as exported

    files = exported(_existing(ledger), out)
    _say(f"{out}: {len(files):,} files")


@app.command()
def explain(
    institution: Annotated[str, typer.Argument(metavar="INSTITUTION", help="Its id, or its exact name.")],
    month: Month,
    line: Annotated[
        tuple[str, str] | None,
        typer.Option("--line", metavar="CLAIM LINE", help="Explain one line: its claim id and line id."),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Another run of the month than the newest.")
    ] = None,
    ledger: LedgerFolder = _LEDGER,
    as_json: AsJson = False,
) -> None:
    """Explain what an institution is paid for a month, or one line: every figure with its clause.

    Example: settlement explain H12010100001 --month 2026-03
    """
    from .batch import month_of
    from .explain import explain as explained

    made = explained(_existing(ledger), month_of(month), institution, line, run_id)
    print(json.dumps(made.as_json(), ensure_ascii=False) if as_json else made.text(_words()))


@app.command()
def report(
    month: Annotated[str, typer.Option("--month", help="The month to report, YYYY-MM.")],
    out: Annotated[Path, typer.Option(help="Folder to write into: new, empty, or of earlier reports.")],
    ledger: LedgerFolder = _LEDGER,
) -> None:
    """Write a month as one HTML page with charts, and as an Excel workbook of statements.

    Example: settlement report --month 2026-03 --out report/ --ledger ledger/ --lang zh
    """
    from .batch import month_of
    from .report import write_report

    with _progress() as progress:
        written = write_report(_existing(ledger), month_of(month), out, _words(), progress)
    for path in written:
        print(path)


@thresholds_app.command("show")
def thresholds_show(
    policy: PolicyName = "tianjin",
    month: Annotated[str | None, typer.Option(help="YYYY-MM; default: every row.")] = None,
) -> None:
    """Show a policy's thresholds with their clauses.

    Example: settlement thresholds show --policy tianjin --month 2026-03
    """
    from .batch import month_of
    from .policy import load_policy

    loaded = load_policy(policy)
    day = month_of(month) if month else None
    rows = [
        row
        for row in loaded.thresholds
        if day is None or loaded.threshold_row(row.payment_class, row.zone, day) == row
    ]
    status = _words().cell("policy_status", loaded.status)
    print(f"{loaded.title} ({loaded.id}, {status}, {loaded.effective_from} … {loaded.effective_to or ''})")
    if not rows:
        _say(f"no threshold row in force in {month}" if loaded.thresholds else "this policy caps nothing")
        return
    import polars as pl

    _print_frame(
        pl.DataFrame(
            [
                (
                    str(row.effective_from),
                    row.payment_class,
                    row.zone,
                    str(row.drug_consumable),
                    str(row.service),
                    f"{row.clause} {row.phrase}",
                )
                for row in rows
            ],
            schema=["effective_from", "payment_class", "zone", "drug_consumable", "service", "clause"],
            orient="row",
        )
    )


@thresholds_app.command("recalculate")
def thresholds_recalculate(
    year: Year,
    policy: PolicyName = "tianjin",
    ledger: LedgerFolder = _LEDGER,
    out: Annotated[Path | None, typer.Option(help="Write the fragment to this new file.")] = None,
    policy_out: Annotated[
        Path | None, typer.Option(help="Write the policy with the new rows to this new file.")
    ] = None,
) -> None:
    """Make ordinary thresholds for institutions whose coaching has ended, from their peers' year.

    Prints rows to append to the policy file, or writes them to --out. Those without peers are listed, not guessed.

    Example: settlement thresholds recalculate --year 2026 --policy tianjin --ledger ledger/
    """
    from .policy import load_policy
    from .recalculate import recalculate, write

    made = recalculate(_existing(ledger), year, load_policy(policy))
    for path, text in ((out, made.fragment), (policy_out, made.whole_policy)):
        if path is not None:
            write(path, text)
            _say(f"{path}: {made.made.height} threshold(s) from {made.effective_from} on")
    if out is None and policy_out is None:
        print(made.fragment, end="")
    elif not made.missing.is_empty():
        print()
        _say("No threshold, for lack of peers:")
        _print_frame(made.missing.drop("threshold", "peers", "peer_months"))


@ledger_app.command("rebuild")
def ledger_rebuild(ledger: LedgerFolder = _LEDGER) -> None:
    """Make settlement.duckdb anew from the record.

    Example: settlement ledger rebuild --ledger ledger/
    """
    from .ledger import Ledger, publish

    folder = Ledger(ledger)
    if not folder.journal.exists():
        raise _no_ledger(ledger)
    print(publish(folder, anew=True))


# ---------------------------------------------------------------- what the commands share


def _refuse_options_of_the_record(context: typer.Context, month: str | None, run_id: str) -> None:
    """A replay takes everything but the batch and the ledger from the record."""
    of_order = ("policy", "submitted_on", "no_due_date", "reading", "encoding", "strict")
    names = (*of_order, "engine", "master", "shards")
    sources = {name: context.get_parameter_source(name) for name in names}
    given = [
        f"--{name.replace('_', '-')}"
        for name, source in sources.items()
        if source and source.name == "COMMANDLINE"
    ]
    if month is not None and month != run_id.partition(".")[0]:
        given.append(f"--month {month}")
    if given:
        raise Refusal(
            f"--replay {run_id}",
            ", ".join(given),
            "only BATCH and --ledger: the rest is the run's own",
            "leave it out",
        )


def _replay(batch: Path, run_id: str, ledger: Path, as_json: bool) -> None:
    """Settle a recorded run once more; exit 0 for the same results, 1 for others."""
    from .ledger import Ledger
    from .replay import replay

    folder = Ledger(_opened(ledger))
    if not folder.journal.exists():
        raise _no_ledger(ledger)
    with _progress() as progress:
        found = replay(folder, run_id, batch, progress)
    if as_json:
        print(json.dumps(found.as_json()))
    elif found.is_same:
        _say(f"run {run_id} replayed: the same results")
        _say(f"results: {found.results_sha256}")
    else:
        _say(f"run {run_id} replayed: other results, in {', '.join(found.tables)}")
        _say(f"recorded: {found.recorded_sha256} (engine {found.recorded_engine})")
        _say(f"now:      {found.results_sha256} (engine {__version__})")
    raise typer.Exit(DONE if found.is_same else DONE_WITH_DIFFERENCES)


def _run_and_folder(text: str) -> tuple[str, Path]:
    run_id, equals, path = text.partition("=")
    if not (run_id and equals and path):
        raise Refusal("--batch", repr(text), "RUN=PATH", "for example --batch 2026-03.1=old/batch")
    return run_id, Path(path)


def _order(
    batch: Path,
    month: str,
    policy: str,
    reading: list[str] | None,
    encoding: str | None,
    strict: bool,
    submitted_on: str | None,
    no_due_date: bool,
) -> Order:
    from .policy import load_policy
    from .runs import Order

    chosen = _with_readings(load_policy(policy), reading or [])
    day = _day(submitted_on) if submitted_on else None
    return Order(batch, month, chosen, encoding, strict, day, not no_due_date)


def _cluster(engine: str, master: str | None, shards: int | None) -> Cluster | None:
    """The cluster that settles; None for this machine."""
    from .spark import Cluster

    if engine not in ("local", "spark"):
        raise Refusal("--engine", repr(engine), "local or spark", "leave the option out to settle here")
    if engine == "local" and (master is not None or shards is not None):
        option = "--master" if master is not None else "--shards"
        raise Refusal(option, "given without --engine spark", "an option of a cluster", "add --engine spark")
    if engine == "spark" and not master:
        raise Refusal(
            "--engine spark", "no --master", "the cluster", "for example --master spark://host:7077"
        )
    return Cluster(master, shards) if engine == "spark" and master else None


def _refuse_other_engine(engine: str) -> None:
    if engine != "local":
        raise Refusal(
            "--engine",
            repr(engine),
            "local: a restatement is settled and compared on this machine",
            "leave the option out",
        )


def _with_readings(policy: Policy, readings: list[str]) -> Policy:
    pairs = [text.partition("=") for text in readings]
    for key, equals, _ in pairs:
        if not equals:
            raise Refusal("--reading", repr(key), "key=value", "for example --reading attribution=pro_rata")
    return policy.with_readings({key.strip(): value.strip() for key, _, value in pairs}) if pairs else policy


def _day(text: str, option: str = "--submitted-on") -> date:
    try:
        if len(text) != len("2026-04-03"):
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError:
        raise Refusal(option, repr(text), "a day written YYYY-MM-DD", "for example 2026-04-03") from None


def _opened(ledger: Path) -> Path:
    _OPEN_LEDGER.append(ledger)
    return ledger


def _existing(folder: Path) -> Ledger:
    from .ledger import Ledger, publish_if_stale

    ledger = Ledger(_opened(folder))
    if not ledger.journal.exists():
        raise _no_ledger(folder)
    publish_if_stale(ledger)
    return ledger


def _no_ledger(folder: Path) -> Refusal:
    return Refusal(
        str(folder), "no ledger there", "a folder that `settlement run` has written", "give it with --ledger"
    )


def _refuse_filled(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise Refusal(
            str(folder), "a folder with files in it", "a new or empty folder", "name another, or remove it"
        )


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What is being done now, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("…") as status:
        yield lambda sentence: status.update(_words().told(sentence))


def _report(report: Report, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        _show(report)
    raise typer.Exit(DONE_WITH_REJECTED_LINES if report.counts["lines_rejected"] else DONE)


def _show(report: Report) -> None:
    from .summary import summary

    width = _console(140).width
    _print_parts(summary(report, width, _words()))


def _console(width: int) -> Console:
    """As wide as the terminal; where there is none, as given."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width, highlight=False, soft_wrap=False)


def _print_parts(parts: Iterable[RenderableType]) -> None:
    console = _console(140)
    for part in parts:
        console.print(part)
        console.print()


def _show_simulation(found: Simulation, asked: int) -> None:
    """The policy in force, what each scenario changes by zone and class, what each reading changes by zone."""
    _print_heading(found.base.scenario.policy, f"{found.first_day:%Y-%m} · what if, nothing is posted")
    if not found.rejected.is_empty():
        print()
        _say(f"{found.base.lines_rejected:,} line(s) rejected 剔除")
        _print_frame(found.rejected)
    print()
    _say("in force")
    _print_frame(found.in_force())
    for title, outcomes, by in (
        ("scenarios", found.outcomes[:asked], ("zone", "point_class")),
        ("readings", found.outcomes[asked:], ("zone",)),
    ):
        if outcomes:
            print()
            _say(f"{title}, changes against what is in force")
            _print_frame(found.changes(outcomes, by if len(outcomes) <= _MOST_DETAILED else ()))
        for outcome in outcomes:
            if outcome.refusal:
                print()
                print(_words().pair(outcome.scenario.name, "refused"))
                print(_words().error(outcome.refusal))
            elif outcome.scenario.note:
                print(_words().pair(outcome.scenario.name, outcome.scenario.note))


def _show_forecast(found: Forecast) -> None:
    from .forecast import STATUSES

    _print_heading(found.policy, f"{found.as_of:%Y-%m} as of {found.as_of} · forecast, nothing is posted")
    _say(f"{found.lines_used:,} line(s) settled up to that day, of {found.lines_in:,} in the batch")
    print()
    _print_frame(found.reminders().drop("regime", "days_seen"))
    counts = found.as_json()["counts"]
    for status, meaning in STATUSES.items():
        print(f"{counts[status]:>6,}  {_words().pair(status, meaning)}")
    for assumption in found.assumptions:
        _say(f"assumed 假定: {assumption}")


def _print_heading(policy: Policy, title: str) -> None:
    print(f"{_words().told(title)} · {policy.title} ({policy.id})")
    if policy.is_draft:
        _say("DRAFT 征求意见稿: the policy is not in force; these figures are a trial")


def _print_frame(frame: pl.DataFrame, *, is_ours: bool = True) -> None:
    """A table with its heads and codes in the reader's language; the answer to a question of his own as it is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    words = _words() if is_ours else ENGLISH
    table = Table(box=None, pad_edge=False)
    for name, dtype in frame.schema.items():
        table.add_column(words.head(name), justify="right" if dtype.is_numeric() else "left", overflow="fold")
    for row in frame.iter_rows(named=True):
        table.add_row(*(Text(words.cell(name, value)) for name, value in row.items()))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
    _say(f"{frame.height:,} row(s)")


if __name__ == "__main__":
    main()
