"""All that tgtd exports, read once and kept up to date while targets are made and taken down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from terra_core.errors import ConflictError
from terra_core.hookspecs import Target
from terra_iscsi.shown import Exported


class Look:
    """What is exported, by number, by name and by file: to ask again for each target would take quadratic time.

    :param everything: from :meth:`terra_iscsi.control.Control.targets`.
    """

    def __init__(self, everything: Iterable[Exported]) -> None:
        self._by_id: dict[int, Exported] = {}
        self._by_iqn: dict[str, Exported] = {}
        self._by_file: dict[str, list[Exported]] = {}
        self._accounts: Counter[str] = Counter()
        for one in everything:
            self.add(one)

    def add(self, exported: Exported) -> None:
        """Take note of a target that is there now."""
        self._by_id[exported.id] = exported
        self._by_iqn[exported.iqn] = exported
        self._accounts.update(exported.accounts)
        for path in exported.luns.values():
            self._by_file.setdefault(path, []).append(exported)

    def drop(self, exported: Exported) -> None:
        """Take note of a target that is there no longer."""
        self._by_id.pop(exported.id, None)
        self._by_iqn.pop(exported.iqn, None)
        self._accounts.subtract(exported.accounts)
        for path in exported.luns.values():
            self._by_file[path] = [one for one in self._by_file.get(path, ()) if one.id != exported.id]

    def has_account(self, user: str) -> bool:
        """Return whether any target asks for the secret of an account."""
        return self._accounts[user] > 0

    def of(self, target: Target, files: Iterable[str]) -> Exported | None:
        """Return the target as it is exported now, if it is.

        :param files: the files behind it.

        :raises ConflictError: when its number, name or a file belongs to another one.
        """
        for one in (self._by_id.get(target.id), self._by_iqn.get(target.name)):
            if one is not None and (one.id == target.id) != (one.iqn == target.name):
                raise ConflictError(
                    f"{target.name} cannot be exported as target {target.id}: tgtd has {one.iqn} as target {one.id}",
                    hint=f"if nobody needs that one: tgtadm --lld iscsi --mode target --op delete --force --tid {one.id}",
                )
        for path in files:
            for one in self._by_file.get(path, ()):
                if one.id != target.id:
                    raise ConflictError(f"{path}: is exported by {one.iqn} as well, and two writers destroy it")
        return self._by_id.get(target.id)
