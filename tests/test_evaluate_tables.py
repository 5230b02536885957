"""The table that `evaluate`, the demo and the benchmarks print."""

import json
from dataclasses import replace

import pytest

from latentpress.evaluate import Comparison, Evaluation
from latentpress.evaluate.report import Report
from latentpress.evaluate.tables import codec_rows, evaluation_table, figure_rows
from latentpress.items import Text
from small.evaluations import an_evaluation, with_lossy


def test_the_table_is_aligned_markdown() -> None:
    lines = evaluation_table(an_evaluation()).splitlines()
    table = lines[:6]
    assert len({len(line) for line in table}) == 1 and lines[6] == ""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert set(cells[1][0]) == {"-", ":"} and all(cell[-1] == ":" for cell in cells[1][1:])
    assert cells[2] == ["**Latentpress**", "800", "80.0", "0.6250", "27.50", "", "28.25", "0.9123"]
    assert cells[3] == ["the files that came in", "4,000", "400.0", "3.1250", "", "", "", ""]
    assert cells[4][:6] == ["WebP, mosaic", "800", "80.0", "0.6250", "25.25", "+2.25"]
    assert cells[5][:2] == ["JPEG, files *", "4,321"] and cells[5][5] == ""
    assert all(line.startswith("- ") for line in lines[7:])


def test_figures_follow_the_table() -> None:
    said = dict(figure_rows(an_evaluation()))
    assert said["archive, bits/dim"] == "0.2083" and said["images"] == "10"
    assert said["archive bytes / ideal length under the model"] == "800 / 790 = 1.0127"
    assert said["bytes of the files that came in / of the archive"] == "5"
    assert said["share of the codes in use"] == "75.0%" and said["of the archive, codes, bytes"] == "700"
    assert said["latents under the model's prior, bytes"] == "789 (1.0139 in the archive)"
    assert said["compressing"] == "10.0 images/s, 30.7 thousand samples/s"
    assert "*" in said and "distortion" not in said


def test_a_folder_that_grows_is_a_loss_and_is_said() -> None:
    grown = replace(an_evaluation(), file_bytes=400)
    assert dict(figure_rows(grown))["bytes of the files that came in / of the archive"] == "0.5: a loss"


def test_a_lossless_table_has_sizes_alone() -> None:
    exact = replace(an_evaluation(), lossy=None, comparisons=())
    head, ours, files = codec_rows(exact)
    assert (
        head == ["codec", "bytes", "bytes/image", "bits/dim"]
        and ours[-1] == "0.2083"
        and files[-1] == "1.0417"
    )
    assert codec_rows(replace(exact, dims=exact.positions, words=Text.words))[0][-1] == "bits/byte"
    assert dict(figure_rows(exact))["images"] == "10, every pixel restored"


def test_what_codecs_know_of_the_training_items_is_said() -> None:
    primed = [
        Comparison(codec="ppmd o16 primed", layout=layout, size_bytes=99, training_bytes=1234)
        for layout in ("files", "tar")
    ]
    found = replace(an_evaluation(), lossy=None, words=Text.words, comparisons=tuple(primed))
    assert [row[0] for row in codec_rows(found)[3:]] == ["ppmd o16 primed, files", "ppmd o16 primed, tar"]
    said = [each for each in figure_rows(found) if "training" in each[0]]
    assert said == [("training texts that ppmd o16 primed knows, bytes", "1,234, not counted")]
    for line in ("ppmd o16 primed, tar", "1,234, not counted"):
        assert line in evaluation_table(found) and line in Report(found).to_html()
    assert [each["training_bytes"] for each in json.loads(found.to_json())["comparisons"]] == [1234, 1234]


BARE = replace(an_evaluation(), comparisons=(), file_bytes=None, model_bits=None, part_bytes={})


@pytest.mark.parametrize(
    ("found", "more"),
    [
        (BARE, []),
        (replace(BARE, fallbacks=2), ["images stored by the fallback codec"]),
        (replace(BARE, duplicates=1), ["images that are there once already"]),
        (with_lossy(BARE, stochastic=True), ["distortion"]),
        (replace(BARE, comparisons=an_evaluation().comparisons), ["*"]),
    ],
)
def test_what_there_is_nothing_to_say_of_is_left_out(found: Evaluation, more: list[str]) -> None:
    said = dict(figure_rows(found))
    assert [name for name in said if name not in dict(figure_rows(BARE))] == more
