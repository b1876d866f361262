"""Is a line payable at all, and if not, the first reason that fits: rules 4 and 5; T 3(1), T 4; D 34, D 42, D 43, D 45.

Most tests settle a month of a few lines; a row of a table is a line, its last column the reason, or `eligible`.
"""

from __future__ import annotations

from datetime import date
from itertools import product

import polars as pl
import pytest
from written import CENTRE, CENTRE_AND_STATION, COACHING, Month, cases, policy, settle, table

from settlement.policy import Policy
from settlement.reasons import UnpaidReason
from settlement.rules import eligibility

HIGH = policy(
    thresholds="""
    from       | class         | zone  | drug_consumable | service
    2025-01-01 | other_primary | urban | 100000.00       | 100000.00
    """
)
REASONS = [reason.value for reason in UnpaidReason]


def settled(
    lines: str,
    agreements: str = COACHING,
    events: str = "",
    institutions: str = CENTRE,
    under: Policy = HIGH,
) -> tuple[Month, dict[str, str]]:
    """The month, and claim → reason of every line; claims are numbered by their row, one point each."""
    rows = table(lines)
    names = [name for name in rows[0] if name not in ("result", "regime")]
    text = "\n".join(
        " | ".join([str(number), "1", *(row[name] for name in names)])
        for number, row in enumerate(rows, start=1)
    )
    month = settle(
        " | ".join(["claim", "points", *names]) + "\n" + text,
        agreements=agreements,
        events=events,
        institutions=institutions,
        under=under,
    )
    fates = month.fates()
    return month, {str(number): fates.get(str(number), "eligible") for number in range(1, len(rows) + 1)}


def check(
    lines: str,
    agreements: str = COACHING,
    events: str = "",
    institutions: str = CENTRE,
    under: Policy = HIGH,
) -> Month:
    """Every line of the table has the reason of its last column."""
    month, fates = settled(lines, agreements, events, institutions, under)
    expected = [tuple(row.values()) for row in table(lines)]
    found = [(*row[:-1], fates[str(number)]) for number, row in enumerate(expected, start=1)]
    assert found == expected
    return month


# ---------------------------------------------------------------- each reason, at its boundary


def test_no_agreement_and_terminated() -> None:
    """D 34, D 43, T 3(6): judged on the day of service, not on the day of settlement (28 March)."""
    check(
        """
        institution | serviced   | result
        centre      | 2026-03-04 | eligible
        centre      | 2026-03-05 | eligible
        centre      | 2026-03-06 | no_agreement
        other       | 2026-03-04 | eligible
        other       | 2026-03-05 | terminated
        other       | 2026-03-06 | terminated
        third       | 2026-03-06 | no_agreement
        clinic      | 2026-03-06 | no_agreement
        clinic      | 2026-03-07 | eligible
        hospice     | 2026-03-05 | eligible
        hospice     | 2026-03-06 | no_agreement
        """,
        """
        agreement | institution | from       | to         | designation
        A1        | centre      | 2025-10-01 | 2026-03-05 | coaching
        B1        | other       | 2025-10-01 | 2026-03-05 | coaching
        D1        | clinic      | 2026-03-07 | 2026-12-31 | ordinary
        E1        | hospice     | 2025-10-01 | 2026-03-05 | ordinary
        """,
        """
        institution | day        | event
        other       | 2026-03-05 | terminated
        hospice     | 2026-03-06 | fraud
        """,
        "institution\ncentre\nother\nthird\nclinic\nhospice",
    )


def test_suspended() -> None:
    """D 42: the day of service is suspended; lines of other days are free, whenever they are settled."""
    check(
        """
        serviced   | settled    | result
        2026-03-04 | 2026-03-06 | eligible
        2026-03-05 | 2026-03-06 | suspended
        2026-03-09 | 2026-03-20 | suspended
        2026-03-10 | 2026-03-20 | eligible
        """,
        events="day | event\n2026-03-05 | suspended\n2026-03-10 | resumed",
    )


