"""A year's statements → the annual statement: what the year came to, what was transferred, the deposit's release.

A restated month has two runs: the one whose statement was paid, and the newest, which says what the month should
have come to. Deposit, deductions and payable are those of the newest; transfers and balances those that were paid;
the difference between them reaches the institution as adjustments. Source: rules 8.4, 11; T 3(1); D 36.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from .. import exact
from ..errors import Refusal
from ..policy import DepositBand
from ..terms import DEDUCTION_KINDS

CAME_TO = ("payable_amount", "deposit_withheld", *DEDUCTION_KINDS)
_FEN = pl.Int64()


def _fen(column: str) -> pl.Expr:
    return exact.whole_of_decimal(pl.col(column).fill_null(0), 2, exact.MONEY_DECIMALS)


def annual(standing: pl.DataFrame, paid: pl.DataFrame, differences: pl.DataFrame) -> pl.DataFrame:
    """Sums of the year's months.

    Rows:  one per institution with a statement in the year, sorted.
    Needs: standing, paid: rows of the ledger's `statements`, of the newest run of each month and of the run that was
           paid; differences: institution_id, amount_delta (yuan), is_taken (by a paid statement of the same year).
    Adds:  months (with a paid statement), `CAME_TO` (of the newest runs), adjustment, brought_forward (into the first
           month), net_payable (transferred), carried_forward (out of the last month), restated (how much the newest
           runs differ from the paid ones), outstanding (of that, what no statement of the year holds); fen.
    Source: rules 8.4, 11.
    """
    parts = [
        standing.group_by("institution_id").agg(exact.summed(_fen(name)).alias(name) for name in CAME_TO),
        _transfers(paid),
        differences.group_by("institution_id").agg(
            restated=exact.summed(_fen("amount_delta")),
            outstanding=exact.summed(_fen("amount_delta").filter(~pl.col("is_taken"))),
        ),
    ]
    everyone = pl.concat([part.select("institution_id") for part in parts]).unique().sort("institution_id")
    for part in parts:
        everyone = everyone.join(part, on="institution_id", how="left", validate="1:1")
    return everyone.with_columns(pl.exclude("institution_id").fill_null(0))


def _transfers(paid: pl.DataFrame) -> pl.DataFrame:
    """What the paid statements of the year held: see `annual`."""
    first, last = pl.col("month").arg_min(), pl.col("month").arg_max()
    return paid.group_by("institution_id").agg(
        months=pl.len().cast(_FEN),
        adjustment=exact.summed(_fen("adjustment")),
        brought_forward=_fen("brought_forward").get(first),
        net_payable=exact.summed(_fen("net_payable")),
        carried_forward=_fen("carried_forward").get(last),
    )


def released(annual_sums: pl.DataFrame, scores: pl.DataFrame, bands: Sequence[DepositBand]) -> pl.DataFrame:
    """What of the deposit is given back, by the band that the assessment score reaches; the rest is forfeited.

    Rows:  one per institution. Needs: institution_id, deposit_withheld; scores: institution_id, score (Decimal).
    Adds:  score (Decimal(7, 4), null without assessment), release_share (Decimal(10, 9), likewise),
           deposit_released (half-up to the fen), deposit_forfeited (fen), clause (of the band).
    Raises: Refusal listing institutions with a deposit and no assessment, or with a score below every band.
    Source: rules 8.4; T 3(1) 考核在90分以上; D 36 考核结果与年终清算、质量保证金退还挂钩.
    """
    scored = annual_sums.join(scores, on="institution_id", how="left", validate="1:1")
    _refuse(scored, pl.col("score").is_null(), "a deposit and no assessment score", "add them to assessments")
    share, clause = _band_of(bands)
    banded = scored.with_columns(share=share, clause=clause)
    _refuse(
        banded,
        pl.col("share").is_null(),
        "a score below every band of deposit_release",
        "add a band to the policy",
    )
    held = pl.col("deposit_withheld")
    return (
        banded.with_columns(
            release_share=exact.as_decimal(
                pl.col("share"), exact.FRACTION_DECIMALS, exact.FRACTION_DECIMALS, 10
            ),
            deposit_released=exact.proportion(held, pl.col("share").fill_null(0), pl.lit(exact.FINE)),
        )
        .with_columns(deposit_forfeited=held - pl.col("deposit_released"))
        .drop("share")
    )


def _band_of(bands: Sequence[DepositBand]) -> tuple[pl.Expr, pl.Expr]:
    """Share (10⁻⁹) and clause of the highest band that the score reaches; null below them all."""
    share, clause = pl.lit(None, dtype=pl.Int64), pl.lit(None, dtype=pl.String)
    for band in sorted(bands, key=lambda band: band.score_min):
        reaches = pl.col("score") >= band.score_min
        units = exact.whole_units(band.share, exact.FRACTION_DECIMALS)
        words = f"D 36; from score {band.score_min:f} on {band.share:f} {band.clause} {band.phrase}".rstrip()
        share = pl.when(reaches).then(pl.lit(units, dtype=pl.Int64)).otherwise(share)
        clause = pl.when(reaches).then(pl.lit(words)).otherwise(clause)
    return share, clause


def _refuse(scored: pl.DataFrame, lacks: pl.Expr, found: str, remedy: str) -> None:
    """Whoever has a deposit needs score and band; never guessed."""
    listed = scored.filter(lacks & (pl.col("deposit_withheld") != 0))["institution_id"].to_list()
    if listed:
        raise Refusal(
            "assessments",
            f"{found}: {', '.join(listed)}",
            "a score and its band for every institution with a deposit",
            remedy,
        )
