"""The views of the DuckDB file: questions analysts ask every month, answered under business names.

Each is plain SQL that DuckDB 1.5 reads. Decimals are added and subtracted only, which DuckDB does exactly; its
decimal division goes through binary floating point, so ratios are formed of whole numbers. Source: data 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..reasons import UnpaidReason
from ..terms import (
    DAILY_POINTS,
    LEDGER_TABLES,
    RUNS,
    SETTLEMENTS,
    STATEMENTS,
    UNPAID_LINES,
    Column,
    Kind,
    Table,
)

# ruff: noqa: S608 - the SQL is put together of the dictionary's own names


@dataclass(frozen=True)
class View:
    """A view for analysts. `columns`: what each of its columns means, in their order."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    query: str


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _of(table: Table, *names: str) -> tuple[Column, ...]:
    return tuple(table[name] for name in names or table.names)


def _text(name: str, meaning: str, chinese: str, clause: str = "") -> Column:
    return Column(name, Kind.TEXT, meaning, chinese, clause)


def _count(name: str, meaning: str, chinese: str, clause: str = "") -> Column:
    return Column(name, Kind.COUNT, meaning, chinese, clause)


def _points(name: str, meaning: str, chinese: str, clause: str = "rules 7") -> Column:
    return Column(name, Kind.POINTS, meaning, chinese, clause)


def _money(name: str, meaning: str, chinese: str, clause: str = "rules 8.1") -> Column:
    return Column(name, Kind.MONEY, meaning, chinese, clause)


def _ratio(part: str, whole: str) -> str:
    """part ÷ whole (> 0), half-up to 4 decimals, sign kept: both in whole 10⁻⁴, (20 000·|part| + whole) // 2·whole."""
    p, w = (f"cast(cast({each} as decimal(38, 4)) * 10000 as hugeint)" for each in (part, whole))
    quotient = f"(20000 * abs({p}) + {w}) // (2 * {w})"
    return f"case when {w} > 0 then cast(sign({p}) * ({quotient}) as decimal(34, 0)) * 0.0001 end"


_NAME = _text("name", "name in the registry of the run; null if the run kept none", "机构名称")


def _with_name(rows: str) -> str:
    """Left join of the settling institution's name, as `registered`."""
    return (
        f"left join applied.institutions as registered on registered.run_id = {rows}.run_id "
        f"and registered.institution_id = {rows}.institution_id"
    )


# ---------------------------------------------------------------- what views need of the inputs of a run

# Not in the schema `ledger`: who attached the file under that name would be told that it is ambiguous.
APPLIED_SCHEMA = "applied"
APPLIED_TABLES = (
    Table(
        "applied.policies",
        "run that kept its inputs: how it cut what is over a threshold",
        "批次所用超阈值规则",
        (
            RUNS["run_id"],
            _text("attribution", "reading: which lines bear the cut", "口径", "rules 10"),
            Column(
                "pays_nothing_over",
                Kind.FLAG,
                "no share of the overage is paid",
                "超出部分不予支付",
                "T 3(3)",
            ),
            _text("phrase", "words of the text by which the overage rule is found", "条款原文", "T 3(3)"),
        ),
        ("run_id",),
    ),
    Table(
        "applied.institutions",
        "run that kept its inputs × institution of its registry",
        "批次所用机构名录",
        (
            RUNS["run_id"],
            _text("institution_id", "institution, also one that settles under another", "机构"),
            _text("name", "name in the registry", "机构名称"),
        ),
        ("run_id", "institution_id"),
    ),
)


# ---------------------------------------------------------------- the newest run of each month


def _current(table: Table) -> View:
    """Rows of the newest run of each month."""
    newest = (
        "qualify row_number() over (partition by month order by cast(split_part(run_id, '.', 2) as integer) desc) = 1"
        if table is RUNS
        else "where run_id in (select run_id from current_runs)"
    )
    return View(
        f"current_{table.name}",
        f"{table.comment}, of the newest run of each month · 各月最新批次",
        table.columns,
        f"select {', '.join(table.names)} from {table.name} {newest}",
    )


