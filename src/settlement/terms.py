"""The data dictionary: every table and column at an edge, with type, unit, meaning in two languages and clause.

Layer 0; nothing is computed here. Schemas, ledger comments and the docs' dictionary are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a column holds: its DuckDB type and its unit."""

    TEXT = ("VARCHAR", "")
    COUNT = ("BIGINT", "")
    FLAG = ("BOOLEAN", "")
    DAY = ("DATE", "")
    MOMENT = ("TIMESTAMP", "")
    POINTS = ("DECIMAL(18,4)", "点")
    THRESHOLD = ("DECIMAL(18,2)", "点")
    MONEY = ("DECIMAL(18,2)", "元")
    POINT_VALUE = ("DECIMAL(18,6)", "元/点")
    SCORE = ("DECIMAL(7,4)", "分")
    SHARE = ("DECIMAL(10,9)", "")
    RATIO = ("DECIMAL(38,4)", "")  # of views only

    @property
    def sql(self) -> str:
        return self.value[0]

    @property
    def unit(self) -> str:
        return self.value[1]


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    meaning: str
    chinese: str
    clause: str = ""
    is_nullable: bool = False

    @property
    def comment(self) -> str:
        parts = (self.meaning, self.chinese, self.kind.unit and f"unit 单位: {self.kind.unit}", self.clause)
        return " · ".join(part for part in parts if part)


@dataclass(frozen=True)
class Table:
    """A ledger table. `key` is its canonical order: rows are hashed and compared in it."""

    name: str
    row: str
    chinese: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def comment(self) -> str:
        return f"One row per {self.row} · {self.chinese}"

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


# ---------------------------------------------------------------- codes

GROUP = ("settling_id", "regime", "point_class")  # what is totalled and capped together; one month a run
ZONES = ("binhai", "ring", "urban", "outer")
POINT_CLASSES = ("drug_consumable", "service", "tcm_decoction", "inpatient")
THRESHOLD_CLASSES = ("drug_consumable", "service")  # T 3(3): the others have no threshold
REGIMES = ("coaching", "ordinary", "emergency", "none")
VISIT_CATEGORIES = ("outpatient", "special_outpatient", "inpatient")
DESIGNATIONS = ("coaching", "ordinary")
EVENT_KINDS = (
    "minor_violation",
    "unrectified",
    "fraud",
    "suspended",
    "resumed",
    "terminated",
    "department_suspended",
    "department_resumed",
    "physician_suspended",
    "physician_resumed",
    "inspected",
)
DEDUCTION_KINDS = ("disallowed", "penalty", "recovery", "prepayment")
RUN_STATUSES = ("open", "superseded", "closed", "restated")
CHARGE_CATEGORIES = {
    "01": "床位费",
    "02": "诊察费",
    "03": "检查费",
    "04": "化验费",
    "05": "治疗费",
    "06": "手术费",
    "07": "护理费",
    "08": "卫生材料费",
    "09": "西药费",
    "10": "中药饮片费",
    "11": "中成药费",
    "12": "一般诊疗费",
    "13": "挂号费",
    "14": "其他费",
}
CHINESE = {
    "binhai": "滨海",
    "ring": "环城",
    "urban": "市区",
    "outer": "远郊",
    "drug_consumable": "药品耗材",
    "service": "医疗服务",
    "tcm_decoction": "中药饮片",
    "inpatient": "住院",
    "coaching": "辅导期协议年度",
    "ordinary": "普通",
    "emergency": "急诊抢救",
    "none": "无协议",
    "other_primary": "其他基层",
    "draft": "征求意见稿",
    "in_force": "现行",
    "lapsed": "失效",
}

# ---------------------------------------------------------------- input: the columns of a claim line


@dataclass(frozen=True)
class Field:
    """A column of an input table under its own name and the national field names that also serve, in order."""

    name: str
    national: tuple[str, ...] = ()
    is_required: bool = False


