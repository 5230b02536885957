from importlib.util import find_spec

import pytest

from latentpress.data import demo
from latentpress.data.demo import demo_images
from latentpress.data.sources import open_sources
from latentpress.errors import ItemError


@pytest.mark.skipif(not (find_spec("skimage") and find_spec("sklearn")), reason="needs the demo extra")
def test_demo_images_are_photographs_in_two_folders(tmp_path):
    images = demo_images(tmp_path)
    training, held_out = open_sources([images.training]), open_sources([images.held_out])
    assert len(training.items) >= 10 and len(held_out.items) >= 3
    assert not {item.name for item in training.items} & {item.name for item in held_out.items}
    for item in held_out.items:
        pixels = item.read()
        assert pixels.shape[2] == 3 and min(pixels.shape[:2]) >= 256 and pixels.std() > 10


def test_a_missing_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda package: None)
    with pytest.raises(ItemError, match=r"pip install 'latentpress\[demo\]'"):
        demo_images(tmp_path)
