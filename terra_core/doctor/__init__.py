"""``terra doctor``: whether what exists is what the controller's database says, found by code of its own.

Nothing here, and none of the plugins' hooks that it asks, uses a module that the controller works by: a fault in one of those
cannot hide itself. The models of TOML files and of the contract are shared, and what starts programs.
"""

from terra_core.doctor.looking import Looked, look

__all__ = ["Looked", "look"]
