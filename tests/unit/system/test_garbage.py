"""Making many objects without a look for garbage."""

from __future__ import annotations

import gc

from terra_core.system.garbage import uncollected


def test_python_looks_for_no_garbage_meanwhile_and_again_afterwards() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
