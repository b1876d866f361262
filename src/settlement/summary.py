"""What a clerk reads after a run: what came in, what was rejected and why, who is over the threshold.

Layer 6. Makes rich renderables from a `Report`; prints nothing itself. Names from the input are shown as plain
text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import polars as pl
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .clear import Cleared
from .doubts import doubts
from .reasons import Code, RejectRule, UnpaidReason
from .runs import Report
from .terms import ANNUAL_STATEMENTS, CHINESE, Kind
from .texts import Words

_WIDE = 120  # columns that the widest table needs
_LONGEST = 12  # rows of a list before "and n more"


def summary(report: Report, width: int, words: Words) -> Iterator[RenderableType]:
    """The parts of the summary, top to bottom, for a terminal of this width, in one language."""
    yield _title(report, words)
    yield _lines(report, words)
    for note in (*doubts(report), *(report.notes if report.lacks_lines else ())):
        yield Text(words.told(f"WARNING 注意: {note}"), style="bold red")
    if report.counts["lines_rejected"]:
        yield _rejected(report, words)
    yield _zones(report, words)
    yield _over_threshold(report, words, is_narrow=width < _WIDE)
    yield from _overage(report, words)
    yield _unpaid_by_reason(report, words)
    if not report.settlement.budgets.is_empty():
        yield _budgets(report, words)
    if not report.settlement.statements.is_empty():
        yield _money(report, words)
        if report.replaces:
            yield Text(words.told(_NOT_PAID.format(report.replaces)), style="bold")
    if report.replaces:
        yield _adjustments(report, words)
    if not report.settlement.findings.is_empty():
        yield _findings(report, words)
    yield _notes(report, words)


def _title(report: Report, words: Words) -> Text:
    posted = f"posted, restating {report.replaces}" if report.replaces else "posted"
    state = "unchanged, nothing new posted" if report.is_unchanged else posted
    run = words.told(f"run {report.run_id} {state}" if report.run_id else "check only, nothing written")
    text = Text(
        f"\n{report.batch.first_day:%Y-%m} · {report.policy.title} ({report.policy.id}) · {run}", style="bold"
    )
    if report.policy.is_draft:
        draft = "DRAFT 征求意见稿: the policy is not in force; these figures are a trial settlement"
        text.append(f"\n{words.told(draft)}", style="bold red")
    return text


def _table(words: Words, title: str, *columns: str) -> Table:
    table = Table(title=words.told(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        is_text = column.startswith("<")
        table.add_column(
            words.told(column.lstrip("<")),
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=not is_text,
        )
    return table


def _cells(*values: object) -> list[Text]:
    return [Text(_shown(value)) for value in values]


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int | Decimal) else str(value)


def _points(units: int) -> Decimal:
    return Decimal(units).scaleb(-4)


def _lines(report: Report, words: Words) -> Table:
    table = _table(words, "Lines 明细", "<", "lines 明细数", "points 点数")
    for word, chinese in (("in", "读入"), ("settled", "结算"), ("rejected", "剔除")):
        points = _points(report.counts[f"points_{word}"])
        table.add_row(*_cells(words.told(f"{word} {chinese}"), report.counts[f"lines_{word}"], points))
    return table


def _rejected(report: Report, words: Words) -> Table:
    table = _table(words, "Rejected 剔除", "lines", "<rule", "<meaning", "<first seen: file, data row")
    by_rule = (
        report.settlement.tables["rejected_lines"]
        .lazy()
        .group_by("rule", maintain_order=True)
        .agg(pl.len(), pl.col("source").first(), pl.col("row_number").first())
        .sort("len", "rule", descending=[True, False])
        .collect()
    )
    for rule, count, source, row in by_rule.rows():
        known = RejectRule[rule.upper()]
        meaning, place = words.told(_meaning(known)), words.told(f"{source}, row {row}")
        table.add_row(*_cells(count, rule, meaning, place))
    return table


def _meaning(code: Code) -> str:
    return f"{code.sentence} {code.chinese}"


def _zones(report: Report, words: Words) -> Table:
    table = _table(
        words,
        "Settled 结算",
        "<zone 区域",
        "<regime 结算方式",
        "institutions",
        "submitted 申报",
        "payable 支付",
        "unpaid 不予支付",
    )
    by_zone = (
        report.settlement.settlements.group_by("zone", "regime")
        .agg(
            pl.col("institution_id").n_unique(),
            *(pl.col(f"{word}_points").sum() for word in ("submitted", "payable", "unpaid")),
        )
        .sort("zone", "regime", nulls_last=True)
    )
    for zone, regime, *figures in by_zone.rows():
        table.add_row(*_cells(words.told(_word(zone)), words.told(_word(regime)), *figures))
    return table


def _word(code: str | None) -> str:
    return "-" if code is None else f"{code} {CHINESE.get(code, '')}".strip()


def _over_threshold(report: Report, words: Words, *, is_narrow: bool) -> RenderableType:
    over = _with_names(
        report, report.settlement.settlements.filter(pl.col("overage_points") > 0), "overage_points"
    )
    if over.is_empty():
        return Text(words.told("No institution is over its threshold 无机构超出阈值"))
    columns = {
        "institution_id": "<institution 机构",
        "name": "<name 名称",
        "zone": "<zone 区域",
        "point_class": "<class 类别",
        "eligible_points": "eligible 可结算",
        "threshold_points": "threshold 阈值",
        "overage_points": "overage 超出",
        "unpaid_points": "unpaid 未支付",
    }
    shown = [name for name in columns if not (is_narrow and name in ("name", "zone", "eligible_points"))]
    institutions = over["institution_id"].n_unique()
    table = _table(
        words,
        f"Over the threshold 超出阈值: {institutions} institution(s)",
        *(columns[name] for name in shown),
    )
    _add_rows(table, over.select(shown), words)
    return _with_more(table, over.height, "in the view current_settlements", words)


def _overage(report: Report, words: Words) -> Iterator[RenderableType]:
    """Overage by tier with its share, and what relief let through; nothing where there is none."""
    tiers, relief = report.settlement.overage_by_tier, report.settlement.relief
    if not tiers.is_empty():
        yield _tiers(tiers, words)
    if not relief.is_empty():
        institutions = relief["settling_id"].n_unique()
        approved, through = (_points(sum(relief[name])) for name in ("relief", "let_through"))
        yield Text(
            words.told(
                f"Relief 合理超支 (D 37): {institutions} institution(s), {approved:,} points approved, "
                f"{through:,} paid that would not have been"
            )
        )


def _tiers(tiers: pl.DataFrame, words: Words) -> Table:
    table = _table(
        words, "Overage by tier 超出部分分档", "<up to", "share", "groups", "points 点数", "paid 支付"
    )
    reached = tiers.filter(pl.col("overage") > 0).sort("tier").partition_by("tier", maintain_order=True)
    for slices in reached:
        up_to, share = slices.row(0, named=True)["up_to"], slices.row(0, named=True)["paid_share"]
        end = "beyond" if up_to is None else f"{_plain(up_to)} × threshold"
        points, paid = (_points(sum(slices[name])) for name in ("overage", "paid"))
        table.add_row(*_cells(words.told(end), _plain(share), slices.height, points, paid))
    return table


def _plain(number: Decimal) -> str:
    """Without the zeros behind the last decimal that counts."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _with_names(report: Report, frame: pl.DataFrame, by: str) -> pl.DataFrame:
    names = report.batch.tables["institutions"].select("institution_id", "name")
    joined = frame.join(names, on="institution_id", how="left", validate="m:1")
    return joined.sort(by, "institution_id", descending=[True, False])


