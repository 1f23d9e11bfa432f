"""``terra upgrade HOST... --image IMAGE``: machines of a controller get another image."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from terra_core.cli.connection import following, for_each, said_of
from terra_core.cli.terminal import echo
from terra_core.cli.upgrades import upgrade_line
from terra_core.client.answers import NodeShown, UpgradePlanShown, as_json
from terra_core.client.connection import NobodyAnswersError
from terra_core.errors import InterruptedWork, NotFoundError, TerraError
from terra_core.system.progress import Event, Report

if TYPE_CHECKING:
    from terra_core.client.controller import ControllerClient
    from terra_core.config.values import ImageReference

_JOBS = 8
_PAUSE_SECONDS = 2.0
_GOING = frozenset({"waiting", "trial"})


@frozen(kw_only=True)
class Order:
    """What was asked for.

    :param image: the image.
    :param only_plan: whether to change nothing.
    :param form: ``table`` or ``json``.
    :param wait: how long to wait until the machines have it and are well, in seconds; ``None`` for not at all.
    :param batches: which machines are upgraded together; the next ones begin when all of them are well.
    """

    image: ImageReference
    only_plan: bool
    form: str
    wait: int | None
    batches: Sequence[Sequence[str]]


def batches_of(names: Sequence[str], canary: int, then: str) -> list[list[str]]:
    """Return which machines are upgraded together.

    :param canary: how many are first; 0 for all at once.
    :param then: how many of all follow at a time: a number, or a percentage.
    :raises ValueError: when ``then`` is neither.
    """
    if not canary:
        return [list(names)]
    number, percent = then.removesuffix("%"), then.endswith("%")
    if not number.isascii() or not number.isdigit() or int(number) == 0 or (percent and int(number) > 100):
        raise ValueError(f'expected a number of machines, or a share such as "20%", got {then!r}')
    size = max(1, len(names) * int(number) // 100) if percent else int(number)
    rest = list(names[canary:])
    return [list(names[:canary]), *(rest[at : at + size] for at in range(0, len(rest), size))]


def carry_out(client: ControllerClient, order: Order) -> int:
    """Upgrade machines, or show what that would do; return the exit code."""
    names = [name for batch in order.batches for name in batch]
    if order.only_plan:
        return _plan(client, order, names)
    shown: dict[str, NodeShown | TerraError] = {}
    well: set[str] = set()
    for at, batch in enumerate(order.batches):
        found, good = _upgrade(client, order, batch)
        shown, well = shown | found, well | good
        left = names[sum(map(len, order.batches[: at + 1])) :]
        if left and not well.issuperset(batch):
            echo(f"Error: {len(left)} machines are not upgraded, as one before them is not well: {', '.join(left)}", err=True)
            break
    if order.form == "json":
        rows = {name: {"error": str(node)} if isinstance(node, TerraError) else as_json(node) for name, node in shown.items()}
        echo(json.dumps(rows, indent=1))
    return 0 if well.issuperset(names) else 1


def _upgrade(
    client: ControllerClient, order: Order, batch: Sequence[str]
) -> tuple[dict[str, NodeShown | TerraError], set[str]]:
    """Upgrade machines together; return what became of each, and which ones have the image or are on their way to it."""
    going: dict[str, NodeShown] = {}

    def begun(name: str, report: Report) -> NodeShown:
        node = client.upgrade(name, order.image, report)
        if _is_going(node):
            going[name] = node
        return node

    try:
        found = for_each(batch, _JOBS, begun)
        for name, node in found.items():
            _tell(name, node, order)
        well = {name for name, node in found.items() if not isinstance(node, TerraError)}
        if order.wait is not None:
            found |= _wait(client, going, order)
            well = {name for name in well if name not in going or _is_well(found[name], going[name])}
    except (KeyboardInterrupt, InterruptedWork):
        if going:
            names = " ".join(sorted(going))
            echo(f"these machines go on with their upgrade by themselves; terra rollback {names} ends it", err=True)
        raise
    return found, well


def _plan(client: ControllerClient, order: Order, names: Sequence[str]) -> int:
    plans: dict[str, UpgradePlanShown | TerraError] = {}
    for name in names:
        try:
            plans[name] = client.plan_upgrade(name, order.image)
        except TerraError as error:
            plans[name] = error
    if order.form == "json":
        rows = {name: {"error": str(plan)} if isinstance(plan, TerraError) else as_json(plan) for name, plan in plans.items()}
        echo(json.dumps(rows, indent=1))
    for name, plan in plans.items():
        if isinstance(plan, TerraError):
            echo(f"Error: {said_of(name, plan)}", err=True)
        elif order.form != "json":
            _print(plan)
    return 1 if any(isinstance(plan, TerraError) for plan in plans.values()) else 0


def _print(plan: UpgradePlanShown) -> None:
    if plan.action == "under way":
        echo(f"{plan.hostname}: is on its way to {plan.image} ({plan.digest}): there is nothing more to do")
        return
    if plan.action == "unchanged":
        echo(f"{plan.hostname}: has {plan.image} ({plan.digest}) already: there is nothing to do")
        return
    echo(f"{plan.hostname}: {plan.former} ({plan.former_digest})")
    echo(f"  to {plan.image} ({plan.digest})")
    for line in plan.kept:
        echo(f"  kept    {line}")
    for line in plan.notes:
        echo(f"  note    {line}")


def _tell(name: str, node: NodeShown | TerraError, order: Order) -> None:
    if isinstance(node, TerraError):
        echo(f"Error: {said_of(name, node)}", err=True)
    elif not _is_going(node):
        echo(f"{name} has {order.image} already", err=True)
    elif node.upgrade is not None and node.upgrade.phase == "waiting":
        echo(f"{name}: the next version is made; restart it, with half a minute or more between off and on", err=True)
    else:
        echo(f"{name} boots {order.image} when it is switched on", err=True)


@define
class _Waiting:
    """Waits for machines that are on their way to an image.

    :param going: the machines.
    :param found: what became of those that are at the end of it.
    """

    client: ControllerClient
    order: Order
    going: Collection[str]
    report: Report
    found: dict[str, NodeShown | TerraError] = field(factory=dict)
    _told: dict[str, str] = field(factory=dict)
    _lost: str = ""

    def look(self, *, late: bool) -> None:
        """Look at all of them once.

        :param late: whether the time is over.
        """
        nodes = self._nodes()
        for name in self.going:
            if name in self.found:
                continue
            node = nodes.get(name)
            if node is not None:
                self._see(node)
            elif not self._lost:
                self.found[name] = NotFoundError("it was deleted meanwhile")
            if late and name not in self.found:
                said = self._lost or self._told.get(name, "")
                self.found[name] = TerraError(f"it is not upgraded yet, after {self.order.wait} seconds: {said}")

    def _nodes(self) -> Mapping[str, NodeShown]:
        """Return all machines; none when the controller does not answer, such as one that is restarted."""
        try:
            nodes = self.client.nodes()
        except TerraError as error:
            if type(error) is not TerraError and not isinstance(error, NobodyAnswersError):  # the controller has answered
                raise
            if str(error) != self._lost:
                self.report(Event("upgrade", f"warning: {error.message}"))
            self._lost = str(error)
            return {}
        self._lost = ""
        return {node.hostname: node for node in nodes}

    def _see(self, node: NodeShown) -> None:
        said = _said_of(node)
        if self._told.get(node.hostname) != said:
            self.report(Event(node.hostname, said))
        self._told[node.hostname] = said
        if not _is_going(node) or str(self.order.image) != _wanted_of(node):
            self.found[node.hostname] = node


def _wait(client: ControllerClient, going: Mapping[str, NodeShown], order: Order) -> dict[str, NodeShown | TerraError]:
    """Wait until machines are well or have gone back, and tell what becomes of each."""
    deadline = time.monotonic() + (order.wait or 0)
    with following(side_by_side=True) as report:
        waiting = _Waiting(client, order, going, report)
        while len(waiting.found) < len(going):
            waiting.look(late=time.monotonic() >= deadline)
            if len(waiting.found) < len(going):
                threading.Event().wait(_PAUSE_SECONDS)
    for name, one in waiting.found.items():
        if isinstance(one, TerraError):
            echo(f"Error: {said_of(name, one)}", err=True)
        elif _is_well(one, going[name]):
            echo(f"{name} is upgraded, and is well", err=True)
        elif str(order.image) == _wanted_of(one) and one.upgrade is not None and one.upgrade.phase in ("returning", "left"):
            echo(f"Error: {name} goes back to {one.image}: {one.upgrade.reason}", err=True)
        else:
            echo(f"Error: {name} is not upgraded: {_said_of(one)}", err=True)
    return waiting.found


def _said_of(node: NodeShown) -> str:
    """Return where the upgrade of a machine stands."""
    return f"has {node.image}" if node.upgrade is None else upgrade_line(node.upgrade)


def _wanted_of(node: NodeShown) -> str:
    return node.upgrade.image if node.upgrade is not None else node.image


def _is_going(node: NodeShown) -> bool:
    return node.upgrade is not None and node.upgrade.phase in _GOING


def _is_well(node: NodeShown | TerraError, begun: NodeShown) -> bool:
    """Return whether a machine has what it was on its way to: by the digest, as the tag may be that of its former image.

    :param begun: the machine when it was on its way.
    """
    if isinstance(node, TerraError) or _is_going(node) or begun.upgrade is None:
        return False
    return node.digest == begun.upgrade.digest and (node.upgrade is None or node.upgrade.phase == "kept")