def test_department_suspended_by_its_submitting_institution_only() -> None:
    """D 38(5), D 45: D01 of the centre from 5 to 7 March, D02 of the station on 5 March."""
    check(
        """
        institution | department | serviced   | result
        centre      | D01        | 2026-03-04 | eligible
        centre      | D01        | 2026-03-05 | department_suspended
        centre      | D01        | 2026-03-07 | department_suspended
        centre      | D01        | 2026-03-08 | eligible
        centre      | D02        | 2026-03-05 | eligible
        centre      |            | 2026-03-05 | eligible
        station     | D01        | 2026-03-05 | eligible
        station     | D02        | 2026-03-05 | department_suspended
        station     | D02        | 2026-03-06 | eligible
        """,
        events="""
        institution | day        | event                | target
        centre      | 2026-03-05 | department_suspended | D01
        centre      | 2026-03-08 | department_resumed   | D01
        station     | 2026-03-05 | department_suspended | D02
        station     | 2026-03-06 | department_resumed   | D02
        """,
        institutions=CENTRE_AND_STATION,
    )


def test_physician_suspended_by_the_submitting_or_the_settling_institution() -> None:
    """D 38(5), D 45: DR1 by the centre from 5 to 7 March, DR2 by the station, DR3 by another institution."""
    check(
        """
        institution | physician | serviced   | result
        centre      | DR1       | 2026-03-04 | eligible
        centre      | DR1       | 2026-03-05 | physician_suspended
        centre      | DR1       | 2026-03-08 | eligible
        station     | DR1       | 2026-03-04 | eligible
        station     | DR1       | 2026-03-05 | physician_suspended
        station     | DR1       | 2026-03-07 | physician_suspended
        station     | DR1       | 2026-03-08 | eligible
        station     | DR2       | 2026-03-05 | physician_suspended
        centre      | DR2       | 2026-03-05 | eligible
        centre      | DR3       | 2026-03-05 | eligible
        station     | DR3       | 2026-03-05 | eligible
        centre      |           | 2026-03-05 | eligible
        """,
        events="""
        institution | day        | event               | target
        centre      | 2026-03-05 | physician_suspended | DR1
        centre      | 2026-03-08 | physician_resumed   | DR1
        station     | 2026-03-05 | physician_suspended | DR2
        other       | 2026-03-05 | physician_suspended | DR3
        """,
        institutions=CENTRE_AND_STATION + "    other       |\n",
    )


def test_what_happens_on_the_last_day_of_the_month_counts_for_that_day() -> None:
    """Rules 4: each fault begins on 31 March."""
    names = ("centre", "other", "third", "clinic", "hospice")
    month = check(
        """
        institution | serviced   | department | physician | settled    | result
        centre      | 2026-03-30 | D01        | DR1       | 2026-03-31 | eligible
        centre      | 2026-03-31 | D01        | DR1       | 2026-03-31 | suspended
        other       | 2026-03-30 | D01        | DR1       | 2026-03-31 | eligible
        other       | 2026-03-31 | D01        | DR1       | 2026-03-31 | terminated
        third       | 2026-03-30 | D01        | DR1       | 2026-03-31 | eligible
        third       | 2026-03-31 | D01        | DR1       | 2026-03-31 | department_suspended
        clinic      | 2026-03-30 | D01        | DR1       | 2026-03-31 | eligible
        clinic      | 2026-03-31 | D01        | DR1       | 2026-03-31 | physician_suspended
        hospice     | 2026-03-30 | D01        | DR1       | 2026-03-31 | no_agreement
        hospice     | 2026-03-31 | D01        | DR1       | 2026-03-31 | eligible
        """,
        "agreement | institution | designation | from\n"
        + "\n".join(f"{name} | {name} | coaching | 2025-10-01" for name in names[:-1])
        + "\nhospice | hospice | coaching | 2026-03-31",
        """
        institution | day        | event                | target
        centre      | 2026-03-31 | suspended            |
        other       | 2026-03-31 | terminated           |
        third       | 2026-03-31 | department_suspended | D01
        clinic      | 2026-03-31 | physician_suspended  | DR1
        """,
        "institution\n" + "\n".join(names),
    )
    assert month.rows("findings", "finding", "occurred_on", "institution_id")[0] == (
        "billed_while_suspended",
        "2026-03-31",
        "centre",
    )


