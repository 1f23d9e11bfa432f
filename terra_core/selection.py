"""Which roles a file decides, and which plugins' tables are read from it; anything that would be ignored is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from attrs import frozen

from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem, path_of_key
from terra_core.hookspecs import ROLES, Role

_DECIDED = {
    "network": "server.toml decides it",
    "builder": "server.toml decides it",
    "registry": "server.toml decides it for pushing, node.toml for terra-install, and controller.toml for provisioning",
    "filesystem": "node.toml decides it, and controller.toml what counts where node.toml says nothing",
    "store": "controller.toml decides it",
    "storage": "controller.toml decides it",
    "boot": "controller.toml decides it",
    "bootloader": "node.toml decides it, for terra-install",
}


@frozen(kw_only=True)
class Use:
    """What a command takes from a file.

    :param file: the file, and the command where that matters.
    :param roles: the roles that its ``[plugins]`` decides.
    :param tables: the roles whose plugin has its table there.
    """

    file: str
    roles: tuple[str, ...]
    tables: tuple[str, ...]


SERVER = Use(file="server.toml", roles=("network", "builder", "registry"), tables=("network", "builder", "registry"))
"""server.toml, as ``terra create`` reads it."""
INSTALLED = Use(
    file="node.toml, for terra-install,",
    roles=("registry", "filesystem", "bootloader"),
    tables=("registry", "filesystem", "bootloader"),
)
"""node.toml, as ``terra-install`` reads it."""
PROVISIONED = Use(file="node.toml, for provisioning,", roles=("filesystem",), tables=("filesystem",))
"""node.toml, as the controller reads it."""
CONTROLLER = Use(
    file="controller.toml", roles=("registry", "filesystem", "store", "storage", "boot"),
    tables=("registry", "store", "storage", "boot"),
)
"""controller.toml; a filesystem plugin's table is that of each machine."""


def check_roles(chosen: Mapping[str, str], *, source: str) -> None:
    """Refuse a ``[plugins]`` table that names a role which does not exist.

    :param source: the file, for errors.
    :raises ConfigError: with every such key.
    """
    problems = [problem for role in chosen for problem in _no_role(role)]
    if problems:
        raise DocumentError(source, problems)


def not_installed(role: type[Role], name: str, installed: Collection[str]) -> str:
    """Return the problem of a selected plugin that is not installed.

    :param installed: the names of those that are.
    """
    # Anybody could register a free name, so the hint names Terra's own distributions only.
    own = name in {one.default for one in ROLES.values()}
    remedy = f"install it with: pip install terra-{name}" if own else "install what brings it, or choose another"
    here = ", ".join(sorted(installed)) or "none"
    return f"{name!r}, the plugin for the role {role.role}, is not installed (installed: {here}); {remedy}"


def check_selection(
    use: Use,
    chosen: Mapping[str, str],
    tables: Collection[str],
    *,
    source: str,
    beside: Collection[str] = (),
) -> None:
    """Refuse a role that is decided elsewhere, and a table that no one would read.

    :param use: the file.
    :param chosen: its ``[plugins]`` table, with the defaults of the command.
    :param tables: the names of the plugins' tables that it has.
    :param source: the file, for errors.
    :param beside: further plugins that it selects, such as those of single groups.
    :raises ConfigError: with everything that would be ignored.
    """
    problems = selection_problems(use, chosen, tables, beside)
    if problems:
        raise DocumentError(source, problems)


def selection_problems(
    use: Use, chosen: Mapping[str, str], tables: Collection[str], beside: Collection[str] = ()
) -> list[Problem]:
    """Return what :func:`check_selection` refuses."""
    return [*_roles(use, chosen), *_tables(use, chosen, tables, beside)]


def readers(use: Use, chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the plugins that read their tables in a file, by role."""
    return {role: chosen.get(role, ROLES[role].default) for role in use.tables}


def _roles(use: Use, chosen: Mapping[str, str]) -> Iterator[Problem]:
    for role in chosen:
        if role in ROLES and role not in use.roles:
            yield Problem(f"plugins.{role}", f"{use.file} does not decide who fills the role {role}: {_DECIDED[role]}")
        yield from _no_role(role)


def _no_role(role: str) -> Iterator[Problem]:
    if role not in ROLES:
        yield Problem(f"plugins.{path_of_key(role)}", f"is no role (roles: {', '.join(ROLES)})")


def _tables(use: Use, chosen: Mapping[str, str], tables: Collection[str], beside: Collection[str]) -> Iterator[Problem]:
    read = readers(use, chosen)
    for name in sorted(set(tables) - set(read.values()) - set(beside)):
        asked = ", ".join(f"{role} = {plugin}" for role, plugin in read.items())
        yield Problem(path_of_key(name), f"nobody reads this table: the plugins that {use.file} is for are {asked}")
