"""Keeps the collection of garbage cheap: Streamlit collects all generations after every run of a script."""

import gc
import sys

_seen = 0


def set_modules_aside() -> None:
    """Take all that lives now out of what is searched for garbage, whenever something was imported since last time.

    PyTorch, Altair and pandas are some hundred thousand objects that never become garbage. To look through them takes
    0.3 s, in which no other tab gets an answer.
    """
    global _seen
    if len(sys.modules) != _seen:
        gc.collect()
        gc.freeze()
        _seen = len(sys.modules)
