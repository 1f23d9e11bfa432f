"""Which of its versions a machine has whose record is of a backup: a pure function of what was seen."""

from __future__ import annotations

from enum import Enum, auto

from terra_core.controller.records import Phase, Upgrade


class Found(Enum):
    """What is known of a machine with two versions, whose record is of a backup."""

    OPEN = auto()
    """Nothing that decides it was seen."""
    THIS = auto()
    """It has the version that its record says, and the other one is kept."""
    THIS_ALONE = auto()
    """It has the version that its record says; the other one is gone, or nobody knows how it starts. Nothing is removed."""
    UNNEEDED = auto()
    """It has the version that its record says, and was never given the other one, which can be removed."""
    OTHER = auto()
    """It has the other one, and that of its record is kept."""
    OTHER_ALONE = auto()
    """It has the other one, and that of its record is gone."""


def found_out(upgrade: Upgrade, *, on_this: bool, on_other: bool, this_there: bool, other_there: bool) -> Found:
    """Return which of its versions a machine has.

    :param on_this: whether it is connected to the disks that its record says.
    :param on_other: whether it is connected to those of the other version.
    :param this_there: whether the volumes of the first ones are there.
    :param other_there: the same of the second ones.
    """
    if upgrade.phase in (Phase.PREPARING, Phase.WAITING):
        # The next version gets another identity before it is given to the machine: how it starts is not in the backup.
        if on_this:
            return Found.UNNEEDED
        return Found.THIS_ALONE if on_other or (this_there and not other_there) else Found.OPEN
    if on_this or (this_there and not other_there and not on_other):
        return Found.THIS if other_there else Found.THIS_ALONE
    if on_other or (other_there and not this_there):
        return Found.OTHER if this_there else Found.OTHER_ALONE
    return Found.OPEN
