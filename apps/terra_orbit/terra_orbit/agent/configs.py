"""The files of ``[configs]``: written on the host for each revision, and mounted into its container."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from terra_core.errors import NotFoundError, TerraError
from terra_core.system.reading import read_regular
from terra_orbit.vhost import CONFIG_LIMIT, ConfigFile, Vhost


def check_sources(vhost: Vhost) -> None:
    """Make sure that everything of the host's that a container wants is there.

    :raises NotFoundError: when something is not; names it.
    """
    for at, mount in enumerate(vhost.mounts):
        if mount.source is not None and not Path(mount.source).exists():
            raise NotFoundError(f"mounts[{at}].source: {mount.source} is not there", hint="make it, or mend vhost.toml")
    for name, config in vhost.configs.items():
        if config.source is not None and not Path(config.source).is_file():
            raise NotFoundError(f"configs.{name}.source: {config.source} is not a file", hint="make it, or mend vhost.toml")


def write_configs(vhost: Vhost, directory: Path) -> dict[str, Path]:
    """Write the files of one revision, in place of what is there.

    :param directory: of the revision; made when it is not there, for root's eyes only.
    :returns: where each of them is.
    :raises TerraError: when one cannot be read or written.
    """
    if not vhost.configs:
        return {}
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return {name: _write(config, directory / name) for name, config in vhost.configs.items()}
    except OSError as error:
        raise TerraError(f"{error.filename or directory}: {error.strerror}") from error


def remove_configs(directory: Path) -> None:
    """Remove the files of a revision, or of all of them."""
    shutil.rmtree(directory, ignore_errors=True)


def same_content(vhost: Vhost, written: Mapping[str, Path]) -> bool:
    """Return whether the files that were written are those that would be written now."""
    for name, config in vhost.configs.items():
        try:
            if written[name].read_bytes() != _content(config):
                return False
        except OSError:
            return False
    return True


def _write(config: ConfigFile, path: Path) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_content(config))
        os.fchown(file.fileno(), config.uid, config.gid)
        os.fchmod(file.fileno(), int(config.mode, 8))
    return path


def _content(config: ConfigFile) -> bytes:
    """Return a file's text; for a container of an earlier version, the content of the host's file that it names."""
    return (config.content or "").encode() if config.source is None else read_regular(Path(config.source), CONFIG_LIMIT)
