"""``terra upgrade HOST... --image IMAGE``: machines of a controller get another image."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from terra_core.cli.connection import following, for_each
from terra_core.cli.terminal import echo
from terra_core.client.answers import NodeShown, UpgradePlanShown, as_json
from terra_core.errors import TerraError
from terra_core.system.progress import Event

if TYPE_CHECKING:
    from terra_core.client.controller import ControllerClient
    from terra_core.config.values import ImageReference

_JOBS = 8
_PAUSE_SECONDS = 2.0
_ENDED = frozenset({"kept", "left"})


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
    for at, batch in enumerate(order.batches):
        found = for_each(batch, _JOBS, lambda name, report: client.upgrade(name, order.image, report))
        for name, node in found.items():
            _tell(name, node, order)
        if order.wait is not None:
            going = [name for name, node in found.items() if isinstance(node, NodeShown) and _is_going(node)]
            found |= _wait(client, going, order.wait)
        shown |= found
        left = names[sum(map(len, order.batches[: at + 1])) :]
        if left and any(not _is_well(node, order) for node in found.values()):
            echo(f"Error: {len(left)} machines are not upgraded, as one before them is not well: {', '.join(left)}", err=True)
            break
    if order.form == "json":
        rows = {name: {"error": str(node)} if isinstance(node, TerraError) else as_json(node) for name, node in shown.items()}
        echo(json.dumps(rows, indent=1))
    done = len(shown) == len(names) and all(_is_well(node, order) for node in shown.values())
    return 0 if done else 1


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
            echo(f"Error: {name}: {plan}", err=True)
        elif order.form != "json":
            _print(plan)
    return 1 if any(isinstance(plan, TerraError) for plan in plans.values()) else 0


def _print(plan: UpgradePlanShown) -> None:
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
        echo(f"Error: {name}: {node}", err=True)
    elif not _is_going(node):
        echo(f"{name} has {order.image} already", err=True)
    elif node.upgrade is not None and node.upgrade.phase == "waiting":
        echo(f"{name}: the next version is made; restart it, with ten seconds or more between off and on", err=True)
    else:
        echo(f"{name} boots {order.image} when it is switched on", err=True)


def _wait(client: ControllerClient, names: Sequence[str], seconds: int) -> dict[str, NodeShown | TerraError]:
    """Wait until machines are well or have gone back, and tell what becomes of each."""
    deadline, found, phases = time.monotonic() + seconds, dict[str, NodeShown | TerraError](), dict[str, str]()
    with following() as report:
        while left := [name for name in names if name not in found]:
            for name in left:
                node = client.node(name)
                upgrade = node.upgrade
                phase = upgrade.phase if upgrade is not None else "left"
                if phases.get(name) != phase:
                    report(Event("upgrade", f"{name}: {phase}{f': {upgrade.reason}' if upgrade and upgrade.reason else ''}"))
                phases[name] = phase
                if phase in _ENDED or phase == "returning":
                    found[name] = node
                elif time.monotonic() >= deadline:
                    found[name] = TerraError(f"it is not upgraded yet, after {seconds} seconds: {phase}")
            if len(found) < len(names):
                threading.Event().wait(_PAUSE_SECONDS)
    for name, one in found.items():
        if isinstance(one, TerraError):
            echo(f"Error: {name}: {one}", err=True)
        elif one.upgrade is not None and one.upgrade.phase == "kept":
            echo(f"{name} is upgraded, and is well", err=True)
        else:
            reason = one.upgrade.reason if one.upgrade is not None else ""
            echo(f"Error: {name} goes back to {one.image}: {reason}", err=True)
    return found


def _is_going(node: NodeShown) -> bool:
    return node.upgrade is not None and node.upgrade.phase in ("waiting", "trial")


def _is_well(node: NodeShown | TerraError, order: Order) -> bool:
    if isinstance(node, TerraError):
        return False
    if order.wait is None or node.upgrade is None:
        return True
    return node.upgrade.phase == "kept" or (str(order.image) == node.image and not _is_going(node))