def test_a_department_and_a_physician_of_one_code_are_not_mixed_up() -> None:
    """D 45: department X1 is suspended, physician X2 is."""
    check(
        """
        department | physician | result
        X1         | X1        | department_suspended
        X2         | X1        | eligible
        X2         | X2        | physician_suspended
        """,
        events="""
        day        | event                | target
        2026-03-01 | department_suspended | X1
        2026-03-01 | physician_suspended  | X2
        """,
    )


KINDS_OF_AGREEMENT = """
    institution | agreement | designation | diseases      | insurance | categories
    centre      | A1        | coaching    |               |           | outpatient;special_outpatient
    other       | A2        | coaching    | M00101;M00102 | 390;391   | outpatient;special_outpatient
    third       | A3        | ordinary    |               |           | outpatient;special_outpatient
    clinic      | A4        | ordinary    | M00101        | 390       | special_outpatient;inpatient
"""
FOUR = "institution\ncentre\nother\nthird\nclinic"


def test_insurance_type_not_covered() -> None:
    """T 4: blank is the policy's list (310) for a coaching agreement, every type for an ordinary one."""
    check(
        """
        institution | insurance | visit | disease | result
        centre      | 310       | 11    |         | eligible
        centre      | 390       | 11    |         | insurance_type_not_covered
        centre      | 3101      | 11    |         | insurance_type_not_covered
        other       | 310       | 11    |         | insurance_type_not_covered
        other       | 390       | 11    |         | eligible
        other       | 391       | 11    |         | eligible
        third       | 310       | 11    |         | eligible
        third       | 390       | 11    |         | eligible
        third       | 999       | 11    |         | eligible
        clinic      | 310       | 14    | M00101  | insurance_type_not_covered
        clinic      | 390       | 14    | M00101  | eligible
        """,
        KINDS_OF_AGREEMENT,
        institutions=FOUR,
    )


def test_the_list_for_a_blank_cell_is_the_policys() -> None:
    """T 4: insurance_types of [coaching]."""
    check(
        """
        insurance | result
        310       | insurance_type_not_covered
        390       | eligible
        391       | eligible
        """,
        under=policy(insurance_types="390;391"),
    )


def test_service_category_not_covered() -> None:
    """T 3(1): the category of the visit type (11 outpatient, 14 special outpatient, 21 inpatient)."""
    check(
        """
        institution | insurance | visit | disease | result
        other       | 390       | 11    |         | eligible
        other       | 390       | 1101  |         | eligible
        other       | 390       | 14    | M00101  | eligible
        other       | 390       | 21    |         | service_category_not_covered
        clinic      | 390       | 11    |         | service_category_not_covered
        clinic      | 390       | 14    | M00101  | eligible
        clinic      | 390       | 21    |         | eligible
        third       | 390       | 21    |         | service_category_not_covered
        """,
        KINDS_OF_AGREEMENT,
        institutions=FOUR,
    )


