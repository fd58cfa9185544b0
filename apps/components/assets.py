"""The components' JavaScript and style sheets: plain files beside this one, read once at import."""

from pathlib import Path

_HERE = Path(__file__).parent


def script(name: str) -> str:
    """A component's module, with the helpers that all components share before it."""
    return (_HERE / "shared.js").read_text("utf8") + "\n" + (_HERE / f"{name}.js").read_text("utf8")


def style(name: str) -> str:
    """A component's style sheet, with the shared one before it."""
    return (_HERE / "shared.css").read_text("utf8") + "\n" + (_HERE / f"{name}.css").read_text("utf8")