def _add_rows(table: Table, rows: pl.DataFrame, words: Words) -> None:
    """The first rows, with codes in the words of the language; names and figures as they are."""
    for row in rows.head(_LONGEST).iter_rows(named=True):
        cells = (words.cell(name, cell) if isinstance(cell, str) else cell for name, cell in row.items())
        table.add_row(*_cells(*cells))


def _with_more(table: Table, height: int, where: str, words: Words) -> Table:
    """The table, and how many rows it leaves out, to be found `where`."""
    if height > _LONGEST:
        more = f"and {height - _LONGEST:,} more"
        table.caption = words.told(f"{more}, {where}" if where else more)
        table.caption_justify = "left"
    return table


def _unpaid_by_reason(report: Report, words: Words) -> RenderableType:
    by_reason = (
        report.settlement.tables["unpaid_lines"]
        .lazy()
        .group_by("reason")
        .agg(pl.len(), pl.col("unpaid_points").sum())
        .sort("unpaid_points", "reason", descending=[True, False])
        .collect()
    )
    if by_reason.is_empty():
        settled = report.counts["lines_settled"]
        nothing = (
            "Every settled line is paid in full 全部支付" if settled else "No line is settled 无结算明细"
        )
        return Text(words.told(nothing))
    table = _table(words, "Unpaid lines 未支付明细", "lines", "points", "<reason", "<meaning", "<clause")
    for reason, count, points in by_reason.rows():
        known = UnpaidReason[reason.upper()]
        table.add_row(*_cells(count, points, reason, words.told(_meaning(known)), known.clause))
    return table


