"""A figure as a file, SVG or PNG; and JSON inside a page, where a token `</script>` ends no script."""

import json
from typing import Any

import altair as alt
import vl_convert

WIDTH = 640  # of a chart that would take the width of its page
# Labels are measured in the first of these that this machine has. `sans-serif` would be measured in a font of the
# renderer's own, narrower than any of these: labels and legends would overlap where the picture is looked at.
FONT = "Arial, Liberation Sans, DejaVu Sans"
_CONFIG: dict[str, Any] = {"font": FONT, "legend": {"columnPadding": 28}}


def to_svg(chart: Any) -> str:
    """A chart, or its Vega-Lite, as SVG on white."""
    return vl_convert.vegalite_to_svg(_drawn(chart))


def to_png(chart: Any, scale: float = 2.0) -> bytes:
    """A chart, or its Vega-Lite, as PNG on white, `scale` pixels for each of the chart's own."""
    return vl_convert.vegalite_to_png(_drawn(chart), scale=scale)


def in_script(value: Any) -> str:
    """JSON that can stand inside a script of a page, whatever its strings say."""
    text = json.dumps(value)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _drawn(chart: Any) -> dict[str, Any]:
    with alt.data_transformers.disable_max_rows():  # a picture has all of them
        spec: dict[str, Any] = chart if isinstance(chart, dict) else chart.to_dict()
    single = "mark" in spec or "layer" in spec
    config = merged(_CONFIG, spec.get("config", {}))
    return {"background": "white", **({"width": WIDTH} if single else {}), **spec, "config": config}


def merged(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """A configuration of which a figure's own goes before what every figure has."""
    found = {**ours, **theirs}
    for key in ours.keys() & theirs.keys():
        if isinstance(ours[key], dict) and isinstance(theirs[key], dict):
            found[key] = merged(ours[key], theirs[key])
    return found
