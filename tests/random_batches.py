"""Small random batches that walk into the corners of the rules; the same seed gives the same bytes.

    write_random_batch(Path("somewhere"), seed=7) -> {"month": "2026-03", "batch": Path, "policy": Path}

The month is March 2026. Days are drawn from a few "hot" days of an institution (starts and ends of agreements, the
end of six months, day 179 / 180 / 181 of a suspension), so that events collide. Thresholds are near 100 points, so
that they are crossed often. Where the spec leaves a choice that no case decides (see the notes marked "kept out"),
the batch stays away from it: a difference between two implementations should be a mistake, not a taste.
"""

import random
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

MONTH = "2026-03"
MARCH = [date(2026, 3, 1) + timedelta(days=number) for number in range(31)]
LAST_DAY = MARCH[-1]
ZONES = {
    "binhai": ["120116"],
    "ring": ["120110", "120111", "120112", "120113"],
    "urban": ["120101", "120102", "120103", "120104", "120105", "120106"],
    "outer": ["120114", "120115", "120117", "120118", "120119"],
}
POINT_CLASSES = ["drug_consumable", "service", "tcm_decoction", "inpatient"]
CATEGORIES = [f"{number:02d}" for number in range(1, 15)]
DISEASES = ["M00101", "M00102", "M00103", "M0010"]
DEPARTMENTS = ["D01", "D02"]
PHYSICIANS = ["DR1", "DR2"]
# Ids whose byte order differs from number order, from the order of letters, and from that of UTF-16.
IDS = [
    "1",
    "2",
    "9",
    "10",
    "11",
    "100",
    "01",
    "0001",
    "A",
    "a",
    "Z",
    "b",
    "_",
    "é",
    "中",
    "～",
    "😀",
    "中" * 30,
    "x" * 30,
]
NATIONAL = {
    "claim_id": ["setl_id"],
    "line_id": ["feedetl_sn", "bkkp_sn"],
    "institution_id": ["fixmedins_code"],
    "department_id": ["bilg_dept_codg"],
    "physician_id": ["bilg_dr_codg", "bilg_dr_code"],
    "serviced_at": ["fee_ocur_time"],
    "settled_at": ["setl_time"],
    "insurance_type": ["insutype"],
    "visit_type": ["med_type"],
    "disease_code": ["dise_codg"],
    "charge_category": ["med_chrgitm_type"],
    "amount": ["inscp_scp_amt", "inscp_amt", "det_item_fee_sumamt"],
    "reverses_line_id": ["init_feedetl_sn"],
    "is_valid": ["vali_flag"],
    "person_id": ["psn_no"],
    "name": ["fixmedins_name"],
}
CLAIM_COLUMNS = [
    "claim_id", "line_id", "institution_id", "department_id", "physician_id", "serviced_at", "settled_at",
    "insurance_type", "visit_type", "disease_code", "charge_category", "points", "amount", "reverses_line_id",
    "is_valid", "person_id",
]  # fmt: skip


@dataclass
class World:
    """Everything drawn so far."""

    draw: random.Random
    policy: dict = field(default_factory=dict)
    institutions: list[dict] = field(default_factory=list)
    agreements: list[dict] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    hot_days: dict[str, list[date]] = field(default_factory=dict)

    def chance(self, share: float) -> bool:
        return self.draw.random() < share

    def pick(self, items):
        return self.draw.choice(list(items))

    def stations(self) -> list[str]:
        return [row["institution_id"] for row in self.institutions if row["settles_under"]]

    def settling(self) -> list[str]:
        return [row["institution_id"] for row in self.institutions if not row["settles_under"]]


# ---------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------


def quoted(cell: str, separator: str) -> str:
    """A cell as RFC 4180 wants it."""
    if any(character in cell for character in (separator, '"', "\n", "\r")):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def write_csv(
    world: World,
    path: Path,
    columns: list[str],
    rows: list[dict],
    encoding: str = "utf-8",
    tab: bool | None = None,
) -> None:
    """One file: columns shuffled, some under their national name, now and then an unknown column and blank lines."""
    draw = world.draw
    separator = "\t" if (world.chance(0.2) if tab is None else tab) else ","
    columns = list(columns)
    if world.chance(0.5):
        draw.shuffle(columns)
    is_national = world.chance(0.3)
    known = (
        NATIONAL
        if path.stem in ("settlements", "institutions") or "claim_id" in columns
        else ["institution_id"]
    )
    names = {
        c: world.pick(NATIONAL[c]) if c in known and is_national and world.chance(0.8) else c for c in columns
    }
    header = [names[column] for column in columns]
    decoys: dict[
        str, list[str]
    ] = {}  # a second national name of the same column: the first listed wins, whatever the order
    for column in ("amount", "line_id", "physician_id"):
        if column in columns and names[column] == NATIONAL[column][0] and world.chance(0.5):
            decoys[NATIONAL[column][1]] = ["7.77"]
    if world.chance(0.3):
        decoys["备注"] = world.pick([["室"], ["室", 'a"b', "a,b", "a\tb", "两\n行", "null", ""]])
    end = "\r\n" if world.chance(0.3) else "\n"
    text = separator.join(header + list(decoys)) + end
    for row in rows:
        cells = [quoted(row.get(column) or "", separator) for column in columns]
        cells += [quoted(world.pick(texts), separator) for texts in decoys.values()]
        if world.chance(0.03):
            place = draw.randrange(len(cells))
            cells[place] = f"  {cells[place]} " if not cells[place].startswith('"') else cells[place]
        if row.get("__ragged") == "short":
            cells = cells[:-1]
        if row.get("__ragged") == "long":
            cells.append("9")
        if row.get("__undecodable"):
            cells[-1] = "\udcff"  # the byte FF, which is neither UTF-8 nor GB18030
        if world.chance(0.01):
            text += end
        text += separator.join(cells) + end
    if world.chance(0.1):
        text = text.removesuffix(end)
    path.parent.mkdir(parents=True, exist_ok=True)
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    path.write_bytes(text.encode(encoding, errors=errors))


