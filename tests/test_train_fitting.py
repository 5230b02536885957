"""What a configuration takes from the data, and whether it fits them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from latentpress.config import (
    AnticausalConfig,
    AR1Config,
    LabelConfig,
    PlainGaussianConfig,
    RunConfig,
    StageConfig,
)
from latentpress.config.presets import preset
from latentpress.data import Dataset, survey
from latentpress.errors import ConfigError, TrainingError
from latentpress.items import Image, Text
from latentpress.latents.rates import ar1_rate_nats
from latentpress.model import build
from latentpress.train import committing, fitted, suggest
from latentpress.train.fitting import check_dataset
from small.configs import delta_vae, vq_vae
from small.items import samples_of
from small.sources import dataset_of, file_of, write

GREY, TEXT = Image(channels=1), Text()
PRIOR = StageConfig(crop=9)


def check(model: Any, dataset: Dataset) -> None:
    check_dataset(build(model), dataset)


def images(*sizes: tuple[int, int], labels: Any = None) -> Dataset:
    return dataset_of(GREY, [samples_of(GREY, size, seed=i) for i, size in enumerate(sizes)], labels)


def texts(*lengths: int) -> Dataset:
    return dataset_of(TEXT, [samples_of(TEXT, (max(1, n),))[:n] for n in lengths])


def test_labels_come_from_the_data_unless_they_are_given():
    config = RunConfig(model=vq_vae(GREY))
    table = {"class": ["b", "a", "b"], "one": ["x"] * 3, "action": [("l", "r")] * 3}
    dataset = images((2, 4), (2, 4), (2, 4), labels=table)
    run = fitted(config, dataset)
    assert run.model.labels == (
        LabelConfig(name="class", values=("a", "b")),
        LabelConfig(name="action", values=("l", "r"), along=True),
    )
    changes = {
        "model.labels": [{"name": "class", "values": ["b", "a", "c"]}],
        "model.prior.labels": '["class"]',
    }
    run = fitted(config, dataset, changes)
    assert run.model.labels[0].values == ("b", "a", "c") and run.model.prior.labels == ("class",)  # type: ignore
    with pytest.raises(ConfigError, match="no label 'class'"):
        fitted(config, images((4, 4)), {"model.prior.labels": '["class"]'})


def test_new_items_have_the_usual_size_but_are_no_larger_than_a_crop():
    config = RunConfig(model=vq_vae(GREY), prior=PRIOR)
    dataset = images((4, 4), (8, 20), (6, 30))
    assert fitted(config, dataset).model.item.size == (6, 9)
    joint = replace(config.model.prior, training="joint")  # type: ignore[type-var]
    config = replace(config, model=replace(config.model, prior=joint), codec=StageConfig(crop=(5, 25)))
    assert fitted(config, dataset).model.item.size == (5, 20)
    assert fitted(config, dataset, {"model.item.size": "[2, 3]"}).model.item.size == (2, 3)
    assert fitted(RunConfig(model=vq_vae(TEXT), prior=PRIOR), texts(0, 5, 7, 40)).model.item.size == (7,)


def test_a_delta_vae_whose_latents_span_an_axis_takes_its_extent():
    dataset = images((8, 16), (8, 16))
    model = delta_vae(replace(GREY, size=(8, 16)), "autoregressive")
    config = RunConfig(model=replace(model, item=GREY), codec=PRIOR)
    assert fitted(config, dataset).model.item.size == (8, 16)
    for name, data in (("delta-images", dataset), ("delta-text", texts(600, 700)), ("text", texts(3))):
        run = fitted(preset(name), data)
        check(run.model, data)
        assert run.model.item.size == (8, 16) if data is dataset else len(run.model.item.size or ()) == 1


@pytest.mark.parametrize("decoders", ["both", "parallel"])
def test_symbols_are_residuals_where_these_are_cheaper(decoders: str):
    flat = np.where(np.random.default_rng(0).random((20, 8, 8, 1)) < 0.5, 0, 255).astype(np.uint8)
    slopes = (np.arange(20)[:, None, None, None] * 9 + np.mgrid[0:8, 0:8].sum(0)[..., None]).astype(np.uint8)
    config = RunConfig(model=vq_vae(GREY, decoders))
    for samples, cheaper in ((flat, False), (slopes, True)):
        run = fitted(config, dataset_of(GREY, samples))
        assert (run.model.autoregressive is None) == (decoders == "parallel")
        if run.model.autoregressive is not None:
            assert run.model.autoregressive.residual is cheaper
            given = fitted(config, dataset_of(GREY, samples), {"model.autoregressive.residual": not cheaper})
            assert given.model.autoregressive.residual is not cheaper  # type: ignore[union-attr]


def test_a_survey_of_files_gives_a_preset(tmp_path):
    write(
        tmp_path / "images", {f"{i}.png": file_of(GREY, samples_of(GREY, (20, 20), seed=i)) for i in range(3)}
    )
    write(tmp_path / "texts", {"a.txt": b"some words"})
    found = suggest(survey([tmp_path / "images"]))
    assert found.item == GREY and found.reason and preset(found.preset).model.item.kind == "image"
    assert preset(suggest(survey([tmp_path / "texts"])).preset).model.item.kind == "text"


@pytest.mark.parametrize("bits", [3.0, 12.0])
def test_a_rate_sets_alpha(bits: float):
    image = replace(GREY, size=(8, 16))
    config = RunConfig(model=delta_vae(image, "autoregressive"), codec=StageConfig(crop=24))
    run = committing(config, bits)
    (first, second) = run.model.latents.alphas  # type: ignore[union-attr]
    assert first == second and ar1_rate_nats([first] * 2, 4) == pytest.approx(bits * np.log(2), rel=1e-6)
    cells = replace(config.model, encoder=AnticausalConfig(hop=(2, 8)))
    (first, _) = committing(replace(config, model=cells), bits).model.latents.alphas  # type: ignore[union-attr]
    assert 2 * ar1_rate_nats([first] * 2, 4) == pytest.approx(bits * np.log(2), rel=1e-6)
    text = replace(config, model=delta_vae(TEXT, "autoregressive"))
    (first, _) = committing(text, bits).model.latents.alphas  # type: ignore[union-attr]
    assert ar1_rate_nats([first] * 2, 12) == pytest.approx(bits * np.log(2), rel=1e-6)


def test_only_an_ar1_prior_commits_a_wanted_rate():
    plain = replace(delta_vae(TEXT), latents=PlainGaussianConfig())
    for model in (plain, vq_vae(GREY)):
        with pytest.raises(ConfigError, match="kind=ar1"):
            committing(RunConfig(model=model), 3.0)
    assert isinstance(committing(RunConfig(model=delta_vae(TEXT)), 3.0).model.latents, AR1Config)


def conditional(name: str) -> Any:
    model = vq_vae(GREY)
    labels = (LabelConfig(name=name, values=("a", "b")),)
    return replace(model, labels=labels, prior=replace(model.prior, labels=(name,)))


@pytest.mark.parametrize(
    ("model", "dataset", "message"),
    [
        (vq_vae(GREY), lambda: texts(3), "one of images, and the items are texts"),
        (vq_vae(TEXT), lambda: images((4, 4)), "one of texts, and the items are images"),
        (vq_vae(Image()), lambda: images((4, 4)), r"have 1 channels; set model\.item\.channels=1"),
        (vq_vae(TEXT), lambda: texts(0, 0), "no text that is not empty"),
        (
            conditional("speaker"),
            lambda: images((4, 4), labels=["a"]),
            "label 'speaker'; the items have class",
        ),
        (
            delta_vae(replace(GREY, size=(5, 4))),
            lambda: images((5, 4), (5, 3), (7, 4)),
            r"any rows x 4 columns.*1 of 3 images have another size, first .*: 5 x 3; scale",
        ),
    ],
)
def test_items_that_do_not_fit_are_refused(model: Any, dataset: Any, message: str):
    with pytest.raises(TrainingError, match=message):
        check(model, dataset())


def test_items_that_fit_are_taken():
    check((conditional("class")), images((4, 4), (4, 4), labels=["b", "z"]))
    check((delta_vae(replace(GREY, size=(5, 4)))), images((5, 4), (9, 4)))
    check((delta_vae(TEXT)), texts(0, 9))
    free = replace(
        delta_vae(replace(GREY, size=(5, 4)), "autoregressive"), encoder=AnticausalConfig(hop=(2, 2))
    )
    check((free), images((5, 4), (9, 9)))
    with pytest.raises(ConfigError, match=r"item\.size"):
        model = replace(delta_vae(replace(GREY, size=(5, 4)), "autoregressive"), item=GREY)
        check(model, images((5, 4)))
