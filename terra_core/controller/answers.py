"""What plugins answer, checked to the last field before it is stored."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import asdict

from terra_core.config.structure import Problem, StructureError, structure
from terra_core.hookspecs import Lun, Target, TargetRequest
from terra_core.plugins import Installed, PluginError


def checked_target(answer: Target, request: TargetRequest, plugin: Installed) -> Target:
    """The target that a storage plugin planned, as it will be read again.

    :param request: what it was asked for.
    :param plugin: who planned it, for errors.
    :raises PluginError: when it could not be stored and read again as it is, or is not what was asked for.
    """
    problems = list(_problems(answer, request))
    if problems:
        raise PluginError(
            f"plugin {plugin.name!r} planned a target that cannot be kept: {'; '.join(str(problem) for problem in problems)}",
            hint=f"report it to the authors of {plugin.distribution} {plugin.version}",
        )
    return structure(asdict(answer), Target)


def _problems(answer: Target, request: TargetRequest) -> Iterator[Problem]:
    if type(answer) is not Target:
        yield Problem("", f"expected a Target, got a {type(answer).__name__}, of which more than a Target would be lost")
        return
    try:
        made = structure(asdict(answer), Target)
    except StructureError as error:
        yield from error.problems
        return
    for at, lun in enumerate(answer.luns):
        if type(lun) is not Lun:
            yield Problem(f"luns[{at}]", f"expected a Lun, got a {type(lun).__name__}")
        elif not lun.path.startswith("/"):
            yield Problem(f"luns[{at}].path", f"expected an absolute path, got {lun.path!r}")
    if made.label != request.group.label:
        yield Problem("label", f"expected {request.group.label!r}, the group's, got {made.label!r}")
    if len(made.luns) != len(request.group.disk):
        yield Problem("luns", f"expected one for each disk, {len(request.group.disk)}, got {len(made.luns)}")
