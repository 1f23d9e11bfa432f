"""The machine's side: what logs it in to its targets."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from terra_core.hookspecs import BootStep, RenderedFile, Target
from terra_iscsi.planning import secret_of

_ACCOUNT = "etc/terra-iscsi/account"
_OPEN_ISCSI = "etc/iscsi.initramfs"
"""What the script local-top/iscsi of open-iscsi reads before it logs in to the target that the kernel line names."""


def connect(targets: Sequence[Target]) -> BootStep:
    """Return the step that logs in to the targets of a machine.

    :param targets: the one that it boots from first.
    """
    script = resources.files(__package__).joinpath("connect").read_text()
    secret = secret_of(targets[0])
    account = f"ISCSI_USERNAME={targets[0].client}\nISCSI_PASSWORD={secret}\n".encode()
    paths = (_ACCOUNT, _OPEN_ISCSI) if secret else ()
    files = tuple(RenderedFile(path=path, content=account, mode=0o600) for path in paths)
    return BootStep(script=script, modules=("iscsi_tcp",), needs=("iscsistart",), files=files)