CLAIM_FIELDS = (
    Field("claim_id", ("setl_id",), True),
    Field("line_id", ("feedetl_sn", "bkkp_sn"), True),
    Field("institution_id", ("fixmedins_code",), True),
    Field("department_id", ("bilg_dept_codg",)),
    Field("physician_id", ("bilg_dr_codg", "bilg_dr_code")),
    Field("serviced_at", ("fee_ocur_time",), True),
    Field("settled_at", ("setl_time",), True),
    Field("insurance_type", ("insutype",), True),
    Field("visit_type", ("med_type",), True),
    Field("disease_code", ("dise_codg",)),
    Field("charge_category", ("med_chrgitm_type",), True),
    Field("points"),
    Field("amount", ("inscp_scp_amt", "inscp_amt", "det_item_fee_sumamt")),
    Field("reverses_line_id", ("init_feedetl_sn",)),
    Field("is_valid", ("vali_flag",)),
    Field("person_id", ("psn_no",)),
)
SETTLEMENT_FIELDS = (
    Field("claim_id", ("setl_id",), True),
    Field("settled_at", ("setl_time",)),
    Field("insurance_type", ("insutype",)),
    Field("visit_type", ("med_type",)),
)
FROM_SETTLEMENTS = ("settled_at", "insurance_type", "visit_type")
_INSTITUTION = Field("institution_id", ("fixmedins_code",), True)
SMALL_TABLES = {
    "institutions": (
        _INSTITUTION,
        Field("name", ("fixmedins_name",), True),
        Field("institution_type", (), True),
        Field("payment_class", (), True),
        Field("division_code", (), True),
        Field("zone"),
        Field("settles_under"),
        Field("longitude"),
        Field("latitude"),
    ),
    "agreements": (
        Field("agreement_id", (), True),
        _INSTITUTION,
        Field("start_date", (), True),
        Field("end_date", (), True),
        Field("designation", (), True),
        Field("service_categories", (), True),
        Field("special_diseases"),
        Field("insurance_types"),
    ),
    "events": (
        Field("event_id", (), True),
        _INSTITUTION,
        Field("occurred_on", (), True),
        Field("kind", (), True),
        Field("target_id"),
        Field("note"),
    ),
    "relief": (
        _INSTITUTION,
        Field("month", (), True),
        Field("point_class", (), True),
        Field("approved_points", (), True),
        Field("reference"),
    ),
    "deductions": (
        _INSTITUTION,
        Field("month", (), True),
        Field("kind", (), True),
        Field("amount", (), True),
        Field("reference"),
    ),
    "point_values": (
        Field("month", (), True),
        Field("zone", (), True),
        Field("point_class", (), True),
        Field("point_value", (), True),
    ),
    "budgets": (
        Field("month", (), True),
        Field("zone", (), True),
        Field("point_class", (), True),
        Field("budget", (), True),
    ),
    "assessments": (_INSTITUTION, Field("year", (), True), Field("score", (), True)),
}
REQUIRED_TABLES = ("institutions", "agreements")

# ---------------------------------------------------------------- output: the ledger


def _text(name: str, meaning: str, chinese: str, clause: str = "", *, null: bool = False) -> Column:
    return Column(name, Kind.TEXT, meaning, chinese, clause, null)


def _count(name: str, meaning: str, chinese: str) -> Column:
    return Column(name, Kind.COUNT, meaning, chinese)


def _points(name: str, meaning: str, chinese: str, clause: str = "", *, null: bool = False) -> Column:
    return Column(name, Kind.POINTS, meaning, chinese, clause, null)


def _money(name: str, meaning: str, chinese: str, clause: str = "", *, null: bool = False) -> Column:
    return Column(name, Kind.MONEY, meaning, chinese, clause, null)


def _day(name: str, meaning: str, chinese: str, clause: str = "", *, null: bool = False) -> Column:
    return Column(name, Kind.DAY, meaning, chinese, clause, null)