def test_disease_not_covered() -> None:
    """T 3(1): exactly one of the agreement's diseases; a blank list is none if coaching, all if ordinary."""
    check(
        """
        institution | insurance | visit | disease | result
        other       | 390       | 14    | M00101  | eligible
        other       | 390       | 14    | M00102  | eligible
        other       | 390       | 14    | M0010   | disease_not_covered
        other       | 390       | 14    | M001011 | disease_not_covered
        other       | 390       | 14    | M00103  | disease_not_covered
        other       | 390       | 14    |         | disease_not_covered
        other       | 390       | 11    | M00103  | eligible
        other       | 390       | 11    |         | eligible
        centre      | 310       | 14    | M00101  | disease_not_covered
        centre      | 310       | 14    |         | disease_not_covered
        centre      | 310       | 11    |         | eligible
        third       | 310       | 14    | M00101  | eligible
        third       | 310       | 14    |         | eligible
        clinic      | 390       | 14    | M00101  | eligible
        clinic      | 390       | 14    | M00102  | disease_not_covered
        clinic      | 390       | 21    | M00102  | eligible
        """,
        KINDS_OF_AGREEMENT,
        institutions=FOUR,
    )


# ---------------------------------------------------------------- which comes first


def test_the_first_reason_that_fits_wins() -> None:
    """Rules 4: each line has the faults of its row and of every row below; take the first away, the next shows."""
    agreements = """
        agreement | institution | from       | to         | designation | categories | diseases
        A0        | other       | 2025-10-01 | 2026-03-05 | coaching    | outpatient |
        A1        | centre      | 2025-10-01 | 2026-03-20 | coaching    | outpatient | M00101
        A2        | third       | 2025-10-01 | 2026-09-30 | coaching    | special_outpatient | M00101
    """
    suspended = "\n".join(
        f"{who} | {day} | {event} | {target}"
        for who, day, event, target in [
            ("other", "2026-03-10", "suspended", ""),
            ("other", "2026-03-10", "department_suspended", "D01"),
            ("other", "2026-03-10", "physician_suspended", "DR1"),
            ("centre", "2026-03-10", "suspended", ""),
            ("centre", "2026-03-12", "resumed", ""),
            ("centre", "2026-03-10", "department_suspended", "D01"),
            ("centre", "2026-03-10", "physician_suspended", "DR1"),
            ("centre", "2026-03-18", "terminated", ""),
            ("centre", "2026-03-18", "suspended", ""),
        ]
    )
    check(
        """
        institution | serviced   | department | physician | insurance | visit | disease | result
        other       | 2026-03-11 | D01        | DR1       | 390       | 14    | M9      | no_agreement
        centre      | 2026-03-18 | D01        | DR1       | 390       | 14    | M9      | terminated
        centre      | 2026-03-11 | D01        | DR1       | 390       | 14    | M9      | suspended
        centre      | 2026-03-12 | D01        | DR1       | 390       | 14    | M9      | department_suspended
        centre      | 2026-03-12 | D02        | DR1       | 390       | 14    | M9      | physician_suspended
        centre      | 2026-03-12 | D02        | DR2       | 390       | 14    | M9      | insurance_type_not_covered
        centre      | 2026-03-12 | D02        | DR2       | 310       | 14    | M9      | service_category_not_covered
        third       | 2026-03-12 | D02        | DR2       | 310       | 14    | M9      | disease_not_covered
        third       | 2026-03-12 | D02        | DR2       | 310       | 14    | M00101  | eligible
        """,
        agreements,
        "institution | day | event | target\n" + suspended,
        "institution\ncentre\nother\nthird",
    )


ADJACENT = cases("""
    first                        | second
    terminated                   | suspended
    suspended                    | department_suspended
    department_suspended         | physician_suspended
    physician_suspended          | insurance_type_not_covered
    insurance_type_not_covered   | service_category_not_covered
    service_category_not_covered | disease_not_covered
""")