def _budgets(report: Report, words: Words) -> Table:
    columns = ("budget 预算", "points 点数", "point value 点值", "remainder 结余")
    table = _table(words, "Budgets 预算与点值", "<zone 区域", "<class 类别", *columns)
    budgets = report.settlement.budgets
    _add_rows(table, budgets.drop("month"), words)
    return _with_more(table, budgets.height, "in budgets", words)


_NOT_PAID = "these statements are not paid: run {} stays the one that is, and the next open month takes the adjustments"


def _money(report: Report, words: Words) -> Table:
    statements = report.settlement.statements
    due = statements["payment_due"].max()
    table = _table(words, "Statements 拨付单", f"<{statements.height} institution(s) 机构", "yuan 元")
    table.caption_justify = "left"
    table.caption = words.told(f"payment due 付款期限 {due!s}") if due else None
    for column, word in (
        ("payable_amount", "gross 应付"),
        ("deposit_withheld", "deposit withheld 质量保证金"),
        ("disallowed", "disallowed 拒付"),
        ("penalty", "penalty 违约金"),
        ("recovery", "recovery 追回"),
        ("prepayment", "prepayment offset 预付冲抵"),
        ("adjustment", "adjustment 更正"),
        ("brought_forward", "brought forward 上期结转"),
        ("net_payable", "net payable 实付"),
        ("carried_forward", "carried forward 结转下期"),
    ):
        table.add_row(*_cells(words.told(word), statements[column].sum()))
    return table


def _adjustments(report: Report, words: Words) -> RenderableType:
    """What a restatement changes, for the next open month's statements to pay or recover."""
    rows = report.settlement.adjustments
    if rows.is_empty():
        return Text(words.told("Nothing to pay or recover 无更正金额"))
    table = _table(words, "Adjustments 更正", "<institution 机构", "<cause 原因", "points 点数", "yuan 元")
    _add_rows(table, rows.select("institution_id", "cause", "points_delta", "amount_delta"), words)
    return _with_more(table, rows.height, "in the table adjustments", words)


def _findings(report: Report, words: Words) -> Table:
    table = _table(words, "Findings 待处理事项", "<institution", "<finding", "<day", "<detail", "<clause")
    findings = report.settlement.findings
    _add_rows(table, findings.select("institution_id", "finding", "occurred_on", "detail", "clause"), words)
    return _with_more(table, findings.height, "", words)


