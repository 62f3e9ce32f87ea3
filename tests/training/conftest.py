"""What all tests of training share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A test that measures or sets the number of threads begins with one, and leaves it so."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)
