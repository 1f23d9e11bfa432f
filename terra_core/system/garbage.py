"""Looking for garbage (the module ``gc``): Python does it whenever many objects are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from terra_core.system.undo import Undo


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage while a block makes many objects that stay: each look walks through all of them, and finds none.

    Of ten thousand machines, that is most of the time that their records and answers take. Other threads go without meanwhile.
    """
    with Undo() as undo:
        if gc.isenabled():
            undo.callback(gc.enable)
        gc.disable()
        yield
