"""Is a line payable at all, and if not, the first reason that fits.

Asked once for each profile: lines that agree in everything a reason depends on.
Source: rules 4 and 5; T 3(1), T 4; D 15, D 34, D 38(5), D 42, D 43, D 45.
"""

from __future__ import annotations

import polars as pl

from ..reasons import UnpaidReason


def judged(
    profiles: pl.DataFrame,
    spans: pl.DataFrame,
    departments: pl.DataFrame,
    physicians: pl.DataFrame,
    agreements: pl.DataFrame,
    settling: pl.DataFrame,
    coaching_insurance_types: list[str],
) -> pl.DataFrame:
    """Give every profile its settling institution, regime and first reason.

    Rows:  one per profile, in any order.
    Needs: the columns of profiles.PROFILE. `spans`, `departments`, `physicians` as `Registry.spans` and `target_spans`
           make them; `agreements`: agreement_id, designation and three lists; `settling`: institution_id, settling_id.
    Adds:  settling_id (String), regime (String, never null), coaching_year (Int32, null outside coaching),
           reason (String, null if the lines are eligible).
    Source: rules 4, 5.
    """
    physicians_of = {"institution_id": "institution_id", "settling_id": "settling_id"}
    placed = profiles.join(settling, on="institution_id", how="left", validate="m:1")
    placed = _as_of(placed, spans, {"institution_id": "institution_id"}, "")
    placed = _as_of(
        placed,
        departments,
        {"institution_id": "institution_id", "department_id": "target_id"},
        "is_department_suspended",
    )
    for owner in physicians_of:
        placed = _as_of(
            placed,
            physicians,
            {owner: "institution_id", "physician_id": "target_id"},
            f"is_physician_suspended_{owner}",
        )
    return (
        placed.join(agreements, on="agreement_id", how="left", validate="m:1")
        .with_columns(reason=first_reason(coaching_insurance_types))
        .with_columns(regime=regime())
        .select(*profiles.columns, "settling_id", "regime", "coaching_year", "reason")
    )


def _as_of(profiles: pl.DataFrame, spans: pl.DataFrame, by: dict[str, str], flag: str) -> pl.DataFrame:
    """Join each profile with the newest row of `spans` on or before its day of service.

    Both sides are sorted by the day, since the join cannot check it; `flag` names is_suspended, false if absent.
    """
    if flag:
        spans = spans.rename({"is_suspended": flag})
    joined = profiles.sort("serviced_on").join_asof(
        spans.sort("from_day"),
        left_on="serviced_on",
        right_on="from_day",
        by_left=list(by),
        by_right=list(by.values()),
        strategy="backward",
        check_sortedness=False,
    )
    joined = joined.drop("from_day", strict=False)
    return joined.with_columns(pl.col(flag).fill_null(False)) if flag else joined


# ---------------------------------------------------------------- facts, on a profile joined with its day


def is_in_force() -> pl.Expr:
    """An agreement is in force on the day of service (D 13, D 41)."""
    return pl.col("agreement_id").is_not_null()


def is_paid_without_agreement() -> pl.Expr:
    """D 34: 除急诊和抢救外 — an emergency needs no agreement."""
    return ~is_in_force() & pl.col("is_emergency")


def lacks_agreement(reason: UnpaidReason) -> pl.Expr:
    """No agreement, for this reason, and no emergency that needs none (D 34, D 43)."""
    return ~is_in_force() & ~pl.col("is_emergency") & (pl.col("lack") == reason.value)


def is_physician_suspended() -> pl.Expr:
    """By an event of the submitting or of the settling institution (rules 4)."""
    return pl.col("is_physician_suspended_institution_id") | pl.col("is_physician_suspended_settling_id")


def is_insurance_covered(coaching_types: list[str]) -> pl.Expr:
    """Blank in the agreement: the policy's list for a coaching agreement (T 4), every type for an ordinary one."""
    is_listed = pl.col("insurance_types").list.contains(pl.col("insurance_type"))
    by_default = (pl.col("designation") == "ordinary") | pl.col("insurance_type").is_in(coaching_types)
    is_covered = pl.when(_is_blank("insurance_types")).then(by_default).otherwise(is_listed)
    return is_covered.fill_null(False)  # a type that nothing names is null here, and covered by no list


def is_service_covered() -> pl.Expr:
    """T 3(1): the visit's category is one of the agreement's."""
    return pl.col("service_categories").list.contains(pl.col("visit_category").cast(pl.String))


def is_disease_covered() -> pl.Expr:
    """T 3(1): a special-outpatient line names one of the agreement's diseases. Blank: none, or all if ordinary."""
    is_listed = pl.col("special_diseases").list.contains(pl.col("disease_code")).fill_null(False)
    is_covered = (
        pl.when(_is_blank("special_diseases")).then(pl.col("designation") == "ordinary").otherwise(is_listed)
    )
    return (pl.col("visit_category") != "special_outpatient") | is_covered


def _is_blank(name: str) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name).list.len() == 0)


def first_reason(coaching_types: list[str]) -> pl.Expr:
    """The first reason that fits, null if the lines are eligible (rules 4)."""
    fits = {
        UnpaidReason.NO_AGREEMENT: lacks_agreement(UnpaidReason.NO_AGREEMENT),
        UnpaidReason.TERMINATED: lacks_agreement(UnpaidReason.TERMINATED),
        UnpaidReason.SUSPENDED: pl.col("is_suspended"),
        UnpaidReason.DEPARTMENT_SUSPENDED: pl.col("is_department_suspended"),
        UnpaidReason.PHYSICIAN_SUSPENDED: is_physician_suspended(),
        UnpaidReason.INSURANCE_TYPE_NOT_COVERED: is_in_force() & ~is_insurance_covered(coaching_types),
        UnpaidReason.SERVICE_CATEGORY_NOT_COVERED: is_in_force() & ~is_service_covered(),
        UnpaidReason.DISEASE_NOT_COVERED: is_in_force() & ~is_disease_covered(),
    }
    return pl.coalesce(
        pl.when(fits[reason].fill_null(False)).then(pl.lit(reason.value))
        for reason in UnpaidReason
        if reason in fits
    )


def regime() -> pl.Expr:
    """Of the agreement in force; without one, emergency if payable by the emergency rule, else none (rules 5)."""
    is_emergency = is_paid_without_agreement() & pl.col("reason").is_null()
    without = pl.when(is_emergency).then(pl.lit("emergency")).otherwise(pl.lit("none"))
    return pl.when(is_in_force()).then(pl.col("regime")).otherwise(without)
