"""The run that a plugin takes part in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from attrs import Factory, evolve, frozen

from terra_core.config.controller import THIS_MACHINE, Paths
from terra_core.config.problems import DocumentError
from terra_core.config.structure import StructureError, structure
from terra_core.system.progress import Report, silent

M = TypeVar("M")


@frozen(kw_only=True)
class Session:
    """One run: its file, its directories, and who listens to its progress.

    :param source: the name of the file that the tables come from, for errors.
    :param tables: the plugins' top-level tables of that file, each as parsed or as the plugin's model.
    :param paths: where a controller keeps what it owns.
    :param plain_http: whether the registry of the image that this run is about may be talked to without TLS.
    :param report: takes progress events, and may raise to end the work.
    """

    source: str = "configuration"
    tables: Mapping[str, object] = Factory(dict)
    paths: Paths = THIS_MACHINE
    plain_http: bool = False
    report: Report = silent

    def settings(self, name: str, model: type[M]) -> M:
        """Return the top-level table ``name``, structured; the model's defaults where the file has no such table.

        :raises ConfigError: with every problem of the table.
        """
        try:
            table = self.tables.get(name, {})
            return table if isinstance(table, model) else structure(table, model)
        except StructureError as error:
            raise DocumentError(self.source, [problem.below(name) for problem in error.problems]) from None

    def structured(self, name: str, model: type[object]) -> Session:
        """Return the same session with the table ``name`` as its model, where the file has such a table.

        :raises ConfigError: with every problem of the table.
        """
        if name not in self.tables or isinstance(self.tables[name], model):
            return self
        return evolve(self, tables={**self.tables, name: self.settings(name, model)})

    def reporting_to(self, report: Report) -> Session:
        """Return the same session with another listener."""
        return evolve(self, report=report)
