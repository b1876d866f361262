"""The steps of a derivation as data: what a figure is, how it comes about, which clause says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from ..ledger import RESTATED
from ..policy import Sourced
from ..reasons import RejectRule, UnpaidReason
from ..rules.timeline import Agreement, Span, target_suspensions
from ..terms import CHINESE, DEDUCTION_KINDS, STATEMENTS
from .case import Case, Row
from .derivation import OVER, Derived, ineligible_by_reason

MOST_CROSSINGS = 2  # shown of one group; reversals can bring more
MOST_AGREEMENTS = 4


@dataclass(frozen=True)
class Step:
    """One line of an explanation. `value` is the figure, `working` how it comes about, in words and figures."""

    indent: int
    label: str
    value: Decimal | int | str = ""
    working: str = ""
    clause: str = ""

    def as_json(self) -> dict[str, str | int]:
        return vars(self) | {"value": str(self.value)}


def shown(number: Decimal | int) -> str:
    return f"{number:,}"


def word(code: str | None) -> str:
    return "-" if code is None else f"{code} {CHINESE.get(code, '')}".strip()


def source_of(table: Sourced | None, otherwise: str = "") -> str:
    """Clause and phrase of a policy's table, else its being assumed, else what the rules name."""
    stated = f"{table.clause} {table.phrase}".strip() if table else ""
    return stated or ("assumed 假定" if table and table.assumed else otherwise)


# ---------------------------------------------------------------- who, when, where


def of_agreements(case: Case) -> Iterator[Step]:
    """Agreements, coaching period, interruptions that meet the month; what settles under the institution."""
    timeline, coaching = case.timeline, case.inputs.policy.coaching
    yield Step(0, "agreements 协议", "", "" if timeline.agreements else "none 无")
    for agreement in timeline.agreements[-MOST_AGREEMENTS:]:
        is_year = timeline.is_coaching_year(agreement)
        kind = "coaching year" if is_year else "ordinary 普通"
        days = timeline.in_force(agreement)
        clause = source_of(coaching, "T 3(3)") if is_year else "D 13, D 41"
        yield Step(1, agreement.agreement_id, "", f"{_span(days)} {kind}", clause)
    for period in list(timeline.periods.values())[-1:]:
        extended = "" if period.extension.is_empty else f", extended from {period.extension.first} 延长"
        yield Step(1, "coaching 政策辅导期", "", f"{_span(period.span)}{extended}", "T 3, T 3(6)")
    for span in timeline.interruptions.suspensions:
        if span.meets(case.month):
            clause = source_of(case.inputs.policy.agreements, UnpaidReason.SUSPENDED.clause)
            yield Step(1, "suspended 中止", "", _span(span), clause if "assumed" not in clause else "D 42")
    for day in timeline.interruptions.terminations:
        yield Step(1, "terminated 解除", "", str(day), UnpaidReason.TERMINATED.clause)
    stations = sorted(set(case.timelines.settling_of) - {case.id})
    if stations:
        yield Step(
            1, "settles for 代结算", "", ", ".join(stations[:3]) + (" …" if stations[3:] else ""), "D 5, D 15"
        )


def _span(span: Span) -> str:
    return "on no day" if span.is_empty else f"{span.first} … {span.last}"


def of_place(case: Case) -> Step:
    row, policy = case.institution, case.inputs.policy
    zone = row["zone"] or policy.zone_of_division(row["division_code"])
    how = "registry" if row["zone"] else f"division {row['division_code']}"
    clause = "" if row["zone"] or zone is None else source_of(policy.zones, "T 3(3)")
    return Step(0, "place 区域类别", "", f"{word(zone)} ({how}), {word(row['payment_class'])}", clause)


# ---------------------------------------------------------------- groups


def of_group(case: Case, group: Row, made: Derived | None) -> Iterator[Step]:
    """One group with a threshold, from the threshold to the amount."""
    yield Step(0, f"{word(group['regime'])}, {word(group['point_class'])}")
    if made is not None:
        yield from _of_threshold(case, made)
    yield from _of_eligible(case, group)
    yield from _of_payable(case, group)
    yield from _of_crossings(case, group)
    yield _of_amount(case, group)


def _of_threshold(case: Case, made: Derived) -> Iterator[Step]:
    since = f"row of {made.row.effective_from}" if made.row else "institution's own 机构阈值"
    is_changed = made.threshold != made.base or made.days is not None
    if is_changed:
        yield Step(1, "base 表列阈值", made.base, since, made.clause)
    for year, rate in made.rates.items():
        yield _of_growth(case, year, rate)
    if made.days is not None:
        parts = f"= {shown(made.grown)} × {made.days} ÷ {made.days_of_month} days 协议天数"
        in_force = parts if made.days else "no day in force: counted as full"
        yield Step(1, "in force 按日折算", made.in_force, in_force, "rules 6.5")
    if made.relief:
        yield Step(1, "relief 合理超支", made.relief, "approved 核准", "D 37")
    working = _threshold_working(made) if is_changed else since
    clause = made.clause if not is_changed else "T 3(3)" if made.row else "T 3(7)"
    yield Step(1, "threshold 阈值", made.threshold, working, clause)


