"""What schemathesis finds out about an API: it asks what the OpenAPI document says, and what that does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from terra_core.system.process import Argument, Completed, run

_Command = Callable[[Sequence[Argument]], Sequence[Argument]]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
"""What has to hold. Not among them: that all which fits the document is taken, as it cannot say everything about a machine."""
SECONDS = int(os.environ.get("TERRA_API_SECONDS", "20"))
"""How long one API is asked; `make test-api` asks longer."""


def explore(command: _Command, url: str, token: str, work: Path, *, authority: Path | None = None) -> Completed:
    """Ask an API for :data:`SECONDS`; the code of the program is 0 when nothing was found.

    :param command: gives the words that run others where the API can be reached.
    :param url: the API's.
    :param token: its token, which may do everything.
    :param work: a directory for what the program writes.
    :param authority: who signed the API's certificate; nobody has to where this is left out.
    """
    settings = work / "schemathesis.toml"
    settings.write_text('headers = { Authorization = "Bearer ${TERRA_TOKEN}" }\n')  # no argument, which everybody could see
    words: list[Argument] = [Path(sys.executable).with_name("schemathesis"), "--config-file", settings, "run"]
    words += [f"{url}/schema/openapi.json", "--max-time", str(SECONDS), "--checks", ",".join(CHECKS)]
    words += ["--tls-verify", authority] if authority else []
    words += ["--phases", "examples,coverage,fuzzing", "--no-color", "--request-timeout", "30", "--no-shrink"]
    environment = {"TERRA_TOKEN": token, "HYPOTHESIS_STORAGE_DIRECTORY": str(work / "hypothesis"), "HOME": str(work)}
    return run(command(words), timeout=SECONDS * 4 + 120, accept=range(256), env=environment, cwd=work)
