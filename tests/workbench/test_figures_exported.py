"""Figures as files: pictures of the right kind, and data inside a page's script, whatever a token says."""

import json
import xml.etree.ElementTree as ElementTree

import altair as alt
import pandas as pd
import pytest

from workbench.figures.exported import in_script, to_png, to_svg

WICKED = "</script><script>document.title = 'owned'</script>"


@pytest.fixture
def chart() -> alt.Chart:
    table = pd.DataFrame({"token": [WICKED, "b"], "value": [3, 4]})
    return alt.Chart(table).mark_bar().encode(x="token:N", y="value:Q")


def test_a_picture_is_what_its_name_says(chart: alt.Chart) -> None:
    assert ElementTree.fromstring(to_svg(chart)).tag.endswith("svg")
    assert to_png(chart).startswith(b"\x89PNG")


def test_a_finer_picture_has_more_pixels(chart: alt.Chart) -> None:
    widths = [int.from_bytes(to_png(chart, scale=scale)[16:20], "big") for scale in (1.0, 2.0)]
    assert widths[1] == 2 * widths[0]


@pytest.mark.parametrize("text", [WICKED, "<!--", "a\u2028b", "&lt;", '"', "\\"])
def test_a_string_inside_a_script_is_itself_and_ends_nothing(text: str) -> None:
    written = in_script({text: text})
    assert json.loads(written) == {text: text}
    assert not set(written) & set("<>&\u2028\u2029")
