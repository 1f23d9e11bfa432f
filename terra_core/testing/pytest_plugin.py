"""Registered with pytest by the entry point ``pytest11``: failed promises show what was compared."""

import pytest

pytest.register_assert_rewrite("terra_core.testing")
