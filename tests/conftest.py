"""What every test stands on."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The subjects of the tests are tiny: a second thread only makes them wait for each other."""
    torch.set_num_threads(1)