def _of_growth(case: Case, year: int, rate: Decimal | None) -> Step:
    row = next((row for row in case.inputs.policy.growth if row.year == year), None)
    if row is None or rate is None:
        return Step(1, f"growth {year} 增幅", "0", "no rate in the policy: counted as 0", "assumed 假定")
    return Step(1, f"growth {year} 增幅", str(rate), "", source_of(row, row.source))


def _threshold_working(made: Derived) -> str:
    growth = "".join(f" × (1 + {rate})" for rate in made.rates.values() if rate)
    start = shown(made.in_force) if made.days is not None else f"{shown(made.base)}{growth}"
    return f"= {start}" + (f" + {shown(made.relief)}" if made.relief else "")


def _of_eligible(case: Case, group: Row) -> Iterator[Step]:
    lines = f"{shown(group['line_count'])} line(s)"
    if group["eligible_points"] == group["submitted_points"]:
        yield Step(
            1, "eligible 可结算", group["eligible_points"], f"all of {lines} submitted 申报", "rules 4"
        )
        return
    yield Step(1, "submitted 申报", group["submitted_points"], lines, "rules 7")
    yield from _of_ineligible(case, group)
    yield Step(1, "eligible 可结算", group["eligible_points"], "", "rules 4")


def _of_ineligible(case: Case, group: Row) -> Iterator[Step]:
    for reason, (count, points) in ineligible_by_reason(case, group).items():
        known = UnpaidReason[reason.upper()]
        yield Step(2, known.chinese, -points, f"{shown(count)} line(s) {reason}", known.clause)


def _of_payable(case: Case, group: Row) -> Iterator[Step]:
    over, policy = group["overage_points"], case.inputs.policy.overage
    clause = source_of(policy, "T 3(3)") if over else "rules 7"
    if over:
        working = f"= {shown(group['eligible_points'])} - {shown(group['threshold_points'])}"
        yield Step(1, "overage 超出", over, working, clause)
        for tier in policy.tiers:
            yield Step(2, f"up to 至 {tier.up_to} 倍", str(tier.paid_share), "share paid 支付比例", clause)
        if policy.tiers or policy.paid_share:
            yield Step(2, "beyond 其余", str(policy.paid_share), "share paid 支付比例", clause)
    unpaid = f"unpaid 不予支付 {shown(group['unpaid_points'])}" if group["unpaid_points"] else ""
    yield Step(1, "payable 支付", group["payable_points"], unpaid, clause)


def _of_crossings(case: Case, group: Row) -> Iterator[Step]:
    """The lines at which the running total passes the threshold, as far as the record knows them."""
    over = [line for line in case.lines_of(group) if line["reason"] == OVER]
    crossing = [line for line in over if line["is_crossing_line"]]
    for line in crossing[:MOST_CROSSINGS]:
        yield Step(
            1, "crossed 越过阈值", str(line["settled_at"]), f"claim {line['claim_id']} line {line['line_id']}"
        )
        working = f"{running_working(line)}; paid 支付 {shown(line['payable_points'])}"
        yield Step(2, "running 累计", line["running_total_after"], working, "rules 7")
    if crossing[MOST_CROSSINGS:]:
        yield Step(
            2, f"and {len(crossing) - MOST_CROSSINGS} more 另有", "", "reversals lead back and forth 退费"
        )
    if over and not crossing:
        reading = case.inputs.policy.readings.attribution
        yield Step(1, "crossed 越过阈值", "", f"{len(over)} line(s) cut; where, is not recorded ({reading})")


def running_working(line: Row) -> str:
    return f"= {shown(line['running_total_before'])} + {shown(line['points'])}"


def _of_amount(case: Case, group: Row) -> Step:
    amount, value = group["payable_amount"], group["point_value"]
    if amount is None:
        return Step(1, "amount 金额", "", "no point values or budgets: points only", "rules 8.1")
    if value is None:
        return Step(1, "amount 金额", amount, "nothing is paid", "rules 8.1")
    working = f"= {shown(group['payable_points'])} × {value} 点值{_pool(case, group)}"
    return Step(1, "amount 金额", amount, working, "rules 8.1")