def days_text(day: date) -> str:
    return day.isoformat()


def moment_text(world: World, moment: datetime) -> str:
    """A moment in one of the forms of the contract."""
    if world.chance(0.05):
        return moment.strftime("%Y%m%d%H%M%S")
    if world.chance(0.05):
        return moment.strftime("%Y-%m-%dT%H:%M:%S")
    if world.chance(0.05):
        return moment.strftime("%Y-%m-%d %H:%M:%S") + world.pick([".0", ".000", ".000000"])
    if moment.time() == datetime.min.time():
        return moment.strftime("%Y-%m-%d")
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def number_text(world: World, units: int, places: int) -> str:
    """units / 10^places as a plain number; now and then with a sign, leading or trailing zeros."""
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(places + 1, "0")
    text = digits[:-places] + "." + digits[-places:] if places else digits
    if places and world.chance(0.8):
        text = text.rstrip("0").rstrip(".")
    if world.chance(0.03):
        text = "00" + text
    if world.chance(0.03):
        text += "000" if "." in text else ".00000"
    if world.chance(0.03) and not sign:
        sign = "+"
    return sign + text


# ---------------------------------------------------------------------------------------------------------------
# Policy
# ---------------------------------------------------------------------------------------------------------------


def small_threshold(world: World) -> str:
    return world.pick(["100.00", "100.00", "37.55", "80.01", "150", "250.00", "99.99", "400.00", "60.5"])