PAID_STATEMENTS = View(
    "paid_statements",
    f"{STATEMENTS.comment}, of the newest run of each month that restates nothing: what is transferred · 实际拨付单",
    STATEMENTS.columns,
    # a restated month has its paid run before all others that are restated
    f"""select {", ".join(STATEMENTS.names)} from statements where run_id in (
    select run_id from runs
    qualify row_number() over (
        partition by month
        order by status = 'restated' desc,
            case when status = 'restated' then 1 else -1 end * cast(split_part(run_id, '.', 2) as integer)
    ) = 1
)""",
)

ZONE_MONTH = View(
    "zone_month",
    "One row per month × zone, of the newest run of each month · 区域月度汇总",
    (
        *_of(SETTLEMENTS, "run_id", "month", "zone"),
        _count("institutions", "settling institutions with lines", "结算机构数"),
        _points("submitted_points", "points of all lines", "申报点数"),
        _points("eligible_points", "points of eligible lines", "可结算点数"),
        _points("payable_points", "points that are paid", "支付点数", "T 3(3)"),
        _points("unpaid_points", "submitted less payable", "不予支付点数", "T 3(3)"),
        _money("payable_amount", "sum of amounts; null without point values", "支付金额"),
        _count(
            "over_threshold_groups",
            "groups with eligible points above their threshold",
            "超出阈值组数",
            "T 3(3)",
        ),
    ),
    """select run_id, month, zone,
    count(distinct institution_id) as institutions,
    sum(submitted_points) as submitted_points,
    sum(eligible_points) as eligible_points,
    sum(payable_points) as payable_points,
    sum(unpaid_points) as unpaid_points,
    sum(payable_amount) as payable_amount,
    count(*) filter (where overage_points > 0) as over_threshold_groups
from current_settlements
group by run_id, month, zone""",
)

THRESHOLD_USE = View(
    "threshold_use",
    "One row per current group with a threshold: how much of it is used · 阈值使用率",
    (
        *_of(
            SETTLEMENTS,
            *("run_id", "month", "institution_id", "zone", "payment_class", "regime", "point_class"),
            *("threshold_points", "eligible_points", "overage_points"),
        ),
        Column(
            "threshold_use",
            Kind.RATIO,
            "eligible points ÷ threshold, half-up to 4 decimals; 1 = used up; null for a threshold of 0",
            "阈值使用率",
            "T 3(3)",
        ),
        _NAME,
    ),
    f"""select part.run_id, part.month, part.institution_id, part.zone, part.payment_class, part.regime,
    part.point_class, part.threshold_points, part.eligible_points, part.overage_points,
    {_ratio("part.eligible_points", "part.threshold_points")} as threshold_use,
    registered.name
from current_settlements as part {_with_name("part")}
where part.threshold_points is not null""",
)

OVERAGE_RANKING = View(
    "overage_ranking",
    "One row per current group above its threshold, with its rank by overage · 超出阈值排名",
    (
        *_of(SETTLEMENTS, "run_id", "month"),
        _count("rank", "by overage within the month, 1 = most; equal ones share a rank", "当月排名"),
        _count("rank_in_zone", "by overage within the month and zone", "区域内排名"),
        *_of(SETTLEMENTS, "institution_id"),
        _NAME,
        *_of(
            SETTLEMENTS,
            *("zone", "payment_class", "regime", "point_class"),
            *("threshold_points", "eligible_points", "overage_points"),
        ),
        Column(
            "threshold_use",
            Kind.RATIO,
            "eligible points ÷ threshold, half-up to 4 decimals",
            "阈值使用率",
            "T 3(3)",
        ),
        Column(
            "overage_share",
            Kind.RATIO,
            "its part of the month's overage, half-up to 4 decimals",
            "占当月超出比例",
        ),
        *_of(SETTLEMENTS, "unpaid_points", "clause"),
    ),
    f"""select part.run_id, part.month,
    rank() over (partition by part.month order by part.overage_points desc) as rank,
    rank() over (partition by part.month, part.zone order by part.overage_points desc) as rank_in_zone,
    part.institution_id, registered.name, part.zone, part.payment_class, part.regime, part.point_class,
    part.threshold_points, part.eligible_points, part.overage_points,
    {_ratio("part.eligible_points", "part.threshold_points")} as threshold_use,
    {_ratio("part.overage_points", "sum(part.overage_points) over (partition by part.month)")} as overage_share,
    part.unpaid_points, part.clause
from current_settlements as part {_with_name("part")}
where part.overage_points > 0""",
)


