"""A link whose choice has a name and no value (`?score=`) opens the page as if it did not name it."""

import pytest
from test_views import opened, words

PAGES = [
    ("runs", {"run": "tiny"}, ["concepts"], "Concepts that have a feature"),
    ("features", {"run": "tiny", "feature": "0"}, ["show"], "Where it fires"),
    ("probes", {"run": "probed"}, ["score", "beside"], "Balanced accuracy, where"),
    ("compare", {"run": "tiny"}, ["what"], "Compare"),
    ("states", {"run": "gru"}, ["layer", "value", "rank", "count", "order"], "All 24 units"),
    ("prompt_lab", {"run": "tiny", "pane_attention": "true"}, ["layer", "head"], "Prompt lab"),
]


@pytest.mark.usefixtures("explorer_environment")
@pytest.mark.parametrize(("page", "link", "keys", "there"), PAGES)
def test_an_emptied_choice_is_the_default(page: str, link: dict[str, str], keys: list[str], there: str) -> None:
    app = opened(page, **link, **dict.fromkeys(keys, ""))
    assert not app.error
    app.run()
    assert not app.exception
    assert there.lower() in words(app).lower()