def draw_policy(world: World, needs_factors: bool) -> str:
    """A valid policy as TOML; `world.policy` keeps what the batch must know."""
    draw = world.draw
    has_coaching = world.chance(0.93)
    has_zones = has_coaching or world.chance(0.7)
    readings = {
        "coaching_scope": world.pick(["agreement_year", "agreement_year", "coaching_period"]),
        "tcm_decoction": world.pick(["separate", "separate", "drug_consumable", "service"]),
        "month_basis": world.pick(["settled_at"] * 5 + ["serviced_at"]),
        "attribution": world.pick(["chronological", "chronological", "pro_rata", "priority"]),
        "partial_month": world.pick(["full", "by_day"]),
    }
    world.policy = {"has_coaching": has_coaching, "has_zones": has_zones, "readings": readings}
    lines = [
        "[policy]",
        'id = "random"',
        'title = "随机"',
        'jurisdiction = "120000"',
        f'status = "{world.pick(["draft", "in_force", "lapsed"])}"',
        f"effective_from = {world.pick(['2024-01-01', '2025-06-01', '2026-03-01'])}",
    ]
    if world.chance(0.3):
        lines.append(f"effective_to = {world.pick(['2026-03-31', '2027-09-30'])}")
    lines += ['source = "random"', "checked_on = 2026-11-22", ""]
    if has_zones:
        lines += ["[zones]"] + [f"{zone} = {toml(codes)}" for zone, codes in ZONES.items()] + [""]
    lines += [
        "[point_classes]",
        'drug_consumable = ["08", "09", "11"]',
        'tcm_decoction = ["10"]',
        'service = ["01", "02", "03", "04", "05", "06", "07", "12", "13", "14"]',
        "",
    ]
    if needs_factors or world.chance(0.1):
        factors = {
            point_class: world.pick(["1", "2", "0.5", "0.33335", "1.23456"]) for point_class in POINT_CLASSES
        }
        lines += ["[points_per_yuan]"] + [f'{name} = "{factor}"' for name, factor in factors.items()] + [""]
    outpatient = ["11", "12", "13", "16", "51"] + (["1499"] if world.chance(0.3) else [])
    inpatient = ["21", "22", "24", "52"] + (["161"] if world.chance(0.3) else [])
    emergency = ["13"] + (["24"] if world.chance(0.3) else [])
    lines += [
        "[visit_types]",
        f"outpatient = {toml(outpatient)}",
        'special_outpatient = ["14"]',
        f"inpatient = {toml(inpatient)}",
        f"emergency = {toml(emergency)}",
        "",
    ]
    if has_coaching:
        world.policy["base_months"] = world.pick([6, 6, 6, 3])
        lines += [
            "[coaching]",
            f"base_months = {world.policy['base_months']}",
            f"extension_months = {world.pick([6, 6, 3])}",
            f"max_extensions = {world.pick([1, 1, 1, 0])}",
            f"insurance_types = {toml(world.pick([['310'], ['310'], ['310', '390']]))}",
            "special_diseases_max = { outpatient_department = 1, other = 2 }",
            'clause = "三（三）"',
            'phrase = "政策辅导期所属协议年度"',
            "",
        ]
    lines += ["[agreements]", "suspension_limit_days = 180", ""]
    if has_coaching:
        for payment_class in ("other_primary", "primary_new"):
            starts = [world.pick(["2024-01-01", "2025-01-01"])]
            starts += [start for start in ("2026-01-01", "2026-03-01", "2026-03-02") if world.chance(0.2)]
            for zone in ZONES:
                for start in starts:
                    lines += [
                        "[[thresholds]]",
                        f"effective_from = {start}",
                        f'payment_class = "{payment_class}"',
                        f'zone = "{zone}"',
                        f'drug_consumable = "{small_threshold(world)}"',
                        f'service = "{small_threshold(world)}"',
                        'clause = "三（三）"',
                        'phrase = "其他基层医疗机构"',
                        "",
                    ]
        for year in (2024, 2025, 2026, 2027):
            if world.chance(0.5):
                rate = world.pick(["0.03", "0.0333", "-0.0155", "0.5", "0"])
                lines += ["[[growth]]", f"year = {year}", f'rate = "{rate}"', 'source = "random"', ""]
    tiers = world.pick(
        [
            "[]",
            "[]",
            '[{ up_to = "1.10", paid_share = "0.5" }]',
            '[{ up_to = "1.10", paid_share = "0.5" }, { up_to = "1.25", paid_share = "0.25" }]',
            '[{ up_to = "1.333", paid_share = "0.3333" }, { up_to = "2", paid_share = "0" }, '
            '{ up_to = "2.5", paid_share = "1" }]',
        ]
    )
    lines += [
        "[overage]",
        f'paid_share = "{world.pick(["0", "0", "0", "0.1", "0.3333", "1"])}"',
        f"tiers = {tiers}",
        'clause = "三（三）"',
        'phrase = "超出阈值部分不予支付"',
        "",
    ]
    if readings["attribution"] == "priority" or world.chance(0.2):
        for start in ["2025-06-01"] + [start for start in ("2026-03-01", "2026-03-02") if world.chance(0.3)]:
            categories = draw.sample(CATEGORIES, draw.randint(1, 10))
            lines += [
                "[[priority]]",
                f"effective_from = {start}",
                f"charge_categories = {toml(categories)}",
                "",
            ]
    lines += [
        "[money]",
        f'deposit_rate = "{world.pick(["0.05", "0.05", "0", "0.0333"])}"',
        "payment_working_days = 30",
        'deposit_release = [{ score_min = "90", share = "1" }, { score_min = "0", share = "0" }]',
        "",
        "[readings]",
    ]
    lines += [f'{key} = "{value}"' for key, value in readings.items()] + [""]
    for institution_id in world.settling():
        if world.chance(0.4):
            point_class = world.pick(["drug_consumable", "service"])
            for start in ["2025-01-01"] + [
                start for start in ("2026-02-01", "2026-04-01") if world.chance(0.3)
            ]:
                lines += [
                    "[[institution_thresholds]]",
                    f'institution_id = "{institution_id}"',
                    f"effective_from = {start}",
                    f'point_class = "{point_class}"',
                    f'threshold = "{small_threshold(world)}"',
                    'source = "random"',
                    "",
                ]
    return "\n".join(lines)


def toml(texts: list[str]) -> str:
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"


# ---------------------------------------------------------------------------------------------------------------
# Registry, agreements, events
# ---------------------------------------------------------------------------------------------------------------


def draw_institutions(world: World) -> None:
    """Two to eight institutions; some are stations that settle under a centre."""
    draw = world.draw
    for number in range(draw.randint(2, 8)):
        zone = world.pick(ZONES)
        division = world.pick(ZONES[zone])
        row = {
            "institution_id": f"{world.pick('HHHHP')}{division}{draw.randint(0, 2)}{number:04d}",
            "name": world.pick(["诊所", "甲, 乙", '"甲"', "门诊部\n二层", "Clinic"]),
            "institution_type": world.pick(["outpatient_department", "general_hospital", "nursing_home"]),
            "payment_class": world.pick(["other_primary", "other_primary", "primary_new"]),
            "division_code": division,
            "zone": None,
            "settles_under": None,
        }
        if world.chance(0.2):
            row["zone"] = world.pick(ZONES)  # the registry's zone wins over the division
            if world.chance(0.5):
                row["division_code"] = "310101"
        if world.settling() and world.chance(0.25):
            row["settles_under"] = world.pick(world.settling())
        world.institutions.append(row)
    draw.shuffle(world.institutions)