def _pool(case: Case, group: Row) -> str:
    """The budget a point value comes from, if it is one's."""
    rows = {
        row["zone"]: row
        for row in case.tables["budgets"].to_dicts()
        if row["point_class"] == group["point_class"]
    }
    values = case.inputs.tables["point_values"]
    given = {
        zone
        for month, zone, point_class in values.select("month", "zone", "point_class").rows()
        if month == case.month.first and point_class == group["point_class"]
    }
    zone = next((zone for zone in (group["zone"], "*") if zone in given or zone in rows), None)
    row = rows.get(zone) if zone not in given else None
    return f" (budget {shown(row['budget'])} ÷ {shown(row['pool_points'])})" if row else ""


def of_plain_groups(case: Case, groups: list[Row]) -> Iterator[Step]:
    """Groups without a threshold, one line each, and one for each reason of what is not eligible."""
    if not groups:
        return
    yield Step(0, "without a threshold 无阈值")
    for group in groups:
        amount = group["payable_amount"]
        money = (
            f" × {group['point_value']} = {shown(amount)}"
            if amount is not None and group["point_value"]
            else ""
        )
        submitted = group["submitted_points"]
        of = f" of {shown(submitted)}" if submitted != group["payable_points"] else ""
        label = f"{group['regime']} {CHINESE.get(group['point_class'], group['point_class'])}"
        yield Step(1, label, group["payable_points"], f"payable{of}{money}", "rules 7")
        yield from _of_ineligible(case, group)


# ---------------------------------------------------------------- money


_NOT_TRANSFERRED = "what should have come: not transferred, the difference is an adjustment 更正"


def of_statement(case: Case) -> Iterator[Step]:
    """Gross to net, leaving out what is nothing (rules 8.2)."""
    row, money = case.statement, case.inputs.policy.money
    if row is None:
        return
    is_restating = case.act.act == RESTATED
    yield Step(
        0,
        "statement 拨付单",
        "",
        _NOT_TRANSFERRED if is_restating else "",
        "rules 11" if is_restating else "",
    )
    yield Step(1, "gross 应付", row["payable_amount"], "sum of the amounts", "rules 8.2")
    if row["deposit_withheld"]:
        working = f"= {shown(row['payable_amount'])} × {money.deposit_rate}"
        yield Step(1, "deposit 质量保证金", -row["deposit_withheld"], working, source_of(money, "D 36"))
    for kind in DEDUCTION_KINDS:
        if row[kind]:
            column = STATEMENTS[kind]
            yield Step(1, f"{kind} {column.chinese}", -row[kind], "deductions 扣款表", column.clause)
    yield from _of_adjustments(case)
    if row["brought_forward"]:
        yield Step(
            1, "brought forward 上期结转", row["brought_forward"], "of the statement before", "rules 8.2"
        )
    yield Step(1, "net payable 实付", row["net_payable"], "", "rules 8.2")
    if row["carried_forward"]:
        yield Step(1, "carried forward 结转", row["carried_forward"], "to the next statement", "rules 8.2")
    if row["payment_due"]:
        days = f"{money.payment_working_days} working days after {case.inputs.submitted_on}"
        yield Step(1, "payment due 付款期限", str(row["payment_due"]), days, "D 32")


def _of_adjustments(case: Case) -> Iterator[Step]:
    """What restated months pay or recover, by month and cause (rules 11)."""
    for row in case.standing.taken.to_dicts():
        if row["institution_id"] == case.id and row["amount_delta"]:
            working = f"of {row['month']:%Y-%m}, restated as {row['run_id']}: {row['cause']}"
            yield Step(1, "adjustment 更正", row["amount_delta"], working, "rules 11")


# ---------------------------------------------------------------- one line


def of_line(case: Case, line: Row, group: Row) -> Iterator[Step]:
    """Why an unpaid line is paid nothing, or in part."""
    known = UnpaidReason[line["reason"].upper()]
    part = "in part 部分支付" if line["payable_points"] else "nothing 不予支付"
    yield Step(0, f"claim {line['claim_id']} line {line['line_id']}", "", f"is paid {part}")
    yield Step(
        1, "settled 结算时间", str(line["settled_at"]), f"{word(line['regime'])}, {word(line['point_class'])}"
    )
    if line["submitted_by"] != case.id:
        yield Step(1, "submitted by 申报机构", line["submitted_by"], "", "D 15")
    yield Step(1, "points 点数", line["points"])
    yield Step(1, "reason 原因", line["reason"], f"{known.sentence} {known.chinese}", line["clause"])
    count = len(case.lines_of(group))
    yield Step(
        1,
        "position 序号",
        line["position"],
        f"of {shown(count)} unpaid lines of its group, canonical order",
        "rules 7",
    )
    if line["reason"] == OVER:
        yield from _of_running_total(case, line, group)
    yield Step(
        1,
        "paid 支付",
        line["payable_points"],
        _paid_working(case, line),
        line["clause"] if line["reason"] == OVER else "rules 4",
    )
    yield Step(
        1,
        "unpaid 不予支付",
        line["unpaid_points"],
        f"= {shown(line['points'])} - {shown(line['payable_points'])}",
    )
    if line["reason"] != OVER:
        yield from _of_grounds(case, line, known)
        yield Step(
            1, "not known 未记录", "", "the day of service and the codes of the line: the record keeps none"
        )
        yield from _look_in(case.inputs.claims_files)


