from importlib.util import find_spec

import pytest

from latentpress.data import demo, open_sources
from latentpress.data.demo import demo_images
from latentpress.errors import ItemError
from latentpress.items import Image


@pytest.mark.skipif(not (find_spec("skimage") and find_spec("sklearn")), reason="needs the demo extra")
def test_demo_images_are_photographs_in_two_folders(tmp_path):
    training, held_out = (open_sources([folder], Image()) for folder in demo_images(tmp_path))
    assert len(training.items) >= 10 and len(held_out.items) >= 3
    assert not {ref.name for ref in training.items} & {ref.name for ref in held_out.items}
    for ref in held_out.items:
        pixels = ref.read()
        assert pixels.shape[2] == 3 and min(pixels.shape[:2]) >= 256 and pixels.std() > 10


def test_a_missing_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda package: None)
    with pytest.raises(ItemError, match=r"pip install 'latentpress\[demo\]'"):
        demo_images(tmp_path)
