"""transformers' own progress bars, kept away from what the program says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """None for the length of a block; afterwards as before."""
    from transformers.utils import logging  # heavy, and not needed to resolve a name

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
