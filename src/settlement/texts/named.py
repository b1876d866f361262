"""The texts of the report in English and Chinese, by name.

Terms (headings, column names, codes) are shown in both languages; running text in the one that was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping

TEXTS: Mapping[str, tuple[str, str]] = {
    # the page
    "report": ("Settlement report", "结算报告"),
    "month": ("Month", "结算月份"),
    "run": ("Run", "结算批次"),
    "draft": ("DRAFT", "征求意见稿"),
    "draft_note": (
        "The policy {policy} is a draft for comment and not in force. Every figure here is a trial settlement; "
        "nothing may be paid on it.",
        "政策 {policy} 为征求意见稿，尚未生效。本报告全部数字均为试算，不得据以拨付。",
    ),
    "lapsed_note": (
        "The policy {policy} has lapsed; it is shown for months in which it held.",
        "政策 {policy} 已失效，仅适用于其有效期内的月份。",
    ),
    "not_closed_note": (
        "The month is not closed: a later run may replace these figures.",
        "本月尚未关账，后续批次可能替换本报告数字。",
    ),
    "restating": ("Restatement", "更正批次"),
    "restating_note": (
        "This run restates {paid}: it says what the month should have come to. Nothing is transferred by these "
        "statements; the differences are adjustments of the next open month.",
        "本批次为 {paid} 的更正：列示本月应有结果，不据此拨付；差额作为更正调整计入下一未关账月份。",
    ),
    "contents": ("Contents", "目录"),
    "in_full": ("All rows are in the workbook {file}.", "全部数据见工作簿 {file}。"),
    "and_more": ("and {count} more, in the workbook {file}", "另有 {count} 行，见工作簿 {file}"),
    # headline
    "headline": ("Headline figures", "主要数字"),
    "lines_in": ("Lines read", "读入明细"),
    "lines_settled": ("Lines settled", "结算明细"),
    "lines_rejected": ("Lines rejected", "剔除明细"),
    "institutions": ("Institutions settled", "结算机构"),
    "submitted_points": ("Submitted points", "申报点数"),
    "eligible_points": ("Eligible points", "可结算点数"),
    "payable_points": ("Payable points", "支付点数"),
    "unpaid_points": ("Unpaid points", "不予支付点数"),
    "overage_points": ("Overage", "超出阈值点数"),
    "payable_amount": ("Payable amount, yuan", "支付金额（元）"),
    "over_threshold_groups": ("Groups over their threshold", "超出阈值组数"),
    "of_groups": ("of {count} with a threshold", "共 {count} 组有阈值"),
    "of_points": ("{share} % of the submitted points", "占申报点数 {share}%"),
    "points_of": ("{points} points", "{points} 点"),
    "no_money": ("points only: no point values, no budgets", "仅结算点数：无点值、无预算"),
    "group_note": (
        "A group is one settling institution, regime and point class of the month. Points are exact to 0.0001, "
        "money to 0.01 yuan; percentages are rounded half-up to 0.1.",
        "一组为一家结算机构当月的一种结算方式和一个点数类别。点数精确到 0.0001，金额精确到 0.01 元；"
        "百分比四舍五入到 0.1。",
    ),
    # threshold use
    "threshold_use": ("Threshold use", "阈值使用率"),
    "threshold_use_note": (
        "How many groups use how much of their threshold, by zone and point class.",
        "各区域、各点数类别按阈值使用率统计的组数。",
    ),
    "no_threshold": (
        "No group of this month has a threshold: every eligible point is paid.",
        "本月没有任何组适用阈值，可结算点数全部支付。",
    ),
    "use": ("Use, %", "使用率 %"),
    "groups": ("Groups", "组数"),
    "over": ("Over", "超出组数"),
    "threshold_points": ("Threshold", "阈值"),
    "under_half": ("under 50 %", "不足 50%"),
    "under_four_fifths": ("50 to under 80 %", "50% 至不足 80%"),
    "up_to_threshold": ("80 % to the threshold", "80% 至阈值"),
    "above_threshold": ("over the threshold", "超出阈值"),
    "use_desc": (
        "{zone}: {groups} groups, {over} over the threshold, use {use} %",
        "{zone}：{groups} 组，超出 {over} 组，使用率 {use}%",
    ),
    # overage
    "overage_ranking": ("Overage, largest first", "超出阈值排名"),
    "overage_note": (
        "Eligible points above the threshold. What of them is paid is the policy's share of the overage.",
        "可结算点数中超出阈值的部分；超出部分的支付比例由政策规定。",
    ),
    "no_overage": ("No group is over its threshold.", "没有任何组超出阈值。"),
    "rank": ("Rank", "名次"),
    "institution": ("Institution", "机构"),
    "zone": ("Zone", "区域"),
    "regime": ("Regime", "结算方式"),
    "point_class": ("Point class", "点数类别"),
    "clause": ("Clause", "条款"),
    # daily course
    "daily_course": ("Daily course against the threshold", "逐日累计与阈值"),
    "daily_course_note": (
        "Running total of eligible points at the end of each day. The dashed line is the threshold; ▼ marks the "
        "first day that ends above it.",
        "每日终了可结算点数累计。虚线为阈值，▼ 为首个累计超出阈值的日期。",
    ),
    "within": ("up to the threshold", "阈值以内"),
    "above": ("above the threshold", "超出阈值"),
    "day": ("Day", "日期"),
    "crossed": (
        "Crossed on {day}: {before} points the evening before, {after} that evening; threshold {threshold}, "
        "{total} at the end.",
        "{day} 超出阈值：前日累计 {before} 点，当日累计 {after} 点；阈值 {threshold}，期末 {total} 点。",
    ),
    # unpaid and rejected
    "unpaid_by_reason": ("Unpaid points by reason", "不予支付原因"),
    "nothing_unpaid": ("Every settled line is paid in full.", "结算明细全部支付。"),
    "nothing_settled": ("No line was settled.", "没有结算明细。"),
    "reason": ("Reason", "原因"),
    "meaning": ("Meaning", "说明"),
    "lines": ("Lines", "明细数"),
    "rejected": ("Rejected lines by rule", "剔除明细（按规则）"),
    "rejected_note": (
        "A rejected line is settled by nobody until it is mended and submitted again.",
        "被剔除的明细在更正并重新申报之前不参与结算。",
    ),
    "nothing_rejected": ("No line was rejected.", "没有剔除明细。"),
    "rule": ("Rule", "规则"),
    "first_seen": ("First seen: file, data row", "首见：文件、数据行"),
    "file_row": ("{source}, row {row}", "{source}，第 {row} 行"),
    # money
    "money": ("Money", "金额"),
    "no_money_note": (
        "The batch had neither point values nor budgets of the month: it is settled in points, without money.",
        "批次中没有本月的点值或预算：只结算点数，不计金额。",
    ),
    "statements": ("Statements", "拨付单"),
    "statement_item": ("Item", "项目"),
    "yuan": ("Yuan", "元"),
    "statement_count": ("Institutions with a statement: {count}.", "有拨付单的机构：{count} 家。"),
    "payment_due": ("Payment due by {day}.", "付款期限：{day}。"),
    "budgets": ("Budgets and point values", "预算与点值"),
    "every_zone": ("all other zones", "其余区域"),
    # findings
    "findings": ("Findings", "待处理事项"),
    "findings_note": (
        "Duties of the agency that need a decision; none of them changed a payment.",
        "需由经办机构决定的事项，均未影响支付。",
    ),
    "no_findings": ("No findings.", "无待处理事项。"),
    "finding": ("Finding", "事项"),
    "detail": ("Detail", "具体情况"),
    # basis
    "basis": ("Assumptions and readings", "假定与口径"),
    "assumptions_note": (
        "What the policy's text does not say is assumed, and listed as it was recorded with the run:",
        "政策文本未载明的事项按下列假定处理（以批次记录原文列示）：",
    ),
    "no_assumptions": ("Nothing had to be assumed.", "无假定事项。"),
    "assumption": ("Assumption", "假定"),
    "readings": ("Readings in force", "采用口径"),
    "key": ("Key", "项目"),
    "value": ("Value", "取值"),
    "identity": ("Where these figures come from", "数据来源"),
    "identity_note": (
        "Anyone can check this page against the ledger: the command settlement runs shows the same results hash "
        "and head of the journal.",
        "可用命令 settlement runs 核对结果摘要与日志末行哈希，以验证本页与账本一致。",
    ),
    "status": ("Status", "状态"),
    "policy": ("Policy", "政策"),
    "policy_status": ("Policy status", "政策状态"),
    "head": ("Head of the journal", "日志末行哈希"),
    "act": ("act {seq}", "第 {seq} 条"),
    "open": ("open", "未关账"),
    "closed": ("closed", "已关账"),
    "superseded": ("superseded", "已被替代"),
    "restated": ("restated", "已更正"),
    # the workbook
    "about": ("About", "说明"),
    "exact": ("exact", "精确值"),
    "exact_note": (
        "Each decimal has two columns: a number to sum and sort, and a text with the exact value. Excel keeps 15 "
        "digits of a number; where the two differ, the text holds.",
        "每个小数有两列：数值列供求和排序，文本列为精确值。Excel 数值仅保留 15 位有效数字，如有出入以文本列为准。",
    ),
    "sheet": ("Sheet", "工作表"),
    "rows": ("Rows", "行数"),
    "rows_left_out": ("Rows left out", "未列入行数"),
    "left_out_note": (
        "Excel holds 1 048 576 rows in a sheet. Rows beyond that are left out here, and are in the ledger.",
        "Excel 每张工作表最多 1 048 576 行，超出部分未列入本工作簿，可在账本中查询。",
    ),
    "sums": ("Sums of the statements", "拨付单合计"),
    "institution_name": ("Name", "机构名称"),
}