@pytest.mark.parametrize(*ADJACENT)
def test_a_line_with_two_faults_has_the_first_of_them(first: str, second: str) -> None:
    """Rules 4: of every two neighbours; exactly these two faults. (no_agreement and terminated exclude each other.)"""
    both = {first, second}
    categories = "outpatient" if "service_category_not_covered" in both else "outpatient;special_outpatient"
    disease = "M9" if "disease_not_covered" in both else "M00101"
    happened = {
        "terminated": "2026-03-10 | terminated |",
        "suspended": "2026-03-10 | suspended |",
        "department_suspended": "2026-03-10 | department_suspended | D01",
        "physician_suspended": "2026-03-10 | physician_suspended | DR1",
    }
    insurance = "390" if "insurance_type_not_covered" in both else "310"
    visit = "14" if {"service_category_not_covered", "disease_not_covered"} & both else "11"
    check(
        f"""
        serviced   | department | physician | insurance   | visit   | disease   | result
        2026-03-10 | D01        | DR1       | {insurance} | {visit} | {disease} | {first}
        """,
        f"""
        agreement | designation | categories   | diseases
        A1        | coaching    | {categories} | M00101
        """,
        "day | event | target\n" + "\n".join(event for reason, event in happened.items() if reason in both),
    )


def test_no_agreement_and_terminated_exclude_each_other() -> None:
    """D 34, D 43: the newest agreement that started on or before the day decides."""
    agreements = """
        agreement | from       | to         | designation
        A1        | 2025-10-01 | 2025-12-31 | coaching
        A2        | 2026-01-01 | 2026-03-05 | ordinary
    """
    line = "serviced | result\n2026-03-10 | {}"
    for ended, result in (
        ("2025-12-31", "no_agreement"),
        ("2026-01-01", "terminated"),
        ("2026-03-05", "terminated"),
        ("2026-03-06", "no_agreement"),
        ("2026-03-10", "no_agreement"),
    ):
        check(line.format(result), agreements, f"day | event\n{ended} | terminated")


def test_every_combination_of_faults() -> None:
    """Rules 4 and 5: all 2 × 2 × 2⁶ profiles at once; the first fault in the order of the table is the reason."""
    order = REASONS[2:8]  # suspended … disease_not_covered
    profiles, spans, departments, physicians, agreements, settling, expected = [], [], [], [], [], [], []
    for lack, is_emergency in product(("", "no_agreement", "terminated"), (False, True)):
        for flags in product((False, True), repeat=len(order)):
            has = dict(zip(order, flags, strict=True))
            name = f"I{len(profiles)}"
            profiles.append(
                {
                    "institution_id": name,
                    "serviced_on": date(2026, 3, 10),
                    "settled_on": date(2026, 3, 10),
                    "visit_category": "special_outpatient",
                    "is_emergency": is_emergency,
                    "insurance_type": "390" if has["insurance_type_not_covered"] else "310",
                    "department_id": "D01" if has["department_suspended"] else None,
                    "physician_id": "DR1" if has["physician_suspended"] else None,
                    "disease_code": None if has["disease_not_covered"] else "M00101",
                    "point_class": "service",
                    "rank": 0,
                }
            )
            spans.append(
                (name, date(2026, 3, 1), None if lack else name, lack or None, None if lack else "coaching")
            )
            spans[-1] += (None if lack else 2025, has["suspended"])
            departments.append((name, "D01", date(2026, 3, 10), True))
            physicians.append((name, "DR1", date(2026, 3, 10), True))
            covers = "outpatient" if has["service_category_not_covered"] else "special_outpatient"
            agreements.append((name, "coaching", [covers], ["M00101"], None))
            settling.append((name, name))
            tested = order if not lack else order[:3]
            fits = ([lack] if lack and not is_emergency else []) + [
                reason for reason in tested if has[reason]
            ]
            without = "none" if fits else "emergency"
            expected.append((name, fits[0] if fits else None, without if lack else "coaching"))
    targets = ["institution_id", "target_id", "from_day", "is_suspended"]
    found = eligibility.judged(
        pl.DataFrame(profiles),
        pl.DataFrame(
            spans,
            schema={
                "institution_id": pl.String,
                "from_day": pl.Date,
                "agreement_id": pl.String,
                "lack": pl.String,
                "regime": pl.String,
                "coaching_year": pl.Int32,
                "is_suspended": pl.Boolean,
            },
            orient="row",
        ),
        pl.DataFrame(departments, schema=targets, orient="row"),
        pl.DataFrame(physicians, schema=targets, orient="row"),
        pl.DataFrame(
            agreements,
            schema={
                "agreement_id": pl.String,
                "designation": pl.String,
                "service_categories": pl.List(pl.String),
                "special_diseases": pl.List(pl.String),
                "insurance_types": pl.List(pl.String),
            },
            orient="row",
        ),
        pl.DataFrame(settling, schema=["institution_id", "settling_id"], orient="row"),
        ["310"],
    )
    assert len(expected) == 3 * 2 * 2**6
    assert found.sort("institution_id").select("institution_id", "reason", "regime").rows() == sorted(
        expected
    )