# ---------------------------------------------------------------- month over month

_COMPARED = ("line_count", "submitted_points", "eligible_points", "payable_points", "unpaid_points")


def _compared_columns() -> tuple[Column, ...]:
    columns: list[Column] = []
    for name in (*_COMPARED, "threshold_points", "payable_amount"):
        column = SETTLEMENTS[name]
        before, change = f"{column.meaning}, month before", f"{column.meaning}, change"
        columns += [
            column,
            Column(f"previous_{name}", column.kind, before, f"上月{column.chinese}", column.clause),
            Column(f"{name}_change", column.kind, change, f"{column.chinese}环比增减", column.clause),
        ]
    return tuple(columns)


def _compared_sql() -> str:
    """Points of a group without lines are 0, amounts 0.00 if the run is priced; all null without a month before."""
    parts = []
    for name in (*_COMPARED, "threshold_points", "payable_amount"):
        now, before = f"part.{name}", f"earlier.{name}"
        if name in _COMPARED:
            zero = f"cast(0 as {SETTLEMENTS[name].kind.sql})"
            now, before = f"coalesce({now}, {zero})", f"coalesce({before}, {zero})"
        elif name == "payable_amount":
            now, before = f"coalesce({now}, priced.zero)", f"coalesce({before}, earlier_priced.zero)"
        before = f"case when pair.previous_run_id is not null then {before} end"
        parts.append(f"{now} as {name}, {before} as previous_{name}, {now} - ({before}) as {name}_change")
    return ",\n    ".join(parts)


_GROUP = ("institution_id", "regime", "point_class")
_SAME_GROUP = " and ".join(f"{{0}}.{name} = {{1}}.{name}" for name in _GROUP)

MONTH_OVER_MONTH = View(
    "month_over_month",
    "One row per month × group with lines in it or in the calendar month before, both of their newest runs; "
    "where the ledger has no run of the month before, previous_ and _change are null · 逐月对比",
    (
        *_of(SETTLEMENTS, "run_id", "month"),
        _text("previous_run_id", "newest run of the month before; null if there is none", "上月批次"),
        *_of(SETTLEMENTS, *_GROUP),
        *_compared_columns(),
    ),
    f"""with pairs as (
    select run.run_id, run.month, previous.run_id as previous_run_id
    from current_runs as run
    left join current_runs as previous on previous.month = cast(run.month - interval 1 month as date)
), groups as (
    select pairs.*, institution_id, regime, point_class from pairs join settlements using (run_id)
    union
    select pairs.*, institution_id, regime, point_class
    from pairs join settlements on settlements.run_id = pairs.previous_run_id
), amounts as (
    select run_id, cast(0 as decimal(18, 2)) as zero from settlements where payable_amount is not null group by run_id
)
select pair.run_id, pair.month, pair.previous_run_id, pair.institution_id, pair.regime, pair.point_class,
    {_compared_sql()}
from groups as pair
left join settlements as part on part.run_id = pair.run_id and {_SAME_GROUP.format("part", "pair")}
left join settlements as earlier
    on earlier.run_id = pair.previous_run_id and {_SAME_GROUP.format("earlier", "pair")}
left join amounts as priced on priced.run_id = pair.run_id
left join amounts as earlier_priced on earlier_priced.run_id = pair.previous_run_id""",
)


# ---------------------------------------------------------------- why lines are not paid

_REASONS = "(values " + ", ".join(
    f"({literal(reason.value)}, {place}, {literal(reason.sentence)}, {literal(reason.chinese)})"
    for place, reason in enumerate(UnpaidReason, start=1)
) + ") as known(reason, precedence, reason_sentence, reason_chinese)"  # fmt: skip
_REASON_SENTENCE = _text("reason_sentence", "the reason as a sentence", "原因说明（英文）", "rules 4, 7")
_REASON_CHINESE = _text("reason_chinese", "the reason in Chinese", "原因名称", "rules 4, 7")

