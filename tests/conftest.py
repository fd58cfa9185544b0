"""What every test stands on."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from threadpoolctl import threadpool_limits
from typechecker import another_test, unchecked

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_addoption(parser):
    """How often the reliability tests kill a job."""
    parser.addoption("--kills", type=int, default=50, help="random kills of the reliability tests (default: 50)")


def pytest_sessionstart(session):
    """Who runs tests imports what is large and not ours, before anything of ours.

    Below an import that jaxtyping checks, Python finds no bytecode and compiles every module anew. The process that
    only hands tests out needs none of it.
    """
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        import altair  # noqa: F401
        import scipy.stats  # noqa: F401
        import sklearn.linear_model  # noqa: F401
        import transformer_lens  # noqa: F401


def pytest_runtest_setup():
    """Each test has its annotations checked, whatever those before it have called."""
    another_test()


@pytest.fixture
def as_in_a_script():
    """Nobody checks annotations: what is of a wrong kind comes through to our own sentences."""
    with unchecked():
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The subjects of the tests are tiny: a second thread only makes them wait for each other."""
    import torch

    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy's products have threads of their own


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """The machine's own Chromium."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.fail("the browser tests need Chromium: `apt-get install chromium` brings it.")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=flags)
        yield chromium
        chromium.close()