# ---------------------------------------------------------------- emergency, regimes, point classes


def test_an_emergency_needs_no_agreement_but_everything_else_is_tested() -> None:
    """D 34: visit types 13 and 24; not refused for no_agreement or terminated, suspension is still tested."""
    month = check(
        """
        institution | visit | serviced   | department | physician | insurance | result
        centre      | 11    | 2026-03-06 |            |           | 310       | no_agreement
        centre      | 13    | 2026-03-06 |            |           | 310       | eligible
        centre      | 13    | 2026-03-06 |            |           | 999       | eligible
        centre      | 1301  | 2026-03-06 |            |           | 310       | eligible
        centre      | 24    | 2026-03-06 |            |           | 310       | eligible
        centre      | 21    | 2026-03-06 |            |           | 310       | no_agreement
        centre      | 13    | 2026-03-06 | D01        |           | 310       | department_suspended
        centre      | 13    | 2026-03-06 |            | DR1       | 310       | physician_suspended
        centre      | 13    | 2026-03-10 |            |           | 310       | suspended
        other       | 13    | 2026-03-06 |            |           | 310       | eligible
        other       | 11    | 2026-03-06 |            |           | 310       | terminated
        centre      | 13    | 2026-03-04 |            |           | 310       | eligible
        centre      | 13    | 2026-03-04 |            |           | 999       | insurance_type_not_covered
        centre      | 24    | 2026-03-04 |            |           | 310       | service_category_not_covered
        """,
        """
        agreement | institution | from       | to         | designation
        A1        | centre      | 2025-10-01 | 2026-03-05 | coaching
        B1        | other       | 2025-10-01 | 2026-09-30 | coaching
        """,
        """
        institution | day        | event                | target
        centre      | 2026-03-06 | department_suspended | D01
        centre      | 2026-03-06 | physician_suspended  | DR1
        centre      | 2026-03-10 | suspended            |
        other       | 2026-03-06 | terminated           |
        """,
        "institution\ncentre\nother",
    )
    columns = ("institution_id", "regime", "point_class", "line_count", "eligible_points", "payable_points")
    assert month.rows("settlements", *columns) == [
        ("centre", "coaching", "inpatient", "1", "0.0000", "0.0000"),
        ("centre", "coaching", "service", "2", "1.0000", "1.0000"),
        ("centre", "emergency", "inpatient", "1", "1.0000", "1.0000"),
        ("centre", "emergency", "service", "3", "3.0000", "3.0000"),
        ("centre", "none", "inpatient", "1", "0.0000", "0.0000"),
        ("centre", "none", "service", "4", "0.0000", "0.0000"),
        ("other", "emergency", "service", "1", "1.0000", "1.0000"),
        ("other", "none", "service", "1", "0.0000", "0.0000"),
    ]


