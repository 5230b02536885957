"""The table that `evaluate`, the demo and the benchmarks print."""

from dataclasses import replace

import pytest

from latentpress.cli.evaluate import evaluation_table
from latentpress.evaluate import CodeStatistics, Comparison, Evaluation, Quality

QUALITY = Quality(psnr_db=25.0, mean_psnr_db=26.0, ssim=0.8, ms_ssim=None)
WEBP = Comparison("webp", "mosaic", 1000, 1000, 990, 1010, replace(QUALITY, psnr_db=24.0))
JPEG = Comparison("jpeg", "files", 1000, 4321, 4321, 4321, QUALITY)
EVALUATION = Evaluation(
    num_items=10,
    num_pixels=4000,
    num_dims=12000,
    archive_bytes=1000,
    prior_bytes=800.0,
    model_bits_per_dim=3.5,
    quality=QUALITY,
    codes=CodeStatistics(8, 1, 1.0, 7.5, ((1,) * 8,)),
    items=(),
    comparisons=(WEBP, JPEG),
)


def test_the_table_is_aligned_markdown() -> None:
    lines = evaluation_table(EVALUATION).splitlines()
    table, notes = lines[:5], lines[6:]
    assert len({len(line) for line in table}) == 1 and len(table[0]) <= 100 and lines[5] == ""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert set(cells[1][0]) == {"-"} and all(
        cell[-1] == ":" and set(cell[:-1]) == {"-"} for cell in cells[1][1:]
    )
    assert cells[2] == ["**Latentpress**", "1,000", "100.0", "2.0000", "25.00", "26.00", "0.8000", "-"]
    assert [row[:2] for row in cells[3:]] == [["webp, mosaic", "1,000"], ["jpeg, files *", "4,321"]]
    for part in ("0.6667 bits/dim", "1,000 / 800 = 1.2500", "100.0% of 1 x 8", "+1.00 over webp, mosaic"):
        assert any(part in note for note in notes)


@pytest.mark.parametrize(("others", "notes"), [((), 3), ((WEBP,), 4), ((JPEG,), 4), ((WEBP, JPEG), 5)])
def test_what_there_is_nothing_to_say_of_is_left_out(others: tuple[Comparison, ...], notes: int) -> None:
    lines = evaluation_table(replace(EVALUATION, comparisons=others)).splitlines()
    assert sum(line.startswith("- ") for line in lines) == notes
