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
from .reasons import RejectRule, UnpaidReason
from .runs import Report
from .terms import ANNUAL_STATEMENTS, CHINESE, Kind

_WIDE = 120  # columns that the widest table needs
_LONGEST = 12  # rows of a list before "and n more"


def summary(report: Report, width: int) -> Iterator[RenderableType]:
    """The parts of the summary, top to bottom, for a terminal of this width."""
    yield _title(report)
    yield _lines(report)
    if _is_suspicious(report):
        yield _warning(report)
    for note in report.notes if report.lacks_lines else ():
        yield Text(f"WARNING 注意: {note}", style="bold red")
    if report.counts["lines_rejected"]:
        yield _rejected(report)
    yield _zones(report)
    yield _over_threshold(report, is_narrow=width < _WIDE)
    yield from _overage(report)
    yield _unpaid_by_reason(report)
    if not report.settlement.budgets.is_empty():
        yield _budgets(report)
    if not report.settlement.statements.is_empty():
        yield _money(report)
    if report.replaces:
        yield _adjustments(report)
    if not report.settlement.findings.is_empty():
        yield _findings(report)
    yield _notes(report)


def _title(report: Report) -> Text:
    posted = f"posted, restating {report.replaces}" if report.replaces else "posted"
    state = "unchanged, nothing new posted" if report.is_unchanged else posted
    run = f"run {report.run_id} {state}" if report.run_id else "check only, nothing written"
    text = Text(
        f"\n{report.batch.first_day:%Y-%m} · {report.policy.title} ({report.policy.id}) · {run}", style="bold"
    )
    if report.policy.is_draft:
        text.append(
            "\nDRAFT 征求意见稿: the policy is not in force; these figures are a trial settlement",
            style="bold red",
        )
    return text


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        is_text = column.startswith("<")
        table.add_column(
            column.lstrip("<"), justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text
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


def _lines(report: Report) -> Table:
    table = _table("Lines 明细", "<", "lines 明细数", "points 点数")
    for word, chinese in (("in", "读入"), ("settled", "结算"), ("rejected", "剔除")):
        points = _points(report.counts[f"points_{word}"])
        table.add_row(*_cells(f"{word} {chinese}", report.counts[f"lines_{word}"], points))
    return table


def _rejected(report: Report) -> Table:
    table = _table("Rejected 剔除", "lines", "<rule", "<meaning", "<first seen: file, data row")
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
        table.add_row(*_cells(count, rule, f"{known.sentence} {known.chinese}", f"{source}, row {row}"))
    return table


def _zones(report: Report) -> Table:
    table = _table(
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
        table.add_row(*_cells(_word(zone), _word(regime), *figures))
    return table


def _word(code: str | None) -> str:
    return "-" if code is None else f"{code} {CHINESE.get(code, '')}".strip()


def _over_threshold(report: Report, *, is_narrow: bool) -> RenderableType:
    over = _with_names(
        report, report.settlement.settlements.filter(pl.col("overage_points") > 0), "overage_points"
    )
    if over.is_empty():
        return Text("No institution is over its threshold 无机构超出阈值")
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
        f"Over the threshold 超出阈值: {institutions} institution(s)", *(columns[name] for name in shown)
    )
    for row in over.select(shown).head(_LONGEST).rows():
        table.add_row(*_cells(*row))
    return _with_more(table, over.height)


def _overage(report: Report) -> Iterator[RenderableType]:
    """Overage by tier with its share, and what relief let through; nothing where there is none."""
    tiers, relief = report.settlement.overage_by_tier, report.settlement.relief
    if not tiers.is_empty():
        yield _tiers(tiers)
    if not relief.is_empty():
        institutions = relief["settling_id"].n_unique()
        approved, through = (_points(sum(relief[name])) for name in ("relief", "let_through"))
        yield Text(
            f"Relief 合理超支 (D 37): {institutions} institution(s), {approved:,} points approved, "
            f"{through:,} paid that would not have been"
        )


def _tiers(tiers: pl.DataFrame) -> Table:
    table = _table("Overage by tier 超出部分分档", "<up to", "share", "groups", "points 点数", "paid 支付")
    reached = tiers.filter(pl.col("overage") > 0).sort("tier").partition_by("tier", maintain_order=True)
    for slices in reached:
        up_to, share = slices.row(0, named=True)["up_to"], slices.row(0, named=True)["paid_share"]
        end = "beyond" if up_to is None else f"{_plain(up_to)} × threshold"
        points, paid = (_points(sum(slices[name])) for name in ("overage", "paid"))
        table.add_row(*_cells(end, _plain(share), slices.height, points, paid))
    return table


def _plain(number: Decimal) -> str:
    """Without the zeros behind the last decimal that counts."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _is_suspicious(report: Report) -> bool:
    return report.counts["lines_settled"] == 0 or _elsewhere(report) * 2 > report.counts["lines_in"]


def _elsewhere(report: Report) -> int:
    is_outside = pl.col("rule") == RejectRule.OUTSIDE_MONTH.value
    rejected = report.settlement.tables["rejected_lines"].lazy()
    return int(rejected.select(is_outside.sum()).collect().item())


def _warning(report: Report) -> Text:
    month = f"{report.batch.first_day:%Y-%m}"
    return Text(
        f"WARNING 注意: {report.counts['lines_settled']:,} line(s) settled; {_elsewhere(report):,} of "
        f"{report.counts['lines_in']:,} belong to another month than {month}. Is --month right?",
        style="bold red",
    )


def _with_names(report: Report, frame: pl.DataFrame, by: str) -> pl.DataFrame:
    names = report.batch.tables["institutions"].select("institution_id", "name")
    joined = frame.join(names, on="institution_id", how="left", validate="m:1")
    return joined.sort(by, "institution_id", descending=[True, False])


def _with_more(table: Table, height: int) -> Table:
    if height > _LONGEST:
        table.caption = f"and {height - _LONGEST:,} more, in the view current_settlements"
        table.caption_justify = "left"
    return table


def _unpaid_by_reason(report: Report) -> RenderableType:
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
        return Text(
            "Every settled line is paid in full 全部支付" if settled else "No line is settled 无结算明细"
        )
    table = _table("Unpaid lines 未支付明细", "lines", "points", "<reason", "<meaning", "<clause")
    for reason, count, points in by_reason.rows():
        known = UnpaidReason[reason.upper()]
        table.add_row(*_cells(count, points, reason, f"{known.sentence} {known.chinese}", known.clause))
    return table


def _budgets(report: Report) -> Table:
    columns = ("budget 预算", "points 点数", "point value 点值", "remainder 结余")
    table = _table("Budgets 预算与点值", "<zone 区域", "<class 类别", *columns)
    budgets = report.settlement.budgets
    for row in budgets.drop("month").head(_LONGEST).rows():
        table.add_row(*_cells(*row))
    if budgets.height > _LONGEST:
        table.caption, table.caption_justify = f"and {budgets.height - _LONGEST:,} more, in budgets", "left"
    return table


def _money(report: Report) -> Table:
    statements = report.settlement.statements
    due = statements["payment_due"].max()
    table = _table("Statements 拨付单", f"<{statements.height} institution(s) 机构", "yuan 元")
    table.caption, table.caption_justify = (f"payment due 付款期限 {due!s}" if due else None), "left"
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
        table.add_row(*_cells(word, statements[column].sum()))
    return table


def _adjustments(report: Report) -> RenderableType:
    """What a restatement changes, for the next open month's statements to pay or recover."""
    rows = report.settlement.adjustments
    if rows.is_empty():
        return Text("Nothing to pay or recover 无更正金额")
    table = _table("Adjustments 更正", "<institution 机构", "<cause 原因", "points 点数", "yuan 元")
    for row in rows.select("institution_id", "cause", "points_delta", "amount_delta").head(_LONGEST).rows():
        table.add_row(*_cells(*row))
    if rows.height > _LONGEST:
        table.caption = f"and {rows.height - _LONGEST:,} more, in the table adjustments"
        table.caption_justify = "left"
    return table


def _findings(report: Report) -> Table:
    table = _table("Findings 待处理事项", "<institution", "<finding", "<day", "<detail", "<clause")
    findings = report.settlement.findings
    for row in (
        findings.select("institution_id", "finding", "occurred_on", "detail", "clause").head(_LONGEST).rows()
    ):
        table.add_row(*_cells(*row))
    if findings.height > _LONGEST:
        table.caption, table.caption_justify = f"and {findings.height - _LONGEST:,} more", "left"
    return table


def _notes(report: Report) -> Text:
    """Files, readings, assumptions and proofs."""
    text = Text()
    for source in (*report.batch.sources, *report.batch.small_files):
        unused = [*source.columns.passed_over, *source.columns.unknown]
        ignored = f"; ignored columns: {', '.join(unused)}" if unused else ""
        text.append(f"read {source.name} ({source.encoding}){ignored}\n")
    text.append(f"policy {report.policy.path.name}, SHA-256 {report.policy.sha256[:12]}…\n")
    for payment_class in _idle_classes(report):
        text.append(f"no institution is of payment class {payment_class}: its threshold rows stay unused\n")
    readings = report.policy.readings.as_dict()
    text.append("readings 口径: " + ", ".join(f"{key} = {value}" for key, value in readings.items()) + "\n")
    for note in report.notes:
        text.append(f"note: {note}\n")
    for assumption in report.settlement.assumptions:
        text.append(f"assumed 假定: {assumption}\n")
    text.append(
        f"{len(report.proofs)} proofs hold; results {report.results_sha256[:16]}…; {report.seconds} s"
    )
    return text


def _idle_classes(report: Report) -> list[str]:
    """Payment classes of threshold rows that no institution of the registry has: often a typing error."""
    known = set(report.batch.tables["institutions"]["payment_class"])
    return sorted({row.payment_class for row in report.policy.thresholds} - known)


def annual_summary(cleared: Cleared) -> Iterator[RenderableType]:
    """The parts of a cleared year's summary: every figure with its clause, then the institutions."""
    year, state = cleared.year.year, "unchanged, nothing new posted" if cleared.is_unchanged else "cleared"
    months = ", ".join(cleared.year.standing[month] for month in sorted(cleared.year.standing))
    yield Text(f"\n{year} · annual clearing 年终清算 · {state}\nruns {months}", style="bold")
    yield _annual_figures(cleared.statements)
    yield _annual_institutions(cleared.statements)
    notes = [f"deposit released by the bands of policy {cleared.policy.id}, {cleared.policy.sha256[:12]}…"]
    if cleared.unused:
        notes.append(f"assessed, but without a statement in {year}: {', '.join(cleared.unused)}")
    yield Text("\n".join([*notes, f"{len(cleared.proofs)} proofs hold"]))


def _annual_figures(statements: pl.DataFrame) -> Table:
    table = _table(
        "Annual statements 年终清算单", f"<{statements.height} institution(s) 机构", "yuan 元", "<clause"
    )
    for column in ANNUAL_STATEMENTS.columns:
        if column.kind is Kind.MONEY:
            words = f"{column.name.replace('_', ' ')} {column.chinese}"
            table.add_row(*_cells(words, statements[column.name].sum(), column.clause))
    return table


def _annual_institutions(statements: pl.DataFrame) -> Table:
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
    table = _table("Deposit 质量保证金", "<institution 机构", *heads, "<band 依据")
    largest = statements.sort("payable_amount", "institution_id", descending=[True, False])
    for row in largest.select("institution_id", *figures, "clause").head(_LONGEST).rows():
        table.add_row(*_cells(*row))
    if statements.height > _LONGEST:
        table.caption = f"and {statements.height - _LONGEST:,} more, in annual_statements"
        table.caption_justify = "left"
    return table