@pytest.mark.parametrize(
    *cases("""
    serviced   | scope           | regime
    2026-03-31 | agreement_year  | coaching
    2026-04-01 | agreement_year  | coaching
    2026-09-30 | agreement_year  | coaching
    2026-10-01 | agreement_year  | ordinary
    2026-03-31 | coaching_period | coaching
    2026-04-01 | coaching_period | ordinary
    2026-10-01 | coaching_period | ordinary
    2025-09-30 | agreement_year  | none
    """)
)
def test_the_regime_is_that_of_the_day_of_service(serviced: str, scope: str, regime: str) -> None:
    """T 3(3), T 3(7) (rules 5): a line serviced in a coaching year meets the threshold in the month it is settled."""
    agreements = COACHING + "    A2        | 2026-10-01 | 2027-09-30 | ordinary"
    month = settle(
        f"claim | points | serviced | settled\n1 | 250 | {serviced} | 2026-12-20",
        agreements=agreements,
        under=policy(coaching_scope=scope),
        month="2026-12",
    )
    paid = {"coaching": "100.0000", "ordinary": "250.0000", "none": "0.0000"}[regime]
    assert month.rows("settlements", "regime", "payable_points") == [(regime, paid)]


@pytest.mark.parametrize(
    *cases("""
    reading         | of_charge_10
    separate        | tcm_decoction
    drug_consumable | drug_consumable
    service         | service
    """)
)
def test_the_point_class_of_a_charge_category(reading: str, of_charge_10: str) -> None:
    """T 3(3) heading (rules 5): 08, 09, 11 drugs and consumables; 10 by its reading; the rest services."""
    expected = {f"{number:02d}": "service" for number in range(1, 15)}
    expected |= dict.fromkeys(("08", "09", "11"), "drug_consumable") | {"10": of_charge_10}
    agreements = (
        "agreement | from | to | designation | categories\n"
        "A1 | 2025-10-01 | 2026-09-30 | ordinary | outpatient;inpatient"
    )
    counted: dict[str, int] = {}
    for name in expected.values():
        counted[name] = counted.get(name, 0) + 1
    lines = "\n".join(f"{charge} | 1 | {charge} | 11" for charge in expected)
    inpatient = "\n".join(f"i{charge} | 1 | {charge} | 21" for charge in expected)
    month = settle(
        f"claim | points | charge | visit\n{lines}\n{inpatient}",
        agreements=agreements,
        under=policy(tcm_decoction=reading),
    )
    found = dict(month.rows("settlements", "point_class", "line_count"))
    assert found == {name: str(count) for name, count in counted.items()} | {"inpatient": "14"}
    for (
        charge,
        name,
    ) in expected.items():  # one at a time, so that two wrong ones cannot make up for each other
        assert policy(tcm_decoction=reading).point_class_by_charge()[charge] == name


def test_a_station_is_judged_by_the_centres_agreement() -> None:
    """D 5, D 15 (rules 4): and its lines stand in the centre's settlement."""
    month = check(
        """
        institution | visit | result
        station     | 11    | eligible
        station     | 21    | service_category_not_covered
        """,
        COACHING + "    S1        | 2026-10-01 | 2026-12-31 | coaching",
        institutions=CENTRE_AND_STATION,
    )
    assert month.rows("settlements", "institution_id", "point_class") == [
        ("centre", "inpatient"),
        ("centre", "service"),
    ]
    assert month.rows("unpaid_lines", "institution_id", "submitted_by", "claim_id") == [
        ("centre", "station", "2")
    ]


def test_an_unpaid_line_bears_the_clause_of_its_reason() -> None:
    """Rules 4: each reason with its clause."""
    month = settle(
        "claim | points | insurance | visit\n1 | 1 | 390 | 11\n2 | 1 | 310 | 21\n3 | 500 | 310 | 11",
    )
    assert month.rows("unpaid_lines", "reason", "clause") == [
        ("insurance_type_not_covered", "T 4"),
        ("over_threshold", "三（三） 超出阈值部分不予支付"),
        ("service_category_not_covered", "T 3(1)"),
    ]


def test_reasons_stand_in_the_order_of_the_contract() -> None:
    """Rules 4."""
    assert REASONS == [
        "no_agreement",
        "terminated",
        "suspended",
        "department_suspended",
        "physician_suspended",
        "insurance_type_not_covered",
        "service_category_not_covered",
        "disease_not_covered",
        "over_threshold",
    ]
