"""``terra apply``: machines become what their files say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from terra_core.cli.forms import json_option
from terra_core.cli.terminal import echo
from terra_core.cli.waiting import seconds_of, wait_for_boots, waiting_options

if TYPE_CHECKING:
    from terra_core.client.answers import NodeProvisioned, PlanShown
    from terra_core.client.controller import ControllerClient
    from terra_core.config.loader import Document
    from terra_core.config.node import NetworkNode
    from terra_core.errors import TerraError

    Documents = Mapping[str, Document[NetworkNode]]

_JOBS = 8
_MARKS = {"create": "+", "change": "~", "refused": "!", "unchanged": " "}
_SAID = {"create": "is made", "change": "changes", "refused": "cannot be changed so", "unchanged": "is as its file says"}
_DONE = {"create": "created", "change": "changed", "unchanged": "unchanged", "failed": "failed"}


@click.command("apply")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change, and change nothing.")
@json_option("Print JSON: each machine with its plan and what came of it.", otherwise="text")
@click.option("--jobs", type=click.IntRange(1, 64), default=_JOBS, show_default=True, help="How many machines at a time.")
@waiting_options
@click.argument("sources", metavar="FILE...", nargs=-1, required=True)
@click.pass_context
def command(
    ctx: click.Context, only_plan: bool, json_wanted: bool, jobs: int, wait: str | None, timeout: str, sources: Sequence[str]
) -> int:
    """Make machines what their files say: new ones are provisioned, others changed in place, and nothing is done twice.

    FILE is a node.toml, a directory of such files, a URL, or - for standard input. What will change is shown first. A machine
    whose file cannot be applied to it in place is left as it is, and the others go on. With --wait, a machine that is booted
    and was not changed since counts at once. Exit code 1 when any failed, 2 when files are wrong.
    """
    if only_plan and wait:
        raise click.UsageError("--plan changes nothing, so that there is nothing to --wait for.")
    import json

    from terra_core.cli.connection import connect, following
    from terra_core.cli.inputs import read_inputs

    seconds = seconds_of(timeout)
    inputs = read_inputs(sources)
    for name in inputs.others:
        echo(f"{name}: is no node.toml, and is left alone", err=True)
    for error in inputs.wrong.values():
        echo(f"Error: {error}", err=True)
    client = connect(ctx) if inputs.documents else None
    with following():
        planned = _plan(client, inputs.documents, jobs) if client else {}
    if not json_wanted:
        _refuse_together(planned)
        for line in _lines(planned, inputs.documents):
            echo(line)
    results: dict[str, NodeProvisioned | TerraError] = {}
    if client is not None and not only_plan:
        results = _carry_out(client, inputs.documents, planned, jobs)
    outcomes = {name: _outcome(plan, results.get(name), only_plan) for name, plan in planned.items()}
    if json_wanted:
        rows = [_row(name, planned[name], results.get(name), outcomes[name], inputs.documents) for name in planned]
        wrong = [{"source": source, "outcome": "failed", "error": str(error)} for source, error in inputs.wrong.items()]
        echo(json.dumps([*rows, *wrong], indent=1))
    failed = list(outcomes.values()).count("failed")
    if not only_plan:
        counts = {word: list(outcomes.values()).count(word) for word in _DONE.values()}
        counts["failed"] += len(inputs.wrong)
        echo(", ".join(f"{counts[word]} {word}" for word in _DONE.values()), err=True)
    current = [name for name, outcome in outcomes.items() if outcome != "failed"]
    if client is not None and wait and current:
        wait_for_boots(client, current, seconds)
    return 1 if failed else max((error.exit_code for error in inputs.wrong.values()), default=0)


def _plan(client: ControllerClient, documents: Documents, jobs: int) -> dict[str, PlanShown | TerraError]:
    from concurrent.futures import ThreadPoolExecutor

    from terra_core.errors import InterruptedWork, TerraError

    def one(document: Document[NetworkNode]) -> PlanShown | TerraError:
        try:
            return client.plan(document)
        except InterruptedWork:
            raise
        except TerraError as error:
            return error

    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(documents, pool.map(one, documents.values()), strict=True))


def _refuse_together(planned: Mapping[str, PlanShown | TerraError]) -> None:
    """Raise what was said of all of several machines alike, once: nobody answers, or the token is wrong."""
    from terra_core.errors import TerraError

    errors = [plan for plan in planned.values() if isinstance(plan, TerraError)]
    if len(errors) == len(planned) > 1 and len(set(map(str, errors))) == 1:
        raise errors[0]


def _carry_out(
    client: ControllerClient, documents: Documents, planned: Mapping[str, PlanShown | TerraError], jobs: int
) -> dict[str, NodeProvisioned | TerraError]:
    from terra_core.cli.connection import for_each, said_of
    from terra_core.client.answers import PlanShown
    from terra_core.errors import TerraError
    from terra_core.system.progress import Event, Report

    versions = {
        name: plan.version
        for name, plan in planned.items()
        if isinstance(plan, PlanShown) and plan.action in ("create", "change")
    }

    def apply(name: str, report: Report) -> NodeProvisioned:
        node = client.apply(documents[name], report, version=versions[name])
        report(Event("done", "it is as its file says", 1, 1, "steps"))
        return node

    if not versions:
        return {}
    results = for_each(list(versions), jobs, apply)
    for name, result in results.items():
        if isinstance(result, TerraError):
            echo(f"Error: {said_of(name, result)}", err=True)
    return results


def _lines(planned: Mapping[str, PlanShown | TerraError], documents: Documents) -> Iterator[str]:
    """Yield what will change, as a person reads it."""
    from terra_core.client.answers import PlanShown
    from terra_core.system.text import one_line

    for name, plan in planned.items():
        if not isinstance(plan, PlanShown):
            yield f"! {name}: is left as it is ({documents[name].source})"
            yield from (f"    {line}" for line in str(plan).split("\n"))
            continue
        yield f"{_MARKS[plan.action]} {name}: {_SAID[plan.action]} ({documents[name].source})"
        for change in plan.changes:
            mark = "!" if not change.possible else "~" if change.former and change.wanted else "-" if change.former else "+"
            values = " -> ".join(filter(None, (change.former, change.wanted)))
            yield one_line(f"    {mark} {change.path}: {values}")
            if change.note:
                yield f"        {change.note}"
        yield from (f"    note: {note}" for note in plan.notes)


def _outcome(plan: PlanShown | TerraError, result: NodeProvisioned | TerraError | None, only_plan: bool) -> str:
    from terra_core.client.answers import PlanShown
    from terra_core.errors import TerraError

    if not isinstance(plan, PlanShown) or plan.action == "refused" or isinstance(result, TerraError):
        return "failed"
    return "planned" if only_plan and plan.action != "unchanged" else _DONE[plan.action]


def _row(
    name: str,
    plan: PlanShown | TerraError,
    result: NodeProvisioned | TerraError | None,
    outcome: str,
    documents: Documents,
) -> dict[str, Any]:
    from terra_core.client.answers import PlanShown, as_json
    from terra_core.errors import TerraError

    row: dict[str, Any] = {"source": documents[name].source, "hostname": name, "outcome": outcome}
    if isinstance(plan, PlanShown):
        row["plan"] = as_json(plan)
    error = plan if isinstance(plan, TerraError) else result if isinstance(result, TerraError) else None
    if error is not None:
        row["error"] = str(error)
    elif result is not None and not isinstance(result, TerraError):
        row["node"] = as_json(result)
    return row
