"""What is found to be off on a host or a machine."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Finding:
    """What ``terra doctor`` finds to be off: of which machine, if of one; what it is; and how a person goes on."""

    hostname: str = ""
    problem: str
    hint: str = ""