def draw_agreements(world: World) -> None:
    """A chain of agreements that never overlap as written: coaching, ordinary, gaps, neighbours."""
    draw = world.draw
    number = 0
    for institution in world.institutions:
        institution_id = institution["institution_id"]
        if institution["settles_under"] and world.chance(0.6):
            continue
        start = date(2024, 6, 1) + timedelta(days=draw.randint(0, 670))
        if world.chance(0.5):
            start = date(2025, 3, 1) + timedelta(days=draw.randint(0, 380))
        for _ in range(draw.randint(1, 6)):
            is_coaching = world.policy["has_coaching"] and world.chance(0.7)
            if is_coaching:
                months = world.pick([12, 12, 6, 6, 3, 1])
                end = later(start, months) - timedelta(days=1 if world.chance(0.5) else draw.randint(1, 25))
            else:
                end = start + timedelta(days=world.pick([0, 30, 364, 364, 800]))
            end = max(end, start)
            number += 1
            diseases = draw.sample(DISEASES, draw.randint(0, 3))
            world.agreements.append(
                {
                    "agreement_id": f"A{number:02d}",
                    "institution_id": institution_id,
                    "start_date": start,
                    "end_date": end,
                    "designation": "coaching" if is_coaching else "ordinary",
                    "service_categories": world.pick(
                        [
                            "outpatient",
                            "outpatient;special_outpatient",
                            "outpatient;inpatient",
                            "outpatient;special_outpatient;inpatient",
                            "special_outpatient ; outpatient",
                        ]
                    ),
                    "special_diseases": ";".join(diseases),
                    "insurance_types": world.pick(
                        ["310", "310", "310", "", "", "310;390", "310; 390", "390"]
                    ),
                }
            )
            start = end + timedelta(days=world.pick([1, 1, 1, 1, 1, 2, 10, 100]))
            if start > date(2026, 4, 20):
                break


def later(day: date, months: int) -> date:
    """The same day-of-month, clipped."""
    year, index = divmod(day.year * 12 + day.month - 1 + months, 12)
    for number in range(day.day, 0, -1):
        try:
            return date(year, index + 1, number)
        except ValueError:
            continue
    raise AssertionError


def find_hot_days(world: World) -> None:
    """For every institution a few days on which things collide."""
    for institution in world.institutions:
        institution_id = institution["institution_id"]
        mine = (institution_id, institution["settles_under"])
        days = []
        for agreement in world.agreements:
            if agreement["institution_id"] in mine:
                corners = [agreement["start_date"], agreement["end_date"]]
                base_months = world.policy.get("base_months", 6)
                corners += [
                    later(agreement["start_date"], months) for months in (base_months, 2 * base_months)
                ]
                days += [corner + timedelta(days=shift) for corner in corners for shift in (-1, 0, 1)]
        march = [world.pick(MARCH) for _ in range(4)]
        world.hot_days[institution_id] = [day for day in days if day <= date(2026, 6, 30)] + march


def draw_events(world: World) -> None:
    """Events of every kind on colliding days, and suspensions that lapse about now."""
    draw = world.draw

    def add(institution_id: str, day: date, kind: str, target: str | None = None) -> None:
        world.events.append(
            {"institution_id": institution_id, "occurred_on": day, "kind": kind, "target_id": target}
        )

    for institution in world.institutions:
        institution_id = institution["institution_id"]
        few = draw.sample(world.hot_days[institution_id], min(4, len(world.hot_days[institution_id])))
        is_quiet = world.chance(0.4)  # its lines meet the threshold, not the events
        for _ in range(0 if is_quiet else world.pick([0, 0, 1, 2, 3])):
            kind = world.pick(
                ["suspended", "resumed", "suspended", "resumed", "resumed", "terminated", "fraud"]
            )
            day = world.pick(few)
            add(institution_id, day, kind)
            if kind == "suspended" and world.chance(0.7):
                add(institution_id, day + timedelta(days=world.pick([0, 1, 5, 20, 179, 180, 181])), "resumed")
        if world.chance(0.3):  # a suspension in March, resumed
            first = world.pick(MARCH)
            add(institution_id, first, "suspended")
            add(institution_id, first + timedelta(days=world.pick([0, 1, 3, 8])), "resumed")
        if not is_quiet and world.chance(0.3):  # one that lapses in March, or nearly
            lapse = world.pick(MARCH)
            add(institution_id, lapse - timedelta(days=180), "suspended")
            for shift in (-1, 0, 1):
                if world.chance(0.3):
                    add(
                        institution_id,
                        lapse + timedelta(days=shift),
                        world.pick(["resumed", "resumed", "terminated", "suspended"]),
                    )
        if not is_quiet and world.chance(0.25):  # same-day resumed / terminated / suspended
            day = world.pick(few)
            for kind in draw.sample(["resumed", "terminated", "suspended"], draw.randint(2, 3)):
                add(institution_id, day, kind)
        for kind in ("minor_violation", "unrectified", "inspected"):
            for _ in range(world.pick([0, 1, 1, 2])):
                add(institution_id, world.pick(world.hot_days[institution_id]), kind)
        first = [
            a["start_date"]
            for a in world.agreements
            if a["institution_id"] == institution_id and a["designation"] == "coaching"
        ]
        if first and world.chance(
            0.4
        ):  # a violation about the end of the base months, another in the extension
            base_end = later(min(first), world.policy["base_months"])
            add(institution_id, base_end + timedelta(days=world.pick([-30, -2, -1, 0])), "minor_violation")
            add(
                institution_id,
                base_end + timedelta(days=world.pick([-1, 0, 30, 90, 200])),
                world.pick(["minor_violation", "unrectified"]),
            )
        for what, targets in (("department", DEPARTMENTS), ("physician", PHYSICIANS)):
            for _ in range(world.pick([0, 0, 1, 2, 3])):
                kind = f"{what}_{world.pick(['suspended', 'resumed'])}"
                add(institution_id, world.pick(few + MARCH), kind, world.pick(targets))
    draw.shuffle(world.events)
    for number, event in enumerate(world.events):
        event["event_id"] = f"E{number:03d}"


