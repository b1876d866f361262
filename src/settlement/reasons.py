"""Closed, ordered codes: why a line is rejected, why it is not paid, what the agency must decide.

Layer 1. The order is the precedence: the first that fits wins (rules 4, data 2). Nothing else may be written
into `rejected_lines.rule`, `unpaid_lines.reason` or `findings.finding`.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """A code with its sentence, its Chinese name and the clause that says so."""

    sentence: str
    chinese: str
    clause: str

    def __new__(cls, code: str, sentence: str, chinese: str, clause: str) -> Code:
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence, member.chinese, member.clause = sentence, chinese, clause
        return member


class RejectRule(Code):
    """Why a claim line is rejected, in order of precedence (data 2)."""

    UNDECODABLE = "undecodable", "the row is not text in the file's encoding", "编码错误", "data 1"
    RAGGED_ROW = "ragged_row", "the row has more or fewer cells than the header", "列数不符", "data 1"
    MISSING_VALUE = "missing_value", "a required cell is empty", "缺少必填值", "data 1"
    BAD_NUMBER = (
        "bad_number",
        "a number is not written like 1234.50, without thousands separators",
        "数字格式错误",
        "data 1",
    )
    BAD_DATETIME = (
        "bad_datetime",
        "no such day or time, or not written like 2026-03-05 09:30:00",
        "时间错误",
        "data 1",
    )
    BAD_CODE = (
        "bad_code",
        "an id is over 30 characters or the institution is not H or P and 11 digits",
        "编码不合规",
        "data 1",
    )
    TOO_MANY_DECIMALS = "too_many_decimals", "more decimals than the column allows", "小数位过多", "data 1"
    OUT_OF_RANGE = "out_of_range", "the number is larger than a line may be", "数值超限", "data 1"
    SERVICED_AFTER_SETTLED = (
        "serviced_after_settled",
        "serviced after it was settled",
        "结算早于发生",
        "data 1",
    )
    OUTSIDE_MONTH = "outside_month", "the line belongs to another month", "不属本月", "rules 2"
    UNKNOWN_INSTITUTION = "unknown_institution", "the registry does not list it", "机构未登记", "rules 4"
    UNKNOWN_CHARGE_CATEGORY = "unknown_charge_category", "no such charge category", "费用类别未知", "rules 5"
    UNKNOWN_VISIT_TYPE = "unknown_visit_type", "no category for this visit type", "医疗类别未知", "rules 5"
    VOID_LINE = "void_line", "the line is marked void", "无效明细", "data 1"
    REVERSAL_WITHOUT_REFERENCE = (
        "reversal_without_reference",
        "negative points without the line they reverse",
        "退费无原明细",
        "rules 11",
    )
    CONFLICTING_DUPLICATE = (
        "conflicting_duplicate",
        "the same line again with other points or amount",
        "重复且冲突",
        "data 2",
    )
    DUPLICATE_LINE = "duplicate_line", "the same line again", "重复明细", "data 2"


class UnpaidReason(Code):
    """Why a line is not paid, in order of precedence (rules 4); the cap comes last (rules 7)."""

    NO_AGREEMENT = "no_agreement", "no agreement in force on the day of service", "无有效协议", "D 34"
    TERMINATED = "terminated", "the agreement was terminated", "协议已解除", "D 43, T 3(6)"
    SUSPENDED = "suspended", "the agreement was suspended on the day of service", "协议中止", "D 42"
    DEPARTMENT_SUSPENDED = "department_suspended", "the department was suspended", "科室中止", "D 38(5), D 45"
    PHYSICIAN_SUSPENDED = "physician_suspended", "the physician was suspended", "医师中止", "D 38(5), D 45"
    INSURANCE_TYPE_NOT_COVERED = (
        "insurance_type_not_covered",
        "the agreement does not cover the insurance type",
        "险种不在协议内",
        "T 4",
    )
    SERVICE_CATEGORY_NOT_COVERED = (
        "service_category_not_covered",
        "the agreement does not cover the service category",
        "服务类别不在协议内",
        "T 3(1)",
    )
    DISEASE_NOT_COVERED = (
        "disease_not_covered",
        "the agreement does not list the special-outpatient disease",
        "门特病种不在协议内",
        "T 3(1)",
    )
    OVER_THRESHOLD = "over_threshold", "beyond the month's threshold", "超出阈值", "T 3(3)"


class Finding(Code):
    """A duty of the agency that needs a decision (rules 3.7)."""

    TWO_SUSPENSIONS = "two_suspensions", "suspended twice or more under one agreement", "两次中止", "D 43(1)"
    INSPECTION_DUE = "inspection_due", "not inspected within six months", "未按期实地检查", "T 4(1)"
    TOO_MANY_DISEASES = "too_many_diseases", "more special diseases than allowed", "门特病种超数", "T 3(1)"
    SPECIAL_IN_FIRST_YEAR = (
        "special_in_first_year",
        "门特 offered in the first year",
        "首年开展门特",
        "T 3(1)",
    )
    BILLED_WHILE_SUSPENDED = "billed_while_suspended", "lines from suspended days", "中止期间申报", "D 43(4)"
    RENEWAL_BARRED = "renewal_barred", "renewed although barred", "不予续签", "T 3(6)"
