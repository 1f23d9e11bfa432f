"""What every file of Terra's may say about images: who fetches them, and whose are taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import Factory, frozen

from terra_core.config.loader import Document, make_document, read_table
from terra_core.config.trust import Trust
from terra_core.config.values import PluginName


@frozen(kw_only=True)
class Parts:
    """A part of server.toml, node.toml or controller.toml.

    :param plugins: the plugin of each role, where it is not the default.
    :param trust: whose images are taken; anybody's when left out.
    """

    plugins: Mapping[str, PluginName] = Factory(dict)
    trust: Trust | None = None


def load_parts(source: str, owners: Collection[str]) -> Document[Parts]:
    """Read any of Terra's files, for these parts of it and for the tables of plugins, whatever else it says.

    :param source: a path, an ``http://`` or ``https://`` URL, or ``-`` for standard input.
    :param owners: the names of the installed plugins.
    :raises ConfigError: with every problem of these parts.
    """
    name, raw = read_table(source)
    wanted = {key: raw[key] for key in raw if key in ("plugins", "trust") or key in owners}
    return make_document(wanted, Parts, source=name, owners=owners)