# ---------------------------------------------------------------------------------------------------------------
# Claim lines
# ---------------------------------------------------------------------------------------------------------------


def draw_moments(world: World, institution_id: str) -> tuple[datetime, datetime]:
    """When a line was serviced and settled: mostly in March, often on hot days, some lines late, many at one moment."""
    draw = world.draw
    chosen = draw.random()
    if chosen < 0.45:
        serviced = world.pick(MARCH)
    elif chosen < 0.8:
        past = [day for day in world.hot_days[institution_id] if day <= LAST_DAY]
        serviced = world.pick(past)
    elif chosen < 0.92:
        serviced = date(2026, 1, 1) + timedelta(days=draw.randint(0, 58))
    else:
        serviced = date(2024, 6, 1) + timedelta(days=draw.randint(0, 668))
    if world.policy["readings"]["month_basis"] == "serviced_at":
        if serviced < MARCH[0] and world.chance(0.95):
            serviced = world.pick(MARCH)
        settled = serviced + timedelta(days=draw.randint(0, 20))
    else:
        settled = max(serviced, world.pick(MARCH[::5] if world.chance(0.6) else MARCH))
    hours = [
        timedelta(0),
        timedelta(hours=9),
        timedelta(hours=9),
        timedelta(hours=23, minutes=59, seconds=59),
    ]
    serviced_at = datetime.combine(serviced, datetime.min.time()) + world.pick(hours)
    settled_at = datetime.combine(settled, datetime.min.time()) + world.pick(hours)
    return serviced_at, max(serviced_at, settled_at)


def draw_lines(world: World, count: int) -> list[dict]:
    """Good lines: `serviced`, `settled`, `points_units` are kept beside the cells until all is known."""
    draw = world.draw
    used = set()
    lines = []
    ids = [row["institution_id"] for row in world.institutions]
    busy = draw.sample(ids, min(len(ids), 2))
    visits = ["11"] * 10 + [
        "12",
        "13",
        "13",
        "1301",
        "14",
        "14",
        "1401",
        "1499",
        "16",
        "1610",
        "21",
        "2401",
        "51",
    ]
    while len(lines) < count:
        institution_id = world.pick(busy if world.chance(0.8) else ids)
        claim_id = world.pick(IDS) if world.chance(0.6) else f"{draw.randint(1, 3000)}"
        line_id = world.pick(["1", "2", "10", "9", "a", "B", "～", "😀"])
        if (institution_id, claim_id, line_id) in used:
            continue
        used.add((institution_id, claim_id, line_id))
        serviced, settled = draw_moments(world, institution_id)
        visit = world.pick(visits)
        special = visit.startswith("14")
        units = world.pick([
            draw.randint(0, 80 * 10_000), draw.randint(1, 60) * 10_000, draw.randint(0, 20_000),
            draw.randint(20 * 10_000, 150 * 10_000), world.pick([0, 1, 9999, 100 * 10_000]),
        ])  # fmt: skip
        reference = None
        if world.chance(0.12):
            units, reference = -units, world.pick(["1", "8", "x-99"])
        elif world.chance(0.02):
            reference = "1"
        lines.append(
            {
                "claim_id": claim_id,
                "line_id": line_id,
                "institution_id": institution_id,
                "department_id": world.pick([*DEPARTMENTS, None, None, "D03"]),
                "physician_id": world.pick([*PHYSICIANS, None, None, "DR3"]),
                "serviced": serviced,
                "settled": settled,
                "insurance_type": world.pick(["310"] * 12 + ["390"]),
                "visit_type": visit,
                "disease_code": world.pick(DISEASES)
                if special and world.chance(0.9)
                else world.pick([None, None, "M00101"]),
                "charge_category": world.pick([*CATEGORIES, "05", "09", "05", "09"]),
                "units": units,
                "reverses_line_id": reference,
                "is_valid": world.pick(["1", "1", None, "x"]),
                "person_id": f"P{draw.randint(1, 99)}",
            }
        )
    return lines


def settle_by_claim(world: World, lines: list[dict]) -> list[dict]:
    """Moves settled_at, insurance_type and visit_type of every claim into one settlements row."""
    by_claim: dict[str, dict] = {}
    for line in lines:
        first = by_claim.setdefault(line["claim_id"], line)
        for column in ("settled", "insurance_type", "visit_type"):
            line[column] = first[column]
        first["settled"] = line["settled"]
        if line["serviced"] > line["settled"]:
            line["serviced"] = line["settled"]
    rows = []
    for claim_id, first in by_claim.items():
        rows.append(
            {
                "claim_id": claim_id,
                "settled_at": moment_text(world, first["settled"]),
                "insurance_type": first["insurance_type"],
                "visit_type": first["visit_type"],
            }
        )
    return rows