_RUN = _text("run_id", "run: month and version", "结算批次")
_MONTH = _day("month", "settled month, its first day", "结算月份")
_SETTLING = _text("institution_id", "settling institution, the one that is paid", "结算机构", "D 5, D 15")
_ZONE = _text("zone", "zone of the settling institution", "区域", "T 3(3)", null=True)
_REGIME = _text("regime", "coaching, ordinary, emergency or none", "结算方式", "T 3(3), T 3(7), D 34")
_CLASS = _text("point_class", "drug_consumable, service, tcm_decoction or inpatient", "点数类别", "T 3(3)")
_CLAUSE = _text("clause", "the clause that decides, with its phrase", "条款依据", null=True)
_POINT_VALUE = Column(
    "point_value", Kind.POINT_VALUE, "yuan per point", "点值", "rules 8.1", is_nullable=True
)

RUNS = Table(
    "runs",
    "run",
    "结算批次",
    (
        _RUN,
        _MONTH,
        _text("status", "open, superseded, closed or restated", "状态", "rules 11"),
        _text("policy_id", "policy that was applied", "政策"),
        _text("policy_status", "draft, in_force or lapsed", "政策状态", "rules 12"),
        _text("policy_sha256", "SHA-256 of the policy file", "政策文件摘要"),
        _text("readings", "readings in force, as JSON", "口径选择", "rules 10"),
        _text("assumptions", "values no text gives, as a JSON list", "假定事项"),
        _text("input_sha256", "SHA-256 over the input files", "输入文件摘要"),
        _text("engine_version", "version of this software", "软件版本"),
        _count("lines_in", "claim lines read", "读入明细数"),
        _count("lines_settled", "lines settled, paid or not", "结算明细数"),
        _count("lines_rejected", "lines rejected", "剔除明细数"),
        _points("points_in", "points read", "读入点数"),
        _points("points_settled", "points of settled lines", "结算点数"),
        _points("points_rejected", "points of rejected lines, where readable", "剔除点数"),
        Column("finished_at", Kind.MOMENT, "when the run was posted, UTC", "完成时间"),
        _text("results_sha256", "SHA-256 over the result rows in canonical order", "结果摘要"),
        _text("hash", "hash of the journal line that posted the run", "日志哈希", null=True),
    ),
    ("run_id",),
)
SETTLEMENTS = Table(
    "settlements",
    "run × settling institution × regime × point class (a group)",
    "结算结果",
    (
        _RUN,
        _MONTH,
        _SETTLING,
        _ZONE,
        _text("payment_class", "class the threshold table is written for", "支付类别", "T 3(3)"),
        _REGIME,
        _CLASS,
        _count("line_count", "lines of the group, ineligible ones included", "明细数"),
        _points("submitted_points", "points of all lines of the group", "申报点数", "rules 7"),
        _points("ineligible_points", "points of lines that are not payable", "不予结算点数", "rules 4"),
        _points("eligible_points", "submitted less ineligible", "可结算点数", "rules 7"),
        Column("threshold_points", Kind.THRESHOLD, "threshold in force", "阈值", "T 3(3)", is_nullable=True),
        _points("overage_points", "eligible points above the threshold", "超出阈值点数", "T 3(3)"),
        _points("payable_points", "points that are paid", "支付点数", "T 3(3)"),
        _points("unpaid_points", "submitted less payable", "不予支付点数", "T 3(3)"),
        _POINT_VALUE,
        _money("payable_amount", "payable points × point value", "支付金额", "rules 8.1", null=True),
        _CLAUSE,
    ),
    ("institution_id", "regime", "point_class"),
)
UNPAID_LINES = Table(
    "unpaid_lines",
    "line with unpaid points ≠ 0",
    "未全额支付明细",
    (
        _RUN,
        _MONTH,
        _SETTLING,
        _text("submitted_by", "institution that submitted the line", "申报机构", "D 15"),
        _REGIME,
        _CLASS,
        _text("claim_id", "settled visit", "结算单号"),
        _text("line_id", "charge line of the visit", "费用明细号"),
        Column("settled_at", Kind.MOMENT, "when the visit was settled, as written", "结算时间"),
        _points("points", "points of the line", "点数"),
        _points("payable_points", "points of the line that are paid", "支付点数", "rules 7"),
        _points("unpaid_points", "points of the line that are not paid", "不予支付点数", "rules 7"),
        _text("reason", "over_threshold or the first reason of ineligibility", "原因", "rules 4, 7"),
        _CLAUSE,
    ),
    ("institution_id", "regime", "point_class", "settled_at", "claim_id", "line_id", "submitted_by"),
)
DAILY_POINTS = Table(
    "daily_points",
    "group with a threshold × day of settlement",
    "逐日点数",
    (
        _RUN,
        _MONTH,
        _SETTLING,
        _REGIME,
        _CLASS,
        _day("day", "day of settled_at", "结算日"),
        _count("line_count", "lines of the day", "明细数"),
        _points("submitted_points", "points of all lines of the day", "申报点数"),
        _points("eligible_points", "points of the eligible lines of the day", "可结算点数"),
    ),
    ("institution_id", "regime", "point_class", "day"),
)
BUDGETS = Table(
    "budgets",
    "budget row of the month",
    "预算与点值",
    (
        _RUN,
        _MONTH,
        _text("zone", "zone, or * for all zones without a row of their own", "区域"),
        _CLASS,
        _money("budget", "budget of the pool", "预算额", "rules 8.1"),
        _points("pool_points", "payable points that draw on the row", "池内支付点数", "rules 8.1"),
        _POINT_VALUE,
        _money("remainder", "budget less the amounts paid from it", "结余", "rules 8.1"),
    ),
    ("zone", "point_class"),
)
REJECTED_LINES = Table(
    "rejected_lines",
    "rejected line",
    "剔除明细",
    (
        _RUN,
        _text("source", "file, as a path in the batch", "来源文件"),
        _count("row_number", "row in the file, 1 = first data row", "行号"),
        _text("claim_id", "as written, null where the cells cannot be trusted", "结算单号", null=True),
        _text("line_id", "as written, null where the cells cannot be trusted", "费用明细号", null=True),
        _text("rule", "the first rule the line broke", "违反规则", "data 2"),
        _text("column_name", "first offending column", "字段", "data 2", null=True),
    ),
    ("source", "row_number"),
)
STATEMENTS = Table(
    "statements",
    "run × settling institution",
    "拨付单",
    (
        _RUN,
        _MONTH,
        _SETTLING,
        _money("payable_amount", "gross: sum of the groups' amounts", "应付金额", "rules 8.2"),
        _money("deposit_withheld", "quality deposit withheld", "质量保证金", "D 36"),
        _money("disallowed", "refused after review", "拒付", "D 32, D 38(3)"),
        _money("penalty", "contractual penalty", "违约金", "D 38(4)"),
        _money("recovery", "recovered from earlier payments", "追回", "D 38(3)"),
        _money("prepayment", "prepayment offset", "预付冲抵", "D 33"),
        _money("adjustment", "difference of restated months", "更正调整", "rules 11"),
        _money("brought_forward", "negative balance of the statement before", "上期结转", "rules 8.2"),
        _money("net_payable", "what is transferred", "实付金额", "D 32"),
        _money("carried_forward", "negative balance for the next statement", "结转下期", "rules 8.2"),
        _day("payment_due", "last day of payment", "付款期限", "D 32", null=True),
    ),
    ("institution_id",),
)
ADJUSTMENTS = Table(
    "adjustments",
    "restated month × institution × cause",
    "更正",
    (
        _RUN,
        _MONTH,
        _SETTLING,
        _text(
            "cause",
            "lines, agreements_and_events (registry and relief too), policy (readings too), money_tables, engine",
            "原因",
            "rules 11",
        ),
        _points("points_delta", "difference in payable points", "点数差额"),
        _money(
            "amount_delta",
            "difference in what the statement comes to before adjustments and balances; null without money",
            "金额差额",
            "rules 8.2, 11",
            null=True,
        ),
        _text(
            "applied_in_run",
            "run whose statement pays or recovers it; null while pending, always so in the record",
            "执行批次",
            null=True,
        ),
    ),
    ("institution_id", "cause"),
)
FINDINGS = Table(
    "findings",
    "finding: a duty of the agency that needs a decision",
    "待处理事项",
    (
        _RUN,
        _SETTLING,
        _text("finding", "what was found", "事项", "rules 3.7"),
        _day("occurred_on", "the day it came about", "发生日期"),
        _text("detail", "agreement, days and numbers", "说明"),
        _CLAUSE,
    ),
    ("institution_id", "finding", "occurred_on", "detail"),
)
AGREEMENT_YEARS = Table(
    "agreement_years",
    "run × agreement of a settling institution",
    "协议年度",
    (
        _RUN,
        _SETTLING,
        _text("agreement_id", "agreement", "协议"),
        _day("in_force_from", "first day in force; null if there is none", "生效日", "D 13", null=True),
        _day("in_force_to", "last day in force; null if there is none", "截止日", "D 41, D 43", null=True),
        _day(
            "coaching_from", "first day of the coaching period of its stretch", "辅导期起", "T 3", null=True
        ),
        _day(
            "coaching_to", "last day of the coaching period of its stretch", "辅导期止", "T 3(6)", null=True
        ),
        Column("is_coaching_year", Kind.FLAG, "the threshold rule holds", "辅导期协议年度", "T 3(3)"),
        _CLAUSE,
    ),
    ("institution_id", "agreement_id"),
)
RESULT_TABLES = (
    SETTLEMENTS,
    UNPAID_LINES,
    DAILY_POINTS,
    BUDGETS,
    REJECTED_LINES,
    STATEMENTS,
    ADJUSTMENTS,
    FINDINGS,
    AGREEMENT_YEARS,
)
LEDGER_TABLES = (RUNS, *RESULT_TABLES)

