"""The plugins that a user can choose from: every role with those that fill it, and what their tables may hold."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from terra_core.config.example import table_example
from terra_core.errors import PluginError
from terra_core.hookspecs import ROLES
from terra_core.plugins import Plugins
from terra_core.selection import check_roles


@frozen
class Candidate:
    """A plugin for a role, as ``terra plugins`` lists it.

    :param role: the role.
    :param name: the plugin's name.
    :param distribution: what brings it; empty when it is selected and not installed.
    :param version: that distribution's version.
    :param selected: whether it is the one that is asked.
    :param problem: why it cannot be used, if so.
    """

    role: str
    name: str
    distribution: str
    version: str
    selected: bool
    problem: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the candidate as ``terra plugins --json`` prints it; with ``problem`` where there is one."""
        names = ("role", "name", "distribution", "version", "selected", *(["problem"] if self.problem else []))
        return {name: getattr(self, name) for name in names}


def candidates(plugins: Plugins, chosen: Mapping[str, str], *, source: str = "configuration") -> list[Candidate]:
    """Return every role with every plugin that fills it, and the selected one even if it is missing or does not fill it.

    A plugin that fills no role, or that cannot be loaded, comes last, without a role and with the reason.

    :param chosen: the ``[plugins]`` table of a file.
    :param source: the file, for errors.
    :raises ConfigError: when ``chosen`` names a role that does not exist.
    """
    check_roles(chosen, source=source)
    fills, problems = dict[str, tuple[str, ...]](), dict[str, str]()
    for name in plugins.installed:
        try:
            hooks = plugins.hooks_of(name)
            fills[name] = tuple(role.role for role in ROLES.values() if role.needed() <= hooks)
            problems[name] = "" if fills[name] else _lacking(hooks)
        except PluginError as error:  # the others are shown all the same
            fills[name], problems[name] = (), str(error)
    rows = []
    for role in ROLES.values():
        selected = chosen.get(role.role, role.default)
        names = [name for name in plugins.installed if role.role in fills[name]]
        for name in sorted({*names, selected}):
            installed = plugins.installed.get(name)
            rows.append(
                Candidate(
                    role.role,
                    name,
                    installed.distribution if installed else "",
                    installed.version if installed else "not installed",
                    name == selected,
                    "" if installed is None or role.role in fills[name] else problems[name] or f"does not fill {role.role}",
                )
            )
    shown = {row.name for row in rows}
    for name, installed in plugins.installed.items():
        if name not in shown:
            rows.append(Candidate("", name, installed.distribution, installed.version, False, problems[name]))
    return rows


def _lacking(hooks: frozenset[str]) -> str:
    begun = [role for role in ROLES.values() if hooks & role.hooks().keys()]
    lacking = [f"{role.role} without {', '.join(sorted(role.needed() - hooks))}" for role in begun]
    return f"fills no role: {'; '.join(lacking) or 'it has no hook of any'}"


def table_examples(plugins: Plugins, chosen: Mapping[str, str]) -> str:
    """Write the tables of the selected plugins that are installed, each with every key and a line of what it is for.

    :param chosen: the plugins by role.
    """
    written = []
    for name in dict.fromkeys(chosen.values()):
        try:
            model = plugins.settings(name) if name in plugins.installed else None
        except PluginError:  # ``terra plugins`` tells it
            continue
        if model is not None:
            roles = " and ".join(role for role, plugin in chosen.items() if plugin == name)
            written.append(f"\n# The table of the plugin {name} ({roles}).\n{table_example(name, model)}")
    return "".join(written)
