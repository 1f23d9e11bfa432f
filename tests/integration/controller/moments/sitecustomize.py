"""Holds the work of a controller at any moment that it is told, so that the controller can be killed just there.

Python imports this when it starts with the directory in PYTHONPATH. A moment is an event that the work reports, or a change
that it is about to make (an audit event of Python's: a file opened for writing, made, renamed or removed, a program started),
or a transaction that was written. It is named by the kind of the work, the step that was reported last, and a number within it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHANGES = frozenset({
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.setxattr", "subprocess.Popen", "fcntl.ioctl", "shutil.rmtree",
})  # fmt: skip
_own = threading.local()


def moment() -> None:
    """Count a moment of the work that this thread does; wait for ever if it is the one that was asked for."""
    work = getattr(_own, "work", None)
    if work is None or _own.busy:
        return
    _own.busy = True
    try:
        key = f"{work['kind']}/{_own.step}"
        work["seen"][key] += 1
        if work["order"] == [_own.step, work["seen"][key]]:
            (HERE / "held" / work["name"]).touch()
            threading.Event().wait()
    finally:
        _own.busy = False


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Take an audit event for a moment, if it is a change."""
    if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
        moment()


def install() -> None:
    """Take part in the work of the controller."""
    from terra_core.controller.store import Store
    from terra_core.service import operations

    daemon: Any = operations
    kept: Any = Store
    run, report, transaction = daemon._run, daemon.Operation.report, kept._transaction

    def counted(operation: Any, work: Any) -> None:
        name = f"{operation.kind}-{operation.subject}".replace("/", "_")
        order = HERE / "orders" / name
        _own.busy, _own.step = False, "begin"
        wanted = json.loads(order.read_text()) if order.exists() else None
        _own.work = {"kind": operation.kind, "name": name, "order": wanted, "seen": Counter()}
        run(operation, work)
        _own.busy = True
        (HERE / name).write_text(json.dumps(_own.work["seen"]))
        (HERE / name).rename(HERE / "ended" / name)
        _own.work = None

    def reported(operation: Any, event: Any) -> None:
        report(operation, event)
        _own.step = event.step
        moment()

    class Written:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __enter__(self) -> Any:
            return self._inner.__enter__()

        def __exit__(self, *failure: object) -> Any:
            done = self._inner.__exit__(*failure)
            moment()
            return done

    daemon._run = counted
    daemon.Operation.report = reported
    kept._transaction = lambda own: Written(transaction(own))
    sys.addaudithook(watch)


if "controller" in sys.orig_argv and "--stop" not in sys.orig_argv:
    install()
