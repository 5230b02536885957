"""What all tests share: no deadlines, since a busy machine is not a defect, and one thread each."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("latentpress", deadline=None, max_examples=50)
settings.load_profile("latentpress")
torch.set_num_threads(1)  # small tensors gain nothing from more, and lose much on a busy machine


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory):
    """A place to run commands in; what tests write there must have names of their own."""
    from workplace import make_workplace

    return make_workplace(tmp_path_factory.mktemp("workplace"))