def _of_grounds(case: Case, line: Row, reason: UnpaidReason) -> Iterator[Step]:
    """What stands in the registry of the run for a line to be refused by."""
    owners = sorted({case.id, line["submitted_by"]})
    targets = {UnpaidReason.DEPARTMENT_SUSPENDED: "department", UnpaidReason.PHYSICIAN_SUSPENDED: "physician"}
    if reason == UnpaidReason.SUSPENDED:
        for owner in owners:
            for span in case.timelines.interruptions_of[owner].suspensions:
                yield Step(1, "suspended 中止", "", f"{_span(span)} {owner}", "D 42")
    elif reason in targets:
        for owner in owners:
            suspended = target_suspensions(case.timelines.events_of.get(owner, ()), targets[reason])
            for target, spans in suspended.items():
                days = ", ".join(map(_span, spans))
                yield Step(1, f"{targets[reason]} {target}", "", f"{days} {owner}", reason.clause)
    else:
        for agreement in case.timeline.agreements:
            days = _span(case.timeline.in_force(agreement))
            yield Step(1, agreement.agreement_id, "", days + _covered(case, agreement, reason), reason.clause)


def _covered(case: Case, agreement: Agreement, reason: UnpaidReason) -> str:
    """What the agreement lists, and what holds where it lists nothing (rules 4)."""
    coaching = case.inputs.policy.coaching if agreement.is_coaching else None
    listed, by_default = {
        UnpaidReason.INSURANCE_TYPE_NOT_COVERED: (
            agreement.insurance_types,
            f"{', '.join(coaching.insurance_types)} (the policy's)" if coaching else "all",
        ),
        UnpaidReason.SERVICE_CATEGORY_NOT_COVERED: (agreement.service_categories, "none"),
        UnpaidReason.DISEASE_NOT_COVERED: (
            agreement.special_diseases,
            "none" if agreement.is_coaching else "all",
        ),
    }.get(reason, (None, ""))
    what = ", ".join(listed) if listed else by_default
    return f" covers {what}" if what else ""


def _of_running_total(case: Case, line: Row, group: Row) -> Iterator[Step]:
    yield Step(1, "threshold 阈值", group["threshold_points"], "", group["clause"] or "")
    if line["running_total_before"] is None:
        reading = case.inputs.policy.readings.attribution
        yield Step(1, "running 累计", "", f"not known: lines paid in full are not recorded ({reading})")
        return
    yield Step(1, "before 本行前累计", line["running_total_before"], "eligible points of the group")
    crossing = ", crosses it 越过阈值" if line["is_crossing_line"] else ""
    yield Step(1, "after 本行后累计", line["running_total_after"], running_working(line) + crossing)


def _paid_working(case: Case, line: Row) -> str:
    """The difference that the line makes to what is paid of the running total."""
    policy, before, threshold = case.inputs.policy, line["running_total_before"], line["threshold_points"]
    shares = {policy.overage.paid_share, *(tier.paid_share for tier in policy.overage.tiers)}
    if before is None or policy.readings.attribution == "pro_rata" or shares != {0}:
        return ""
    after = line["running_total_after"]
    return f"= {shown(min(after, threshold))} - {shown(min(before, threshold))}"


def of_absent_line(
    claim_id: str, line_id: str, rejected: list[Row], elsewhere: list[str], lines: Mapping[str, str]
) -> Iterator[Step]:
    """A line that is not among the unpaid ones: rejected, another institution's, or paid in full if it was there."""
    yield Step(0, f"claim {claim_id} line {line_id}", "", "is not among the institution's unpaid lines")
    for row in rejected:
        known = RejectRule[row["rule"].upper()]
        yield Step(1, "rejected 剔除", f"row {row['row_number']}", f"of {row['source']}", known.clause)
        column = f" ({row['column_name']})" if row["column_name"] else ""
        yield Step(2, row["rule"], "", f"{known.sentence} {known.chinese}{column}")
    for institution in elsewhere:
        yield Step(1, "unpaid line of", institution, "another institution's: explain that one")
    if not rejected and not elsewhere:
        yield Step(
            1, "not known 未记录", "", "whether the run had this line: lines paid in full are not recorded"
        )
        yield Step(1, "if it had 如有", "", "paid in full 全额支付; look for claim and line id in its files")
        yield from _look_in(lines)


def _look_in(lines: Mapping[str, str]) -> Iterator[Step]:
    """The files that the run had its lines from."""
    for name, content in lines.items():
        yield Step(2, "look in 见", "", f"{name}, SHA-256 {content[:16]}…")
