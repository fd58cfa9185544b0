"""Figures as inline SVG: in the page's own colours, harmless, and with what each mark says kept for hover.

Vega itself would be 0.9 MB and needs `eval`, which the pages forbid; what its marks say stands in the SVG as
`aria-label`, and the site's script shows that.
"""

import re
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from workbench.figures.exported import merged, to_svg

# Colours that no figure uses: each becomes a class, whose colour is the theme's.
_INK, _SOFT, _LINE, _FAINT = "#010203", "#010204", "#010205", "#010206"
_CLASSES = {_INK: "ink", _SOFT: "soft", _LINE: "line", _FAINT: "faint"}
_TITLES = {"labelColor": _SOFT, "titleColor": _SOFT}
_THEME: dict[str, Any] = {
    "view": {"stroke": "transparent"},
    "axis": {**_TITLES, "titleFontWeight": 500, "domainColor": _LINE, "tickColor": _LINE, "gridColor": _FAINT},
    "legend": {**_TITLES, "titleFontWeight": 500, "gradientStrokeColor": "transparent"},
    "header": _TITLES,
    "title": {"color": _INK, "subtitleColor": _SOFT},
    "text": {"color": _INK},
    "rule": {"color": _INK},
}
_TAGS = {"svg", "g", "path", "rect", "line", "text", "tspan", "circle", "defs", "linearGradient", "radialGradient"}
_TAGS |= {"stop", "clipPath", "title"}
_KEPT = {"d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "dx", "dy", "width", "height", "viewBox"}
_KEPT |= {"transform", "fill", "stroke", "opacity", "fill-opacity", "stroke-opacity", "stroke-width", "stroke-linecap"}
_KEPT |= {"stroke-dasharray", "stroke-dashoffset", "stroke-linejoin", "stroke-miterlimit", "text-anchor", "font-size"}
_KEPT |= {"font-weight", "font-style", "id", "offset", "stop-color", "stop-opacity", "clip-path", "clipPathUnits"}
_KEPT |= {"gradientUnits", "display", "pointer-events", "role", "aria-label", "aria-hidden", "preserveAspectRatio"}
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
_REFERENCE = re.compile(r"url\(#([\w-]+)\)")


def inline(chart: Any, name: str) -> Markup:
    """A chart as SVG that can stand in a page; `name` tells its gradients from those of the page's other figures."""
    spec = chart if isinstance(chart, dict) else chart.to_dict()
    themed = {**spec, "background": "transparent", "config": merged(_THEME, spec.get("config", {}))}
    root = ElementTree.fromstring(to_svg(themed))
    _clean(root, name)
    root.set("class", "chart")
    root.set("role", "group")
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(node: ElementTree.Element, name: str) -> None:
    """Keep the elements and attributes that draw; give what has the theme's colours a class instead."""
    node.tag = node.tag.rpartition("}")[2]
    classes = []
    for key, value in list(node.attrib.items()):
        if key not in _KEPT or ("background" in node.get("class", "") and value == "transparent"):
            del node.attrib[key]
        elif key in ("fill", "stroke") and value in _CLASSES:
            del node.attrib[key]
            classes.append(f"{key}-{_CLASSES[value]}")
        elif key == "id":
            node.set(key, f"{name}-{value}")
        elif key in ("d", "transform", "x", "y", "x2", "y2", "width", "height", "viewBox"):
            node.set(key, _LONG_NUMBER.sub(_short, value))
        elif value.startswith("url("):
            node.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))
    if classes:
        node.set("class", " ".join(classes))
    for child in list(node):
        if child.tag.rpartition("}")[2] in _TAGS:
            _clean(child, name)
        else:
            node.remove(child)


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
