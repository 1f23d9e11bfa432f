"""Which units of a system (systemd.unit(5)) are of the people who log in, and say nothing of the system itself."""

from __future__ import annotations

import re
from collections.abc import Collection

OF_USERS = r"user@[0-9]+[.]service|user-runtime-dir@[0-9]+[.]service|session-[a-z]?[0-9]+[.]scope"
"""Their names, as a regular expression that grep(1), too, takes by ``-E``: every user can let their own fail."""


def is_of_users_alone(failed: Collection[str]) -> bool:
    """Return whether units have failed, and all of them are of people who log in.

    :param failed: the names of all units that have.
    """
    return bool(failed) and all(re.fullmatch(OF_USERS, name) for name in failed)