UNPAID_BY_REASON = View(
    "unpaid_by_reason",
    "One row per month × reason, of the newest run of each month: what was not paid, and why · 不予支付原因汇总",
    (
        *_of(UNPAID_LINES, "run_id", "month"),
        _count("precedence", "the place of the reason in the order in which reasons are tried", "判定顺序"),
        *_of(UNPAID_LINES, "reason"),
        _REASON_CHINESE,
        _REASON_SENTENCE,
        *_of(UNPAID_LINES, "clause"),
        _count("institutions", "settling institutions with such lines", "结算机构数"),
        _count("line_count", "lines with unpaid points", "明细数"),
        _points("points", "points of these lines", "点数"),
        _points("unpaid_points", "points of these lines that are not paid", "不予支付点数"),
    ),
    f"""select line.run_id, line.month, known.precedence, line.reason, known.reason_chinese, known.reason_sentence,
    line.clause,
    count(distinct line.institution_id) as institutions,
    count(*) as line_count,
    sum(line.points) as points,
    sum(line.unpaid_points) as unpaid_points
from current_unpaid_lines as line
left join {_REASONS} on known.reason = line.reason
group by all""",
)

# What is over the threshold is g(C) = max(C - T, 0) of the running total C and the threshold T, if nothing beyond T
# is paid. In canonical order the unpaid points up to a line add up to g(C) just behind it, for a line that is not
# recorded has no unpaid points. A recorded one moves g, so g > 0 on one side of it at least: there C = T + g, and the
# line's own points lead to the other side. That holds with reversals too. Where shares of the overage are paid g has
# no inverse; but a day whose every line is recorded can be walked from the day's start, in either reading that
# keeps the canonical order. In a list of priorities only a line that is paid in part shows where T lies.
_BEFORE = f"""case
        when line.reason <> '{UnpaidReason.OVER_THRESHOLD.value}' then null
        when cap.attribution = 'chronological' and cap.pays_nothing_over
            then part.threshold_points
                + case when line.over_after > 0 then line.over_after - line.points
                    else line.over_after - line.unpaid_points end
        when cap.attribution in ('chronological', 'pro_rata') and line.lines_of_day = today.line_count
            then today.before_day + line.day_after - line.points
        when cap.attribution = 'priority' and cap.pays_nothing_over and line.payable_points > 0
            then part.threshold_points - line.payable_points
        when cap.attribution = 'priority' and cap.pays_nothing_over and line.payable_points < 0
            then part.threshold_points + line.payable_points - line.points
    end"""
_WHEN_UNKNOWN = (
    "null for an ineligible line, which the total leaves out, and where the record cannot know it: a day not all of "
    "whose lines are in unpaid_lines, if a share of the overage is paid or under pro_rata; under priority any line "
    "that is not paid in part; a run without its policy"
)