def _notes(report: Report, words: Words) -> Text:
    """Files, readings, assumptions and proofs."""
    return Text("\n".join(map(words.told, _told_with(report))))


def _told_with(report: Report) -> Iterator[str]:
    for source in (*report.batch.sources, *report.batch.small_files):
        unused = [*source.columns.passed_over, *source.columns.unknown]
        ignored = f"; ignored columns: {', '.join(unused)}" if unused else ""
        yield f"read {source.name} ({source.encoding}){ignored}"
    yield f"policy {report.policy.path.name}, SHA-256 {report.policy.sha256[:12]}…"
    for payment_class in _idle_classes(report):
        yield f"no institution is of payment class {payment_class}: its threshold rows stay unused"
    readings = report.policy.readings.as_dict()
    yield f"readings 口径: {', '.join(f'{key} = {value}' for key, value in readings.items())}"
    for note in report.notes:
        yield f"note: {note}"
    for assumption in report.settlement.assumptions:
        yield f"assumed 假定: {assumption}"
    yield f"{len(report.proofs)} proofs hold; results {report.results_sha256[:16]}…; {report.seconds} s"


def _idle_classes(report: Report) -> list[str]:
    """Payment classes of threshold rows that no institution of the registry has: often a typing error."""
    known = set(report.batch.tables["institutions"]["payment_class"])
    return sorted({row.payment_class for row in report.policy.thresholds} - known)


def annual_summary(cleared: Cleared, words: Words) -> Iterator[RenderableType]:
    """The parts of a cleared year's summary: every figure with its clause, then the institutions."""
    year, state = cleared.year.year, "unchanged, nothing new posted" if cleared.is_unchanged else "cleared"
    months = ", ".join(cleared.year.standing[month] for month in sorted(cleared.year.standing))
    title = words.told(f"{year} · annual clearing 年终清算 · {state}")
    yield Text(f"\n{title}\n{words.told(f'runs {months}')}", style="bold")
    yield _annual_figures(cleared.statements, words)
    yield _annual_institutions(cleared.statements, words)
    notes = [f"deposit released by the bands of policy {cleared.policy.id}, {cleared.policy.sha256[:12]}…"]
    if cleared.unused:
        notes.append(f"assessed, but without a statement in {year}: {', '.join(cleared.unused)}")
    if cleared.year.unsettled:
        without = ", ".join(f"{month:%Y-%m}" for month in cleared.year.unsettled)
        notes.append(f"no run of {without}: a deposit withheld there later is in no clearing")
    yield Text("\n".join(map(words.told, [*notes, f"{len(cleared.proofs)} proofs hold"])))


def _annual_figures(statements: pl.DataFrame, words: Words) -> Table:
    table = _table(
        words,
        "Annual statements 年终清算单",
        f"<{statements.height} institution(s) 机构",
        "yuan 元",
        "<clause",
    )
    for column in ANNUAL_STATEMENTS.columns:
        if column.kind is Kind.MONEY:
            name = f"{column.name.replace('_', ' ')} {column.chinese}"
            shown = column.chinese if words.is_chinese else name
            table.add_row(*_cells(shown, statements[column.name].sum(), column.clause))
    return table


def _annual_institutions(statements: pl.DataFrame, words: Words) -> Table:
    figures = (
        "payable_amount",
        "deposit_withheld",
        "net_payable",
        "score",
        "deposit_released",
        "deposit_forfeited",
    )
    heads = (
        "payable 应付",
        "deposit 保证金",
        "transferred 实付",
        "score 得分",
        "released 返还",
        "forfeited 不返还",
    )
    table = _table(words, "Deposit 质量保证金", "<institution 机构", *heads, "<band 依据")
    largest = statements.sort("payable_amount", "institution_id", descending=[True, False])
    _add_rows(table, largest.select("institution_id", *figures, "clause"), words)
    return _with_more(table, statements.height, "in annual_statements", words)
