"""Property tests without deadlines: a machine that is busy is no defect."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("terra", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("terra")