LINE_EXPLANATIONS = View(
    "line_explanations",
    "One row per current line with unpaid points ≠ 0: place, running total, reason, clause, arithmetic · "
    "未支付明细说明",
    (
        *UNPAID_LINES.columns,
        _NAME,
        *_of(SETTLEMENTS, "zone", "threshold_points"),
        _points("group_submitted_points", "points of all lines of the group", "本组申报点数"),
        _points("group_eligible_points", "eligible points of the group", "本组可结算点数"),
        _points("group_overage_points", "eligible points above the threshold", "本组超出阈值点数", "T 3(3)"),
        _points("group_payable_points", "points of the group that are paid", "本组支付点数", "T 3(3)"),
        _count(
            "position",
            "place among the lines of its group with unpaid points ≠ 0, of whatever reason, in canonical order "
            "(settled_at, claim_id, line_id, submitted_by), 1 = first; lines paid in full are not recorded nor counted",
            "本组未支付明细序号",
            "rules 7",
        ),
        _points(
            "running_total_before",
            "eligible points of the group in the order of attribution, just before the line; "
            + _WHEN_UNKNOWN,
            "本行前累计可结算点数",
        ),
        _points(
            "running_total_after",
            "the same with this line; null likewise",
            "本行后累计可结算点数",
        ),
        Column(
            "is_crossing_line",
            Kind.FLAG,
            "the running total passes the threshold at this line, upwards or by a reversal back down; "
            "null where the running total is",
            "是否越过阈值",
            "T 3(3)",
        ),
        _REASON_CHINESE,
        _REASON_SENTENCE,
        _text(
            "phrase",
            "the words of the policy by which the clause is found; null if it has none",
            "条款原文",
            "T 3(3)",
        ),
        _text("arithmetic", "how the unpaid points come about, in figures", "计算过程"),
    ),
    f"""with lines as (
    select *,
        row_number() over canonical as position,
        sum(case when reason = '{UnpaidReason.OVER_THRESHOLD.value}' then unpaid_points else 0 end)
            over canonical as over_after,
        count(*) over (partition by run_id, institution_id, regime, point_class, cast(settled_at as date))
            as lines_of_day,
        sum(case when reason = '{UnpaidReason.OVER_THRESHOLD.value}' then points else 0 end) over (
            partition by run_id, institution_id, regime, point_class, cast(settled_at as date)
            order by settled_at, claim_id, line_id, submitted_by rows unbounded preceding
        ) as day_after
    from current_unpaid_lines
    window canonical as (
        partition by run_id, institution_id, regime, point_class
        order by settled_at, claim_id, line_id, submitted_by rows unbounded preceding
    )
), days as (
    select run_id, institution_id, regime, point_class, day, line_count,
        sum(eligible_points) over (
            partition by run_id, institution_id, regime, point_class order by day rows unbounded preceding
        ) - eligible_points as before_day
    from {DAILY_POINTS.name}
), explained as (
    select line.*, registered.name, part.zone, part.threshold_points,
        part.submitted_points as group_submitted_points,
        part.eligible_points as group_eligible_points,
        part.overage_points as group_overage_points,
        part.payable_points as group_payable_points,
        {_BEFORE} as running_total_before,
        known.reason_chinese, known.reason_sentence,
        case when line.reason = '{UnpaidReason.OVER_THRESHOLD.value}' then nullif(cap.phrase, '') end as phrase,
        cap.attribution, cap.pays_nothing_over
    from lines as line
    left join settlements as part on part.run_id = line.run_id and {_SAME_GROUP.format("part", "line")}
    left join days as today on today.run_id = line.run_id and {_SAME_GROUP.format("today", "line")}
        and today.day = cast(line.settled_at as date)
    left join applied.policies as cap on cap.run_id = line.run_id
    left join {_REASONS} on known.reason = line.reason
    {_with_name("line")}
)
select {", ".join(UNPAID_LINES.names)},
    name, zone, threshold_points,
    group_submitted_points, group_eligible_points, group_overage_points, group_payable_points,
    position, running_total_before, running_total_before + points as running_total_after,
    running_total_before <= threshold_points and running_total_before + points > threshold_points
        or running_total_before > threshold_points and running_total_before + points <= threshold_points
        as is_crossing_line,
    reason_chinese, reason_sentence, phrase,
    case
        when reason <> '{UnpaidReason.OVER_THRESHOLD.value}' then 'not eligible: ' || reason_sentence || '; unpaid '
        when running_total_before is not null then 'running total ' || running_total_before || ' + ' || points
            || ' = ' || (running_total_before + points) || ', threshold ' || threshold_points || '; '
        else ''
    end
    || case
        when reason <> '{UnpaidReason.OVER_THRESHOLD.value}' then ''
        when running_total_before is not null and pays_nothing_over and attribution <> 'pro_rata'
            then 'paid ' || least(running_total_before + points, threshold_points) || ' - '
                || least(running_total_before, threshold_points) || ' = ' || payable_points || ', unpaid '
        else 'group: eligible ' || group_eligible_points || ', threshold ' || threshold_points || ', payable '
            || group_payable_points || ', attribution ' || coalesce(attribution, 'not recorded') || '; unpaid '
    end
    || points || ' - ' || payable_points || ' = ' || unpaid_points as arithmetic
from explained""",
)

VIEWS = (
    *map(_current, LEDGER_TABLES),
    PAID_STATEMENTS,
    ZONE_MONTH,
    THRESHOLD_USE,
    OVERAGE_RANKING,
    MONTH_OVER_MONTH,
    UNPAID_BY_REASON,
    LINE_EXPLANATIONS,
)
