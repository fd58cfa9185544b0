"""What every test stands on."""

import pytest
import torch
from threadpoolctl import threadpool_limits
from typechecker import unchecked


def pytest_addoption(parser):
    """How often the reliability tests kill a job."""
    parser.addoption("--kills", type=int, default=50, help="random kills of the reliability tests (default: 50)")


@pytest.fixture
def as_in_a_script():
    """Nobody checks annotations: what is of a wrong kind comes through to our own sentences."""
    with unchecked():
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The subjects of the tests are tiny: a second thread only makes them wait for each other."""
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy's products have threads of their own
