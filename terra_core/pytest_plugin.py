"""Registered with pytest by the entry point ``pytest11``: what the conformance kit compares is shown where a promise is broken.

Apart from the kit itself, since pytest has to know of its modules before they are imported.
"""

import pytest

pytest.register_assert_rewrite("terra_core.testing")
