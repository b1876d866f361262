"""Synthetic batches: exactly what was asked for, shaped like reality, valid save for the lines spoilt on purpose.

The sums here are made from the written files alone, in whole numbers, and by other means than the generator's.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from settlement import synthesis
from settlement.errors import Refusal
from settlement.synthesis import FLAWS, THRESHOLDS, GeneratedBatch, generate, write_demo

MONTH = "2026-03"
KEY = ["institution_id", "claim_id", "line_id"]
SHIPPED_POLICY = Path(__file__).parents[1] / "thresholds" / "tianjin.toml"
ZONE_OF = {code: division[0] for code, division in synthesis.DIVISIONS.items()}
CLASS_OF = {f"{number:02}": "service" for number in range(1, 15)} | dict.fromkeys(
    ("08", "09", "11"), "drug_consumable"
)
CLASS_OF["10"] = "tcm_decoction"
IS_LATE = pl.col("settled_at") - pl.col("serviced_at") > pl.duration(days=2)


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(
        b"".join(str(f.relative_to(folder)).encode() + f.read_bytes() for f in files)
    ).hexdigest()


def claims(batch: GeneratedBatch) -> pl.DataFrame:
    """The claims of a Parquet batch, in file order."""
    return pl.read_parquet(sorted((batch.folder / "claims").iterdir()))


def small(batch: GeneratedBatch, name: str) -> pl.DataFrame:
    return pl.read_csv(batch.folder / f"{name}.csv", infer_schema=False)


def whole_lines(lines: pl.DataFrame, institutions: pl.DataFrame, month: str = MONTH) -> pl.DataFrame:
    """Lines that no rule of data.md section 2 rejects."""
    required = [
        "settled_at",
        "serviced_at",
        "insurance_type",
        "visit_type",
        "charge_category",
        "points",
        *KEY,
    ]
    good = lines.filter(
        pl.all_horizontal(pl.col(required).is_not_null()),
        pl.col("institution_id").is_in(institutions["institution_id"].to_list()),
        pl.col("charge_category").is_in(list(CLASS_OF)),
        pl.col("visit_type").is_in(["11", "13", "14", "21"]),
        pl.col("is_valid") != "0",
        pl.col("settled_at").dt.to_string("%Y-%m") == month,
        pl.col("serviced_at") <= pl.col("settled_at"),
        pl.col("points").abs() <= 10_000_000,
        (pl.col("points") >= 0) | pl.col("reverses_line_id").is_not_null(),
    )
    variants = good.group_by(KEY).agg(variants=pl.struct("points", "amount").n_unique())
    return (
        good.join(variants, on=KEY, how="left", validate="m:1", maintain_order="left")
        .filter(pl.col("variants") == 1)
        .unique(KEY, keep="first", maintain_order=True)
    )


def over_threshold(batch: GeneratedBatch, whole: pl.DataFrame) -> list[str]:
    """Institutions over a threshold by rules 4 to 6: coaching agreement on the day, 310, outpatient, two classes."""
    coaching = small(batch, "agreements").filter(pl.col("designation") == "coaching")
    coaching = coaching.with_columns(pl.col("start_date", "end_date").str.to_date())
    day = pl.col("serviced_at").dt.date()
    totals = (
        whole.join(coaching, on="institution_id", how="inner")
        .filter(day.is_between("start_date", "end_date"))
        .filter(pl.col("insurance_type") == "310", pl.col("visit_type").is_in(["11", "13"]))
        .with_columns(point_class=pl.col("charge_category").replace_strict(CLASS_OF))
        .filter(pl.col("point_class").is_in(["drug_consumable", "service"]))
        .group_by("institution_id", "point_class")
        .agg(units=(pl.col("points") * 10_000).cast(pl.Int64).sum())
        .join(small(batch, "institutions"), on="institution_id", how="left", validate="m:1")
    )
    limits = {
        (code, name): limit
        for code, zone in ZONE_OF.items()
        for name, limit in zip(("drug_consumable", "service"), THRESHOLDS[zone], strict=True)
    }
    return sorted(
        {
            row["institution_id"]
            for row in totals.iter_rows(named=True)
            if row["units"] > limits[row["division_code"], row["point_class"]]
        }
    )


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> GeneratedBatch:
    return generate(tmp_path_factory.mktemp("synthesis") / "batch", MONTH, 60_000, 200, seed=7)


@pytest.fixture(scope="module")
def lines(batch: GeneratedBatch) -> pl.DataFrame:
    return claims(batch)


@pytest.fixture(scope="module")
def whole(batch: GeneratedBatch, lines: pl.DataFrame) -> pl.DataFrame:
    return whole_lines(lines, small(batch, "institutions"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> GeneratedBatch:
    return write_demo(tmp_path_factory.mktemp("synthesis") / "demo")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "BLOCK_LINES", 1_500)


# ---------------------------------------------------------------- exactly what was asked for


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_same_arguments_give_the_same_bytes(tmp_path: Path, file_format: synthesis.FileFormat) -> None:
    one, same, other = (
        generate(tmp_path / name, MONTH, 4_000, 30, seed, file_format)
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert digest(one.folder) == digest(same.folder) != digest(other.folder)


def test_demo_is_the_same_each_time(demo: GeneratedBatch, tmp_path: Path) -> None:
    assert digest(demo.folder) == digest(write_demo(tmp_path / "demo").folder)


@pytest.mark.parametrize(("asked", "institutions"), [(8, 1), (9, 1), (17, 2), (1_600, 200), (4_001, 30)])
@pytest.mark.usefixtures("small_blocks")
def test_lines_and_institutions_are_those_asked_for(tmp_path: Path, asked: int, institutions: int) -> None:
    told: list[int] = []
    batch = generate(tmp_path / "batch", MONTH, asked, institutions, seed=3, progress=told.append)
    assert (batch.lines, batch.institutions) == (asked, institutions)
    assert claims(batch).height == asked == told[-1]
    assert small(batch, "institutions").height == institutions
    assert len(told) == len(list((batch.folder / "claims").iterdir()))


def test_every_institution_has_lines_and_claims_are_unique_over_the_parts(
    tmp_path: Path, small_blocks: None
) -> None:
    batch = generate(tmp_path / "batch", MONTH, 6_000, 500, seed=5, bad_share="0")
    lines = claims(batch)
    assert lines["institution_id"].n_unique() == 500
    assert lines["line_id"].n_unique() == 6_000
    assert lines.group_by("claim_id").agg(pl.col("institution_id").n_unique())["institution_id"].max() == 1


@pytest.mark.parametrize(
    ("lines", "institutions", "capped", "over"),
    [
        (20_000, 100, "0.03", 3),
        (20_000, 100, "0", 0),
        (20_000, 100, "1", 100),
        (20_000, 100, Decimal("0.5"), 50),
        (800, 100, "0.25", 25),
        (8, 1, "1", 1),
        (8, 1, "0", 0),
        (300_000, 3, "0.3", 1),
    ],
)
@pytest.mark.parametrize("seed", [0, 11])
def test_the_capped_share_holds_when_summed(
    tmp_path: Path, lines: int, institutions: int, capped: Decimal | str, over: int, seed: int
) -> None:
    batch = generate(tmp_path / "batch", MONTH, lines, institutions, seed, capped=capped, bad_share="0.02")
    whole = whole_lines(claims(batch), small(batch, "institutions"))
    assert len(batch.over_threshold) == over
    assert over_threshold(batch, whole) == list(batch.over_threshold)


@pytest.mark.parametrize("month", ["2025-01", "2026-02", "2026-12", "2028-02"])
def test_the_capped_share_holds_in_any_month(tmp_path: Path, month: str) -> None:
    batch = generate(tmp_path / "batch", month, 8_000, 80, seed=2, capped="0.5")
    whole = whole_lines(claims(batch), small(batch, "institutions"), month)
    assert over_threshold(batch, whole) == list(batch.over_threshold)


@pytest.mark.parametrize("bad_share", ["0", "0.0005", "0.002", "0.05"])
@pytest.mark.usefixtures("small_blocks")
def test_exactly_the_bad_lines_are_rejected(tmp_path: Path, bad_share: str) -> None:
    batch = generate(tmp_path / "batch", MONTH, 10_000, 40, seed=4, bad_share=bad_share)
    whole = whole_lines(claims(batch), small(batch, "institutions"))
    assert batch.bad_lines == 10_000 * Decimal(bad_share)
    assert 10_000 - whole.height == batch.bad_lines


def test_bad_lines_of_text_stand_in_csv(tmp_path: Path) -> None:
    batch = generate(tmp_path / "batch", MONTH, 10_000, 40, 4, "csv", bad_share="0.05")
    header, *rows = (batch.folder / "claims" / "part-00000.csv").read_text(encoding="utf-8").splitlines()
    cells = [row.split(",") for row in rows]
    assert len(rows) == 10_000
    assert {len(row) for row in cells} == {len(header.split(",")), len(header.split(",")) + 1}
    points = {row[header.split(",").index("points")] for row in cells}
    assert {"12.3.4", "18.12345", ""} <= points
    assert {flaw.cell for flaw in FLAWS if flaw.needs_text and flaw.rule != "ragged_row"} <= set().union(
        *cells
    )


# ---------------------------------------------------------------- shaped like reality


def test_visits_have_two_to_eight_lines(whole: pl.DataFrame, lines: pl.DataFrame) -> None:
    sizes = (
        lines.filter(pl.col("claim_id").is_not_null()).group_by("claim_id").agg(pl.col("line_id").n_unique())
    )
    assert sizes["line_id"].max() == 8
    assert (sizes["line_id"] < 2).sum() < 0.005 * sizes.height  # a spoilt line may leave its visit
    per_visit = ["institution_id", "settled_at", "serviced_at", "insurance_type", "visit_type", "person_id"]
    assert (
        whole.group_by("claim_id").agg(pl.col(per_visit).n_unique()).select(per_visit).max().row(0)
        == (1,) * 6
    )


def test_weekends_and_afternoons_are_quieter(whole: pl.DataFrame) -> None:
    by_weekday: dict[int, int] = dict(whole.group_by(pl.col("settled_at").dt.weekday()).len().rows())
    # March 2026 begins on a Sunday
    days = {weekday: 5 if weekday in (7, 1, 2) else 4 for weekday in range(1, 8)}
    daily = {weekday: by_weekday[weekday] / days[weekday] for weekday in days}
    assert max(daily[6], daily[7]) < 0.8 * min(daily[weekday] for weekday in range(1, 6))
    hour = pl.col("settled_at").dt.hour()
    assert whole.filter(hour.is_between(8, 10)).height > 1.5 * whole.filter(hour.is_between(14, 16)).height


@pytest.mark.parametrize(
    ("what", "least", "most"),
    [
        (pl.col("visit_type") == "11", 0.85, 0.98),
        (pl.col("insurance_type") == "310", 0.65, 0.85),
        (pl.col("points") < 0, 0.002, 0.01),
        (pl.col("charge_category") == "09", 0.25, 0.45),
        (IS_LATE & (pl.col("visit_type") != "21"), 0.004, 0.02),
        (pl.col("serviced_at").dt.month() < 3, 0.002, 0.02),
        (pl.col("disease_code").is_not_null(), 0.03, 0.07),
    ],
)
def test_shares_are_those_of_the_field(whole: pl.DataFrame, what: pl.Expr, least: float, most: float) -> None:
    assert least < whole.select(what.mean()).item() < most


def test_all_categories_occur_and_sizes_differ(whole: pl.DataFrame) -> None:
    assert set(whole["charge_category"].unique()) == set(CLASS_OF)
    by_size = sorted(whole.group_by("institution_id").len()["len"].to_list())
    assert by_size[-1] > 5 * by_size[len(by_size) // 2]


def test_a_refund_takes_back_a_whole_line_of_the_same_institution(whole: pl.DataFrame) -> None:
    refunds = whole.filter(pl.col("points") < 0)
    pairs = refunds.join(whole, left_on="reverses_line_id", right_on="line_id", how="inner", validate="1:1")
    assert pairs.height == refunds.height > 0
    assert (pairs["points"] == -pairs["points_right"]).all()
    for column in ("institution_id", "insurance_type", "charge_category", "person_id", "serviced_at"):
        assert (pairs[column] == pairs[f"{column}_right"]).all()
    assert (pairs["settled_at"] >= pairs["settled_at_right"]).all()


def test_numbers_are_decimals_and_an_amount_is_the_points_in_fen(whole: pl.DataFrame) -> None:
    assert whole.schema["points"] == pl.Decimal(18, 4)
    assert whole.schema["amount"] == pl.Decimal(18, 2)
    units, fen = (
        (whole[name] * scale).cast(pl.Int64) for name, scale in (("points", 10_000), ("amount", 100))
    )
    assert (units.abs() - fen.abs() * 100).is_between(-50, 49).all()


# ---------------------------------------------------------------- small tables


@pytest.mark.parametrize("capped", ["0.03", "1", "0"])
def test_small_tables_obey_the_contract(tmp_path: Path, capped: str) -> None:
    batch = generate(tmp_path / "batch", MONTH, 8_000, 300, seed=6, capped=capped)
    assert_valid_registry(small(batch, "institutions"))
    assert_valid_agreements(small(batch, "agreements"), small(batch, "institutions"))
    events = small(batch, "events")
    assert events["event_id"].is_unique().all()
    assert set(events["kind"]) <= {
        "minor_violation", "inspected", "suspended", "resumed", "department_suspended", "physician_suspended",
    }  # fmt: skip
    assert (events["occurred_on"] <= "2026-03-31").all()
    relief = small(batch, "relief")
    assert relief.height in (1, 2)
    assert relief["approved_points"].str.contains(r"^\d+\.\d\d$").all()


def assert_valid_registry(institutions: pl.DataFrame) -> None:
    required = ["institution_id", "name", "institution_type", "payment_class", "division_code"]
    assert institutions.select(required).null_count().row(0) == (0,) * 5
    assert institutions["institution_id"].is_unique().all()
    assert institutions["institution_id"].str.contains(r"^H\d{11}$").all()
    assert institutions["division_code"].is_in(list(ZONE_OF)).all()
    given = institutions.filter(pl.col("zone").is_not_null())
    assert (given["zone"] == given["division_code"].replace_strict(ZONE_OF)).all()
    centres = institutions.filter(pl.col("settles_under").is_null())["institution_id"].to_list()
    assert institutions["settles_under"].drop_nulls().is_in(centres).all()


def assert_valid_agreements(agreements: pl.DataFrame, institutions: pl.DataFrame) -> None:
    assert agreements["agreement_id"].is_unique().all()
    assert agreements["service_categories"].is_not_null().all()
    settling = institutions.filter(pl.col("settles_under").is_null())["institution_id"]
    assert set(agreements["institution_id"]) == set(settling)
    dated = agreements.with_columns(pl.col("start_date", "end_date").str.to_date())
    assert (dated["start_date"] <= dated["end_date"]).all()
    new = dated.filter(pl.col("designation") == "coaching")
    assert (new["end_date"] < new["start_date"].dt.offset_by("12mo")).all()
    for _, rows in dated.sort("start_date").group_by("institution_id"):
        assert all(one < following for one, following in pairwise_spans(rows))
    # each new agreement of the month meets the coaching period of six months from the first
    first = new.group_by("institution_id").agg(first=pl.col("start_date").min())
    met = new.join(first, on="institution_id", how="left", validate="m:1")
    assert (met["start_date"] < met["first"].dt.offset_by("6mo")).all()


def pairwise_spans(rows: pl.DataFrame) -> list[tuple[date, date]]:
    spans = rows.sort("start_date").select("start_date", "end_date").rows()
    return [(one[1], following[0]) for one, following in pairwise(spans)]


def test_new_institutions_lie_in_every_zone_and_serve_employees(
    batch: GeneratedBatch, whole: pl.DataFrame
) -> None:
    new = small(batch, "agreements").filter(pl.col("designation") == "coaching")
    registry = small(batch, "institutions").filter(
        pl.col("institution_id").is_in(new["institution_id"].to_list())
    )
    assert set(registry["division_code"].replace_strict(ZONE_OF)) == set(THRESHOLDS)
    assert set(registry["payment_class"]) == {"other_primary"}
    theirs = whole.filter(pl.col("institution_id").is_in(registry["institution_id"].to_list()))
    assert 0.9 < theirs.select((pl.col("insurance_type") == "310").mean()).item() < 1


def test_stations_suspensions_and_inspections_occur(batch: GeneratedBatch, lines: pl.DataFrame) -> None:
    assert small(batch, "institutions")["settles_under"].drop_nulls().len() > 0
    events = small(batch, "events")
    assert {"suspended", "physician_suspended", "department_suspended", "inspected"} <= set(events["kind"])
    physicians = events.filter(pl.col("kind") == "physician_suspended")["target_id"]
    assert physicians.is_in(lines["physician_id"].unique().to_list()).any()


@pytest.mark.skipif(not SHIPPED_POLICY.exists(), reason="the policy file is not part of this checkout")
def test_thresholds_and_zones_are_those_of_the_shipped_policy() -> None:
    policy = tomllib.loads(SHIPPED_POLICY.read_text(encoding="utf-8"))
    shipped = {
        row["zone"]: tuple(int(Decimal(row[name]) * 10_000) for name in ("drug_consumable", "service"))
        for row in policy["thresholds"]
    }
    assert shipped == THRESHOLDS
    zones = {
        code: name for name, codes in policy["zones"].items() if isinstance(codes, list) for code in codes
    }
    assert zones == ZONE_OF


# ---------------------------------------------------------------- demo


def demo_rows(path: Path) -> list[list[str]]:
    return [row.split("\t") for row in path.read_bytes().decode("gb18030").splitlines()]


def test_demo_is_a_bureaus_export(demo: GeneratedBatch) -> None:
    (path,) = (demo.folder / "claims").iterdir()
    header, *rows = demo_rows(path)
    assert path.suffix == ".csv"
    assert 3_000 <= len(rows) == demo.lines <= 5_000
    assert {"setl_id", "bkkp_sn", "fixmedins_code", "det_item_fee_sumamt", "inscp_scp_amt", "points"} <= set(
        header
    )
    assert not {"setl_time", "insutype", "med_type", "settled_at"} & set(header)
    assert "null" in {row[header.index("init_feedetl_sn")] for row in rows}
    assert "" not in {cell for row in rows for cell in row}
    assert 0 < sum(len(row) != len(header) for row in rows) < demo.bad_lines


def test_demo_names_are_chinese_and_its_settlements_know_every_claim(demo: GeneratedBatch) -> None:
    header, *rows = demo_rows(demo.folder / "institutions.csv")
    assert header[:2] == ["fixmedins_code", "fixmedins_name"]
    assert len(rows) == demo.institutions == 24
    assert all("一" <= row[1][0] <= "鿿" for row in rows)
    settlement_header, *settlements = demo_rows(demo.folder / "settlements.csv")
    assert settlement_header == ["setl_id", "psn_no", "setl_time", "insutype", "med_type"]
    (path,) = (demo.folder / "claims").iterdir()
    claim_ids = {row[0] for row in demo_rows(path)[1:]} - {"null"}
    assert claim_ids <= {row[0] for row in settlements}
    assert len({row[0] for row in settlements}) == len(settlements)


def test_demo_has_a_station(demo: GeneratedBatch) -> None:
    header, *rows = demo_rows(demo.folder / "institutions.csv")
    assert {row[header.index("settles_under")] for row in rows} > {"null"}


def test_demo_has_an_institution_over_the_threshold_in_each_zone(demo: GeneratedBatch) -> None:
    assert {ZONE_OF[one[1:7]] for one in demo.over_threshold} == set(THRESHOLDS)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda out: generate(out, "2026-13", 100, 2, 1), "month"),
        (lambda out: generate(out, "202603", 100, 2, 1), "month"),
        (lambda out: generate(out, MONTH, 15, 2, 1), "lines"),
        (lambda out: generate(out, MONTH, 2_000_001, 1, 1), "lines"),
        (lambda out: generate(out, MONTH, 100, 0, 1), "institutions"),
        (lambda out: generate(out, MONTH, 100, 2, -1), "seed"),
        (lambda out: generate(out, MONTH, 100, 2, 1, capped="1.01"), "capped"),
        (lambda out: generate(out, MONTH, 100, 2, 1, capped="NaN"), "capped"),
        (lambda out: generate(out, MONTH, 100, 2, 1, capped="three"), "capped"),
        (lambda out: generate(out, MONTH, 100, 2, 1, bad_share="0.2"), "bad_share"),
        (lambda out: generate(out, MONTH, 100, 2, 1, "xlsx"), "file_format"),  # type: ignore[arg-type]
        (lambda out: write_demo(out, month="March"), "month"),
    ],
)
def test_bad_arguments_are_refused(
    tmp_path: Path, call: Callable[[Path], GeneratedBatch], where: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        call(tmp_path / "batch")
    assert refusal.value.where == where
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(Refusal):
        generate(tmp_path, MONTH, 100, 2, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_generation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "batch", MONTH, 100, 2, 1, progress=fail)
    assert not list(tmp_path.iterdir())