def fill_cells(world: World, line: dict, has_points: bool, has_amount: bool) -> dict:
    """The cells of a line as text."""
    row = {column: line.get(column) for column in CLAIM_COLUMNS}
    row["serviced_at"] = moment_text(world, line["serviced"])
    row["settled_at"] = moment_text(world, line["settled"])
    row["points"] = number_text(world, line["units"], 4) if has_points else None
    # In a file with points the amount is optional.
    row["amount"] = number_text(world, line["units"] // 100, 2) if has_amount else None
    if has_points and world.chance(0.2):
        row["amount"] = None
    for column in ("department_id", "physician_id", "disease_code", "reverses_line_id"):
        if row[column] is None and world.chance(0.2):
            row[column] = "null"
    return row


def spoil(world: World, row: dict, has_points: bool, has_amount: bool, can_be_undecodable: bool) -> None:
    """One fault of the list in data.md 2.

    Kept out: what a rejected line of an amounts-only file counts if its amount has 3 or 4 decimals or its category
    is unknown in an inpatient visit; converted points out of range; a void or other rejected line of a class without
    a factor.
    """
    draw = world.draw
    how_much = "points" if has_points else "amount"
    fault = world.pick([
        "undecodable", "ragged", "missing", "number", "amount", "datetime", "code", "id", "decimals", "amount_decimals",
        "range", "serviced_after", "outside", "institution", "category", "visit", "void", "reversal",
    ])  # fmt: skip
    if fault == "undecodable" and can_be_undecodable:
        row["__undecodable"] = True
    elif fault in ("undecodable", "ragged"):
        row["__ragged"] = world.pick(["short", "long"])
    elif fault == "missing":
        column = world.pick([
            "claim_id", "line_id", "institution_id", "serviced_at", "settled_at", "insurance_type", "visit_type",
            "charge_category", how_much,
        ])  # fmt: skip
        row[column] = world.pick([None, "null", "  "])
    elif fault == "number":
        row[how_much] = world.pick(
            ["1e3", "abc", "5.", ".5", "1,000", "--1", "NaN", "inf", "1.5.5", "0x1", "1 000", "NULL"]
        )
    elif fault == "amount" and has_amount:
        row["amount"] = world.pick(["1e3", "1.5.5", "x"])
    elif fault == "datetime":
        column = world.pick(["serviced_at", "settled_at"])
        row[column] = world.pick([
            "2026-02-29", "2026-03-05 24:00:00", "2026/03/05", "2026-3-5", "20260305", "2026-03-05T09:00",
            "2026-03-05 09:00:00.1234567", "2026-03-05 09:00:00Z", "2026-13-01", "2026-03-05 09:00:60", "x",
        ])  # fmt: skip
    elif fault == "code":
        row["institution_id"] = world.pick(
            ["X1", "H123", "h12010100001", "12010100001", "H120101000011", "G12010100001"]
        )
    elif fault == "id":
        row[world.pick(["claim_id", "line_id"])] = world.pick(["y" * 31, "中" * 31])
    elif fault == "decimals" and has_points:
        row["points"] = world.pick(["1.00001", "-1.00001", "10000000.00001"])
    elif fault == "decimals":
        row["amount"] = "1.00001"
    elif fault == "amount_decimals" and has_points and has_amount:
        row["amount"] = world.pick(["1.001", "5.0001"])
    elif fault == "range" and has_points:
        row["points"] = world.pick(["10000000.0001", "-10000000.5", "999999999999999999999999999999"])
    elif fault == "range":
        row["amount"] = "1" + "0" * 30
    elif fault == "serviced_after":
        row["serviced_at"] = world.pick(["2026-04-02 09:00:00", "2026-03-31 23:59:59.999999"])
    elif fault == "outside":
        row["serviced_at"] = world.pick(["2026-02-28 23:59:59", "2025-03-05"])
        row["settled_at"] = world.pick(
            ["2026-02-28 23:59:59.5", "2026-04-01", "2026-04-01 00:00:00", "2025-03-15 09:00:00"]
        )
    elif fault == "institution":
        row["institution_id"] = "H99999999999"
    elif fault == "category" and (has_points or (row["visit_type"] or "")[:2] in ("11", "12", "13", "14")):
        row["charge_category"] = world.pick(["5", "15", "00", "051"])
    elif fault == "visit":
        row["visit_type"] = world.pick(["99", "1", "2", "911", "０11"])
    elif fault == "void":
        row["is_valid"] = "0"
    else:
        row[how_much] = "-" + number_text(world, draw.randint(1, 500), 2).lstrip("+")
        row["reverses_line_id"] = world.pick([None, "null"])


def copy_line(world: World, row: dict, has_points: bool, has_amount: bool) -> dict:
    """A second copy of a line: the same, the same by value, or with other points or amount.

    Kept out: copies that differ in charge category within an amounts-only file, where converted points would differ.
    """
    copy = dict(row)
    how_much = "points" if has_points else "amount"
    cell = row[how_much] or "1"
    if world.chance(0.4):
        copy[how_much] = cell + "0" if "." in cell else cell + ".0"
    if world.chance(0.3):
        copy["settled_at"] = world.pick(["2026-03-31 23:59:59.9", "2026-03-31 23:59:59"])
    if world.chance(0.3) and has_points:
        copy["charge_category"] = world.pick(CATEGORIES)
    if world.chance(0.3):
        copy["physician_id"] = world.pick(PHYSICIANS)
    if world.chance(0.35):
        copy[how_much] = world.pick(["1.23", "0"])
    elif world.chance(0.3) and has_points and has_amount:
        copy["amount"] = world.pick([None, "0", "9.99"])
    if world.chance(0.1):
        copy["is_valid"] = "0"
    return copy


def write_claims(world: World, batch: Path, count: int, bad_lines: float, mode: str) -> None:
    """The claims, in one file or several, with their bad lines, and the settlements file if they need one."""
    draw = world.draw
    lines = draw_lines(world, count)
    uses_settlements = world.chance(0.15)
    settlement_rows = settle_by_claim(world, lines) if uses_settlements else []
    taken_away = ["settled_at", "insurance_type", "visit_type"] if uses_settlements else []
    if uses_settlements and world.chance(0.3):
        taken_away = ["settled_at", world.pick(["insurance_type", "visit_type"])]
    uses_folder = world.chance(0.3)
    names = ["claims.csv"]
    if uses_folder:
        names = [
            f"claims/{name}"
            for name in draw.sample(["2026-03.csv", "b.csv", "B.csv", "10.csv", "9.csv"], draw.randint(1, 3))
        ]
    rows_of: dict[str, list[dict]] = {name: [] for name in names}
    kinds = {name: mode if mode != "mixed" else world.pick(["points", "both", "amounts"]) for name in names}
    encodings = {name: world.pick(["utf-8"] * 5 + ["utf-8-sig", "gb18030"]) for name in names}
    spoiled = 0
    for line in lines:
        name = world.pick(names)
        has_points, has_amount = kinds[name] != "amounts", kinds[name] != "points"
        row = fill_cells(world, line, has_points, has_amount)
        rows_of[name].append(row)
        if world.chance(bad_lines):
            if world.chance(0.3):
                # Kept out: copies in two files of which one has points and the other has none.
                target = name if mode == "mixed" else world.pick(names)
                rows_of[target].append(copy_line(world, row, has_points, has_amount))
                if world.chance(0.2):
                    rows_of[target].append(copy_line(world, row, has_points, has_amount))
            else:
                # A spoiled extra line: the good one stays, so that totals are not starved.
                worse = dict(row)
                spoiled += 1
                worse["line_id"] = f"bad{spoiled}"
                for _ in range(world.pick([1, 1, 2, 3])):
                    spoil(world, worse, has_points, has_amount, encodings[name].startswith("utf-8"))
                rows_of[name].append(worse)
    if uses_settlements and bad_lines > 0:
        for row in settlement_rows:
            if world.chance(bad_lines / 10):
                column = world.pick(["settled_at", "insurance_type", "visit_type"])
                row[column] = world.pick([None, "x"]) if column == "settled_at" else None
        if settlement_rows and world.chance(bad_lines):
            settlement_rows.pop(draw.randrange(len(settlement_rows)))
    optional = [c for c in ("department_id", "physician_id", "is_valid", "person_id") if world.chance(0.1)]
    for name in names:
        draw.shuffle(rows_of[name])
        dropped = taken_away + optional
        dropped += ["points"] if kinds[name] == "amounts" else []
        dropped += ["amount"] if kinds[name] == "points" else []
        columns = [column for column in CLAIM_COLUMNS if column not in dropped]
        write_csv(world, batch / name, columns, rows_of[name], encodings[name])
    if uses_settlements:
        draw.shuffle(settlement_rows)
        columns = ["claim_id", "settled_at", "insurance_type", "visit_type"]
        write_csv(
            world, batch / "settlements.csv", columns, settlement_rows, world.pick(["utf-8", "gb18030"])
        )


# ---------------------------------------------------------------------------------------------------------------
# Relief and money
# ---------------------------------------------------------------------------------------------------------------


def write_relief(world: World, batch: Path) -> None:
    rows = [
        {
            "institution_id": world.pick(world.settling()),
            "month": world.pick([MONTH, MONTH, MONTH, "2026-02"]),
            "point_class": world.pick(["service", "drug_consumable", "service", "inpatient"]),
            "approved_points": world.pick(["5", "12.50", "0.01", "99.99"]),
            "reference": "批复",
        }
        for _ in range(world.draw.randint(1, 4))
    ]
    write_csv(
        world,
        batch / "relief.csv",
        ["institution_id", "month", "point_class", "approved_points", "reference"],
        rows,
    )


def write_money(world: World, batch: Path) -> None:
    """Point values and budgets that price every class, zone rows that go first, deductions."""
    values, budgets = [], []
    only = world.pick(["values", "budgets", "both"])
    zones = [*ZONES] if world.policy["has_zones"] else []
    for zone in ["*", *zones]:
        for point_class in POINT_CLASSES:
            if zone != "*" and world.chance(0.75):
                continue
            goes_to_values = only == "values" or (only == "both" and world.chance(0.5))
            row = {"month": MONTH, "zone": zone, "point_class": point_class}
            if goes_to_values:
                values.append(
                    {**row, "point_value": world.pick(["1", "0.335", "9", "1.5", "0.000001", "0.999999"])}
                )
            else:
                budgets.append({**row, "budget": world.pick(["1000", "0", "333.33", "100.01", "77777.77"])})
    values.append({"month": "2026-02", "zone": "*", "point_class": "service", "point_value": "7"})
    budgets.append({"month": "2026-04", "zone": "*", "point_class": "service", "budget": "7"})
    columns = ["month", "zone", "point_class"]
    if only != "budgets":
        write_csv(world, batch / "point_values.csv", [*columns, "point_value"], values)
    if only != "values":
        write_csv(world, batch / "budgets.csv", [*columns, "budget"], budgets)
    write_deductions(world, batch, [MONTH, MONTH, MONTH, "2026-04"])


def write_deductions(world: World, batch: Path, months: list[str]) -> None:
    rows = [
        {
            "institution_id": world.pick(world.institutions)["institution_id"],
            "month": world.pick(months),
            "kind": world.pick(["disallowed", "penalty", "recovery", "prepayment"]),
            "amount": world.pick(["10.00", "2.5", "0.01", "300", "1234.56"]),
            "reference": None,
        }
        for _ in range(world.draw.randint(0, 6))
    ]
    write_csv(
        world, batch / "deductions.csv", ["institution_id", "month", "kind", "amount", "reference"], rows
    )


def break_something(world: World, batch: Path) -> None:
    """One in fifty batches is one that must be refused."""
    what = world.pick(["overlap", "unknown_institution", "ragged_registry", "deductions"])
    if what == "overlap" and world.agreements:
        world.agreements.append({**world.agreements[-1], "agreement_id": "A99"})
    elif what == "unknown_institution":
        world.events.append(
            {
                "event_id": "E999",
                "institution_id": "H99999999999",
                "occurred_on": MARCH[0],
                "kind": "inspected",
                "target_id": None,
            }
        )
    elif what == "ragged_registry":
        world.institutions[0]["__ragged"] = "long"
    else:
        world.events.append(
            {
                "event_id": "E999",
                "institution_id": world.settling()[0],
                "occurred_on": MARCH[0],
                "kind": "closed",
                "target_id": None,
            }
        )


# ---------------------------------------------------------------------------------------------------------------


def write_random_batch(
    folder: Path, seed: int, *, bad_lines: float = 0.1, lines: int | None = None, money: bool | None = None
) -> dict:
    """Writes `folder/batch` and `folder/policy.toml`; the same seed and options give the same bytes.

    bad_lines: share of lines that get a spoiled companion or a copy; lines: good lines (None: drawn, a few to some
    hundred); money: point values, budgets and deductions (None: in half of the batches).
    """
    world = World(random.Random(seed))
    draw = world.draw
    batch = Path(folder) / "batch"
    batch.mkdir(parents=True, exist_ok=True)
    drawn_lines = world.pick([1, 5, 30, 80, 80, 150, 150, 300])
    drawn_money = world.chance(0.5)
    mode = world.pick(["points"] * 7 + ["both"] * 3 + ["amounts", "amounts", "mixed"])

    draw_institutions(world)
    policy_text = draw_policy(world, needs_factors=mode in ("amounts", "mixed"))
    draw_agreements(world)
    find_hot_days(world)
    draw_events(world)
    if world.chance(0.02):
        break_something(world, batch)

    (Path(folder) / "policy.toml").write_text(policy_text, encoding="utf-8")
    write_csv(
        world,
        batch / "institutions.csv",
        [
            "institution_id",
            "name",
            "institution_type",
            "payment_class",
            "division_code",
            "zone",
            "settles_under",
        ],
        world.institutions,
        world.pick(["utf-8", "utf-8-sig", "gb18030"]),
    )
    agreements = [
        {**row, "start_date": days_text(row["start_date"]), "end_date": days_text(row["end_date"])}
        for row in world.agreements
    ]
    draw.shuffle(agreements)
    write_csv(
        world,
        batch / "agreements.csv",
        ["agreement_id", "institution_id", "start_date", "end_date", "designation", "service_categories",
         "special_diseases", "insurance_types"],
        agreements,
    )  # fmt: skip
    if world.events or world.chance(0.5):
        events = [{**row, "occurred_on": days_text(row["occurred_on"])} for row in world.events]
        columns = ["event_id", "institution_id", "occurred_on", "kind", "target_id"]
        write_csv(world, batch / "events.csv", columns, events)
    write_claims(world, batch, drawn_lines if lines is None else lines, bad_lines, mode)
    if world.chance(0.4):
        write_relief(world, batch)
    if drawn_money if money is None else money:
        write_money(world, batch)
    elif world.chance(0.2):
        write_deductions(world, batch, ["2026-02", "2026-04"])
    return {"month": MONTH, "batch": batch, "policy": Path(folder) / "policy.toml"}
