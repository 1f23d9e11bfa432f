"""What marks a hook, and what marks what answers it."""

from __future__ import annotations

import pluggy

hookspec = pluggy.HookspecMarker("terra")
hookimpl = pluggy.HookimplMarker("terra")
