"""What the program prints of its results, in Chinese: summaries, explanations, notes, progress; as in `messages`.

In English a heading names its term in both languages, in Chinese the term stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping

_TITLES = {
    "DRAFT 征求意见稿: the policy is not in force; these figures are a trial settlement": (
        "DRAFT 征求意见稿：政策尚未生效，以下数字均为试算"
    ),
    "DRAFT 征求意见稿: the policy is not in force; these figures are a trial": (
        "DRAFT 征求意见稿：政策尚未生效，以下数字均为试算"
    ),
    "run {} posted": "批次 {} 已记入账本",
    "run {} posted, restating {}": "批次 {} 已记入账本，更正批次 {}",
    "run {} unchanged, nothing new posted": "批次 {} 无变化，未记入新内容",
    "check only, nothing written": "仅校验，未写入任何内容",
    "of {} line(s) {} belong to another month than {}, and {} are settled. Is --month right?": (
        "明细共 {} 行，其中 {} 行不属 {}，结算 {} 行。--month 是否正确？"
    ),
    "no line settled; {} of {} break the rule {} ({})": "无明细结算；{1} 行中有 {0} 行不符合规则 {2}（{3}）",
    "not read, for the contract knows no such file: {}": "未读取，数据约定中没有这样的文件：{}",
    "{}: column {} is not known; is it meant as {}, which the file lacks?": (
        "{}：无法识别的列 {}；是否应为该文件缺少的 {}？"
    ),
    "WARNING 注意: {}": "注意：{:told}",
}

_SUMMARY = {
    "Lines 明细": "明细",
    "lines 明细数": "明细数",
    "points 点数": "点数",
    "in 读入": "读入",
    "settled 结算": "结算",
    "rejected 剔除": "剔除",
    "Rejected 剔除": "剔除",
    "lines": "明细数",
    "points": "点数",
    "rule": "规则",
    "meaning": "说明",
    "first seen: file, data row": "首见：文件、数据行",
    "{}, row {}": "{}，第 {} 行",
    "Settled 结算": "结算",
    "zone 区域": "区域",
    "regime 结算方式": "结算方式",
    "institutions": "机构数",
    "submitted 申报": "申报",
    "payable 支付": "支付",
    "unpaid 不予支付": "不予支付",
    "No institution is over its threshold 无机构超出阈值": "无机构超出阈值",
    "institution 机构": "机构",
    "name 名称": "名称",
    "class 类别": "类别",
    "eligible 可结算": "可结算",
    "threshold 阈值": "阈值",
    "overage 超出": "超出",
    "unpaid 未支付": "未支付",
    "Over the threshold 超出阈值: {} institution(s)": "超出阈值：{} 家机构",
    "and {} more, in the view current_settlements": "另有 {} 行，见视图 current_settlements",
    "Relief 合理超支 (D 37): {} institution(s), {} points approved, {} paid that would not have been": (
        "合理超支（D 37）：{} 家机构，核准 {} 点，因此多支付 {} 点"
    ),
    "Overage by tier 超出部分分档": "超出部分分档",
    "up to": "至",
    "share": "支付比例",
    "groups": "组数",
    "paid 支付": "支付",
    "beyond": "其余",
    "{} × threshold": "阈值的 {} 倍",
    "Every settled line is paid in full 全部支付": "结算明细全部支付",
    "No line is settled 无结算明细": "无结算明细",
    "Unpaid lines 未支付明细": "未支付明细",
    "reason": "原因",
    "clause": "条款",
    "budget 预算": "预算",
    "point value 点值": "点值",
    "remainder 结余": "结余",
    "Budgets 预算与点值": "预算与点值",
    "and {} more, in budgets": "另有 {} 行，见表 budgets",
    "Statements 拨付单": "拨付单",
    "{} institution(s) 机构": "{} 家机构",
    "yuan 元": "元",
    "payment due 付款期限 {}": "付款期限 {}",
    "gross 应付": "应付",
    "deposit withheld 质量保证金": "质量保证金",
    "disallowed 拒付": "拒付",
    "penalty 违约金": "违约金",
    "recovery 追回": "追回",
    "prepayment offset 预付冲抵": "预付冲抵",
    "adjustment 更正": "更正",
    "brought forward 上期结转": "上期结转",
    "net payable 实付": "实付",
    "carried forward 结转下期": "结转下期",
    "Nothing to pay or recover 无更正金额": "无更正金额",
    "Adjustments 更正": "更正",
    "cause 原因": "原因",
    "and {} more, in the table adjustments": "另有 {} 行，见表 adjustments",
    "Findings 待处理事项": "待处理事项",
    "institution": "机构",
    "finding": "事项",
    "day": "日期",
    "detail": "说明",
    "and {} more": "另有 {} 行",
    "read {} ({})": "读取 {}（{}）",
    "read {} ({}); ignored columns: {}": "读取 {}（{}）；未使用的列：{}",
    "policy {}, SHA-256 {}…": "政策文件 {}，SHA-256 {}…",
    "no institution is of payment class {}: its threshold rows stay unused": (
        "没有支付类别为 {} 的机构：其阈值行未使用"
    ),
    "readings 口径: {}": "口径：{}",
    "note: {}": "备注：{:told}",
    "assumed 假定: {}": "假定：{:told}",
    "assumed 假定": "假定",
    "{} proofs hold": "{} 项核对全部相符",
    "{} proofs hold; results {}…; {} s": "{} 项核对全部相符；结果摘要 {}…；{} 秒",
}

_YEAR = {
    "{} · annual clearing 年终清算 · {}": "{} · 年终清算 · {:told}",
    "unchanged, nothing new posted": "无变化，未记入新内容",
    "cleared": "已清算",
    "runs {}": "批次 {}",
    "deposit released by the bands of policy {}, {}…": "质量保证金按政策 {} 的档次返还，{}…",
    "assessed, but without a statement in {}: {}": "有考核得分但 {} 年没有拨付单：{}",
    "these statements are not paid: run {} stays the one that is, and the next open month takes the adjustments": (
        "以上拨付单不另拨付：仍以批次 {} 为准，更正由下一个未关账月份的拨付单支付或追回"
    ),
    "no run of {}: a deposit withheld there later is in no clearing": (
        "{} 没有批次：此后在这些月份扣留的质量保证金不在任何清算之内"
    ),
    "Annual statements 年终清算单": "年终清算单",
    "payable 应付": "应付",
    "deposit 保证金": "保证金",
    "transferred 实付": "实付",
    "score 得分": "得分",
    "released 返还": "返还",
    "forfeited 不返还": "不返还",
    "Deposit 质量保证金": "质量保证金",
    "band 依据": "依据",
    "and {} more, in annual_statements": "另有 {} 行，见表 annual_statements",
}

_COMMANDS = {
    "Try next:": "接下来可以试试：",
    "month {} closed: run {} stands": "{} 已关账：以批次 {} 为准",
    "{}: {} lines ({} of them bad), {} institutions, {} over a threshold": (
        "{}：{} 行明细（其中 {} 行有误），{} 家机构，{} 家超出阈值"
    ),
    "head of the journal: {} (act {}); keep it elsewhere": "日志末行哈希：{}（第 {} 条）；请另处留存",
    "{} difference(s) in {} journal line(s), {} run(s), {} file(s) of {} bytes, and settlement.duckdb": (
        "{} 处差异；已核查日志 {} 行、批次 {} 个、文件 {} 个共 {} 字节，以及 settlement.duckdb"
    ),
    "head of the journal: {}": "日志末行哈希：{}",
    "head of the journal: {}; keep it elsewhere, and give it with --head": (
        "日志末行哈希：{}；请另处留存，核查时用 --head 给出"
    ),
    "{}: {} files": "{}：{} 个文件",
    "no threshold row in force in {}": "{} 没有有效的阈值行",
    "this policy caps nothing": "该政策不设阈值",
    "{}: {} threshold(s) from {} on": "{}：{} 个阈值，自 {} 起",
    "No threshold, for lack of peers:": "因无同类机构而无阈值：",
    "run {} replayed: the same results": "批次 {} 重演：结果相同",
    "results: {}": "结果摘要：{}",
    "run {} replayed: other results, in {}": "批次 {} 重演：结果不同，涉及 {}",
    "recorded: {} (engine {})": "记录：{}（程序 {}）",
    "now:      {} (engine {})": "现在：{}（程序 {}）",
    "{} row(s)": "{} 行",
    "no run": "没有结算批次",
}

_WHAT_IF = {
    "{} · what if, nothing is posted": "{} · 假设测算，不记入账本",
    "in force": "现行",
    "{} line(s) rejected 剔除": "剔除 {} 行明细",
    "{}, changes against what is in force": "{:told}，与现行相比的变化",
    "scenarios": "方案",
    "readings": "口径",
    "growth {} = {}": "增幅 {} = {}",
    "scale {}": "阈值调整 {}",
    "reading {} = {}": "口径 {} = {}",
    "policy {}": "政策 {}",
    "moves points between the lines of a group; what the group is paid stays (rules 7)": (
        "只在组内各明细间移动点数，组的支付不变（rules 7）"
    ),
    "lines serviced in the month and settled after it are not in this batch": (
        "本月发生、以后月份结算的明细不在此数据目录中"
    ),
    "all": "全部",
    "{} as of {} · forecast, nothing is posted": "{} 截至 {} · 预测，不记入账本",
    "{} line(s) settled up to that day, of {} in the batch": "截至该日结算明细 {} 行，数据目录共 {} 行",
    "already over 已超出": "累计已高于阈值",
    "will pass, the whole range is above 将超出": "整个区间高于阈值",
    "may pass, the threshold lies in the range 可能超出": "阈值在区间之内",
    "stays under, the whole range is below 不超出": "整个区间低于阈值",
}

_STEPS = {
    "run {} ({})": "批次 {}（{:told}）",
    "agreements 协议": "协议",
    "none 无": "无",
    "{} coaching year": "{:told} 辅导期协议年度",
    "{} ordinary 普通": "{:told} 普通",
    "coaching 政策辅导期": "政策辅导期",
    "{}, extended from {} 延长": "{:told}，自 {} 起延长",
    "on no day": "无有效日",
    "on no day {}": "无有效日 {}",
    "suspended 中止": "中止",
    "terminated 解除": "解除",
    "settles for 代结算": "代结算",
    "settles under 归口结算": "归口结算",
    "{} is settled with {}": "{} 并入 {} 结算",
    "place 区域类别": "区域类别",
    "{} (registry), {}": "{:told}（机构登记），{:told}",
    "{} (division {}), {}": "{:told}（区划 {}），{:told}",
    "row of {}": "{} 起的阈值行",
    "institution's own 机构阈值": "机构阈值",
    "base 表列阈值": "表列阈值",
    "growth {} 增幅": "{} 增幅",
    "no rate in the policy: counted as 0": "政策未载增幅：按 0 计",
    "in force 按日折算": "按日折算",
    "= {} × {} ÷ {} days 协议天数": "= {} × {} ÷ {} 天（协议天数）",
    "no day in force: counted as full": "当月无有效日：按整月计",
    "relief 合理超支": "合理超支",
    "approved 核准": "核准",
    "{} line(s)": "{} 行明细",
    "all of {} line(s) submitted 申报": "申报 {} 行全部",
    "{} line(s) {}": "{} 行明细，{}",
    "up to 至 {} 倍": "至 {} 倍",
    "share paid 支付比例": "支付比例",
    "beyond 其余": "其余",
    "unpaid 不予支付 {}": "不予支付 {}",
    "crossed 越过阈值": "越过阈值",
    "claim {} line {}": "结算单 {} 明细 {}",
    "running 累计": "累计",
    "{}; paid 支付 {}": "{}；支付 {}",
    "and {} more 另有": "另有 {} 处",
    "reversals lead back and forth 退费": "因退费多次往返",
    "{} line(s) cut; where, is not recorded ({})": "{} 行被扣减；未记录越过位置（{}）",
    "amount 金额": "金额",
    "no point values or budgets: points only": "无点值、无预算：只结算点数",
    "nothing is paid": "无支付",
    "= {} × {} 点值 (budget {} ÷ {})": "= {} × {} 点值（预算 {} ÷ {}）",
    "without a threshold 无阈值": "无阈值",
    "coaching {}": "辅导期协议年度 {}",
    "ordinary {}": "普通 {}",
    "coaching 辅导期协议年度, {} {}": "辅导期协议年度，{:mute}{}",
    "ordinary 普通, {} {}": "普通，{:mute}{}",
    "D 36; from score {} on {} {}": "D 36；得分 {} 起返还 {} {}",
    "emergency {}": "急诊抢救 {}",
    "none {}": "无协议 {}",
    "payable": "支付",
    "payable of {}": "支付，申报 {}",
    "payable × {} = {}": "支付 × {} = {}",
    "payable of {} × {} = {}": "支付（申报 {}）× {} = {}",
    "statement 拨付单": "拨付单",
    "what should have come: not transferred, the difference is an adjustment 更正": (
        "应有结果：不另拨付，差额作更正调整"
    ),
    "sum of the amounts": "各组金额合计",
    "deposit 质量保证金": "质量保证金",
    "prepayment 预付冲抵": "预付冲抵",
    "deductions 扣款表": "扣款表",
    "of the statement before": "上一拨付单",
    "carried forward 结转": "结转",
    "to the next statement": "结转至下一拨付单",
    "payment due 付款期限": "付款期限",
    "{} working days after {}": "{1} 起 {0} 个工作日",
    "of {}, restated as {}: {}": "{}，更正批次 {}：{:told}",
    "lines 明细": "明细",
    "no line of the month": "该月无明细",
    "is paid in part 部分支付": "部分支付",
    "is paid nothing 不予支付": "不予支付",
    "settled 结算时间": "结算时间",
    "submitted by 申报机构": "申报机构",
    "reason 原因": "原因",
    "position 序号": "序号",
    "of {} unpaid lines of its group, canonical order": "该组 {} 行未支付明细中的次序",
    "not known 未记录": "未记录",
    "the day of service and the codes of the line: the record keeps none": "发生日期和明细各代码：记录中不保存",
    "before 本行前累计": "本行前累计",
    "eligible points of the group": "该组可结算点数",
    "after 本行后累计": "本行后累计",
    "{}, crosses it 越过阈值": "{}，越过阈值",
    "not known: lines paid in full are not recorded ({})": "未知：全额支付的明细不记录（{}）",
    "{} covers {}": "{:told} 涵盖 {:told}",
    "{} (the policy's)": "{:told}（按政策）",
    "department {}": "科室 {}",
    "physician {}": "医师 {}",
    "is not among the institution's unpaid lines": "不在该机构未支付明细之中",
    "row {}": "第 {} 行",
    "of {}": "{}",
    "unpaid line of": "未支付明细属于",
    "another institution's: explain that one": "其他机构：请对该机构使用 explain",
    "whether the run had this line: lines paid in full are not recorded": (
        "该批次是否有此明细：全额支付的明细不记录"
    ),
    "if it had 如有": "如有",
    "paid in full 全额支付; look for claim and line id in its files": "全额支付；请在其文件中查找结算单号和明细号",
    "look in 见": "见",
}

_RECORDED = {  # assumptions, findings and notes are recorded in English and shown in the language asked for
    "{}: assumed, no text gives it": "{}：假定，无文本依据",
    "growth of {}: no rate in the policy, 0 assumed": "{} 年增幅：政策未载，按 0 假定",
    "calendar of {}: no official calendar known, Monday to Friday taken as working days": (
        "{} 年日历：未知官方日历，以周一至周五为工作日"
    ),
    "{} line(s) serviced on suspended days": "中止期间发生明细 {} 行",
    "{}: suspended on {}": "{}：中止于 {}",
    "{}: no inspection by {}": "{}：至 {} 未实地检查",
    "{}: {} special diseases, {} allowed": "{}：门特病种 {} 个，限 {} 个",
    "{} offers special_outpatient": "{} 开展门特",
    "{} starts after the event of {}": "{} 始于 {} 事件之后",
    "this batch has {} line(s), run {} had {}: a restatement settles the whole month anew, and what is missing is "
    "recovered. If only late lines were meant, restate again with all lines of the month": (
        "本次数据有 {} 行明细，批次 {} 有 {} 行：更正是整月重新结算，缺少的将被追回。"
        "如只想补报，请用该月全部明细再次更正"
    ),
    "the first cause holds what engine {} changes against {}, too: the earlier lines are not at {}, so it cannot be "
    "told apart": "第一项原因也含程序 {0} 相对 {1} 的变化：原明细不在 {2}，无法分开",
    "{} is told with the next cause, for the rules refuse it alone: {}": (
        "{:told}与下一项原因合并列示，因单独变更被规则拒绝：{:told}"
    ),
    "no settled month: zone and class are not known": "没有已结算月份：区域和类别未知",
    "no peer": "没有同类机构",
    "no peer with enough settled months": "没有已结算月数足够的同类机构",
    "the statistic is negative": "统计值为负",
    # of the shipped policies
    "policy: the draft names no day of issue; 2025-01-01, also of the threshold rows, is assumed": (
        "policy：征求意见稿未载发布日期；假定为 2025-01-01，阈值行亦同"
    ),
    "zones: the text does not list the districts of a zone; this is the common geographic split of the 16 districts": (
        "zones：原文未列各区域所含行政区；按 16 个区的通行地理划分"
    ),
    "point_classes: the table's heading names the classes; which national charge category belongs to which is "
    "assumed": "point_classes：表头列出类别；国家收费类别的归属为假定",
    "visit_types: the text names the categories; the prefixes are those of the national code list, local codes are "
    "not known": "visit_types：原文列出就诊类别；前缀取自国家编码，地方编码未知",
    "agreements: the notice does not state it; 180 days as in the Dongguan measures (clause 42), which rest on the "
    "same national ones": "agreements：通知未载明；按东莞办法（第四十二条）180 日，二者依据同一国家办法",
    "money: the notice has no deposit: the rate is the national ceiling; release bands assumed (90 points are named, "
    "for renewal only); 30 working days as in the Dongguan measures (clause 32)": (
        "money：通知未规定质量保证金：比例取国家上限；返还档次为假定（仅续签提及 90 分）；"
        "30 个工作日同东莞办法（第三十二条）"
    ),
    "recalculation: the text orders the recalculation by peers of the same zone and class, not the statistic nor the "
    "months": "recalculation：原文规定按同区域同类别机构重新核算，未载统计方法和月数",
    "point_classes: the measures know no point classes; they only group the points here and cut nothing": (
        "point_classes：办法未分点数类别；此处仅作归类，不作扣减"
    ),
    "visit_types: the measures name emergency and rescue; the prefixes are those of the national code list": (
        "visit_types：办法提及急诊抢救；前缀取自国家编码"
    ),
    "money: payment days are clause 32; the measures withhold and release a deposit (clauses 17, 36) but give neither "
    "rate nor bands: the national ceiling and a common scale are assumed": (
        "money：付款天数依第三十二条；办法规定扣留和返还质量保证金（第十七、三十六条），"
        "未载比例和档次：假定取国家上限和通行档次"
    ),
}

_PROGRESS = {
    "writing the batch": "正在写出数据",
    "reading {}": "正在读取 {}",
    "reading {}: {} lines": "正在读取 {}：{} 行",
    "{} lines written": "已写出 {} 行",
    "posting the run": "正在记入批次",
    "posting the restatement": "正在记入更正",
    "publishing settlement.duckdb": "正在发布 settlement.duckdb",
    "proofs": "正在核对",
    "connecting with {}": "正在连接 {}",
    "counting lines": "正在清点明细",
    "settling on Spark, {} shard(s)": "正在 Spark 上结算，{} 个分片",
    "putting the shards together": "正在汇合各分片",
    "settling again: {}": "正在重新结算：{:told}",
    "reading the record": "正在读取记录",
    "drawing the page": "正在绘制页面",
    "writing the sheet {}": "正在写出工作表 {}",
    "scenario {}": "方案 {}",
    "journal": "日志",
    "settlement.duckdb": "settlement.duckdb",
    "results of {}": "{} 的结果",
    "clearing of {}": "{} 年清算",
    "the month so far": "本月至今",
    "the days to come": "其后各日",
    "timelines of the institutions": "各机构协议时间线",
    "totals of the lines": "明细汇总",
    "totals of the days": "逐日汇总",
    "rejected lines": "剔除明细",
    "eligibility": "可结算判定",
    "zones and classes": "区域与类别",
    "thresholds": "阈值",
    "attribution to lines": "分摊到明细",
    "point values": "点值",
    "statements": "拨付单",
    "findings": "待处理事项",
    "result tables": "结果表",
}

PRINTED: Mapping[str, str] = {
    **_TITLES,
    **_SUMMARY,
    **_YEAR,
    **_COMMANDS,
    **_WHAT_IF,
    **_STEPS,
    **_RECORDED,
    **_PROGRESS,
}

# Heads of printed tables that are no column of the ledger, and codes in their cells.
HEADS: Mapping[str, str] = {
    "scenario": "方案",
    "lines": "明细数",
    "meaning": "说明",
    "name": "名称",
    "results": "结果摘要",
    "effective_from": "生效日",
    "drug_consumable": "药品耗材",
    "service": "医疗服务",
    "status": "状态",
    "points_so_far": "已有点数",
    "expected_points": "预计点数",
    "low_points": "下限",
    "high_points": "上限",
    "crossing_day": "越过日",
    "earliest_crossing": "最早",
    "latest_crossing": "最晚",
    "payable_points_change": "支付点数变化",
    "unpaid_points_change": "不予支付点数变化",
    "payable_amount_change": "支付金额变化",
    "ended_on": "辅导期结束日",
    "lack": "原因",
}
CODES: Mapping[str, str] = {
    "all": "合计",
    "open": "未关账",
    "superseded": "已被替代",
    "closed": "已关账",
    "restated": "已更正",
    "over": "已超出",
    "will_pass": "将超出",
    "may_pass": "可能超出",
    "stays_under": "不超出",
    "lines": "费用明细",
    "lines_removed": "删除明细",
    "lines_changed": "改动明细",
    "lines_added": "新增明细",
    "agreements_and_events": "协议与事件",
    "policy": "政策",
    "money_tables": "点值预算扣款表",
    "engine": "程序版本",
    "outpatient": "门诊",
    "special_outpatient": "门特",
}