# ---------------------------------------------------------------- output: a year's clearing

ANNUAL_STATEMENTS = Table(
    "annual_statements",
    "cleared year × settling institution",
    "年终清算单",
    (
        _count("year", "calendar year", "年度"),
        _SETTLING,
        _count("months", "months with a statement that was paid", "拨付月数"),
        _money(
            "payable_amount",
            "what the months came to, restated ones as restated",
            "应付金额",
            "rules 8.2, 11",
        ),
        _money("deposit_withheld", "quality deposit withheld", "质量保证金", "D 36"),
        _money("disallowed", "refused after review", "拒付", "D 32, D 38(3)"),
        _money("penalty", "contractual penalty", "违约金", "D 38(4)"),
        _money("recovery", "recovered from earlier payments", "追回", "D 38(3)"),
        _money("prepayment", "prepayment offset", "预付冲抵", "D 33"),
        _money(
            "adjustment", "differences of restated months that the statements hold", "更正调整", "rules 11"
        ),
        _money("brought_forward", "balance brought into the first month", "年初结转", "rules 8.2"),
        _money("net_payable", "what was transferred", "实付金额", "D 32"),
        _money("carried_forward", "balance carried out of the last month", "年末结转", "rules 8.2"),
        _money(
            "restated", "how much restatements of the year's months changed them", "年内更正差额", "rules 11"
        ),
        _money("outstanding", "of that, what no statement of the year holds", "待执行更正", "rules 11"),
        Column("score", Kind.SCORE, "assessment of the year", "考核得分", "D 36", is_nullable=True),
        Column(
            "release_share",
            Kind.SHARE,
            "share of the deposit that the score's band releases",
            "返还比例",
            "T 3(1), D 36",
            is_nullable=True,
        ),
        _money("deposit_released", "deposit given back", "返还质量保证金", "D 36"),
        _money("deposit_forfeited", "deposit kept", "不予返还质量保证金", "D 36"),
        _CLAUSE,
    ),
    ("year", "institution_id"),
)
