"""What a machine reports its next boot with: a small archive that is loaded after its boot steps, and replaced for each boot.

``boot=terra`` puts the file into ``/run/terra`` of the system, where a unit of the base image finds it.
"""

from __future__ import annotations

import json

from attrs import field, frozen

from terra_core.machine.archive import File, make_archive

_PATH = "usr/lib/terra/report"


@frozen(kw_only=True)
class ReportPlace:
    """Where a machine reports to, and as what.

    :param url: the URL of the controller's route for reports.
    :param authority: the certificate, in PEM, that the controller is known by; empty for plain HTTP.
    :param image: the digest of the image that the boot files are of, for the machine to repeat.
    """

    url: str
    authority: str = field(repr=False)
    image: str


def make_report_archive(place: ReportPlace, token: str) -> bytes:
    """Return the archive for the next boot of a machine.

    :param token: the secret by which the machine is known, for one boot.
    """
    said = {"url": place.url, "token": token, "image": place.image}
    if place.authority:
        said["authority"] = place.authority
    return make_archive({_PATH: File(content=json.dumps(said).encode(), mode=0o600)})
