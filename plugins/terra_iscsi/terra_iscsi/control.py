"""Talking to tgtd by tgtadm(8)."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from terra_core.errors import CommandError, CommandTimeout, TerraError
from terra_core.hookspecs import Backing
from terra_core.system.process import Completed, run
from terra_core.system.waiting import wait_until
from terra_iscsi.management import NO_TARGET, Change, change_account
from terra_iscsi.shown import Exported, parse_accounts, parse_portals, parse_sessions, parse_statistics, parse_targets

_SECONDS = 30
_PROBE_SECONDS = 5
_SILENT = (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.EIO)
"""The exit codes of tgtadm when no tgtd answers: it ends with the number of the error."""
REFUSED = 22
"""The exit code of tgtadm for anything that tgtd refused, with the reason on standard error."""
_REMOVAL_SECONDS = 30.0
_NO_THREADS = (
    "tgtd starts threads for each disk, [iscsi] threads or the 16 of a tgtd of the system's own: where memory is left, it may "
    "start no more of them; raise TasksMax of the unit that it is in (systemctl edit), pids.max of its container, "
    "vm.max_map_count, of which each thread takes two, or kernel.threads-max"
)
_SYSTEM_SOCKET = Path("/var/run/tgtd/socket")
_ATTEMPTS = 3
_MADE_UP = "what tgtd shows of its targets is made up, by the alias of a machine that is logged in to its disks"
_MAKER = (
    "no disk is given or taken away meanwhile. Its alias goes on in lines of its own: look for them in what this shows, and "
    "switch the machine off: tgtadm --lld iscsi --mode target --op show"
)
_NO_RBD = (
    "tgtd opens images of RBD where the package tgt-rbd was installed before it started, and only those that the user of the "
    "store may use: its log says more"
)
_NO_CACHE = "8:0:18:0x10:0:0xff:0xff:0:0:0xff:0xff:0xff:0xff:0x80:0x14:0:0:0:0:0:0"
"""The caching mode page (SBC-3, 6.5.5) with WCE = 0: what tgtd acknowledges is in the cluster, and not in a cache of librbd's.

A cache that is lost without the machine that wrote to it, with its tgtd, is one of which that machine is not told.
"""
RBD = "rbd"
"""The kind of backings that are images of RBD: their address is ``POOL/IMAGE``, their options are those of tgtd's bsopts."""
BY_NAME = "--initiator-name"
BY_ADDRESS = "--initiator-address"


class Hangs(TerraError):  # noqa: N818  # a state, not a fault of the one who asks
    """A tgtd accepts requests and does not answer them."""


@frozen
class Control:
    """The control socket of a tgtd.

    :param port: the number of the socket, tgtd's option ``-C``.
    :param socket: the socket's path without the number; the system's own tgtd when left out.
    """

    port: int
    socket: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment that tells tgtd and tgtadm where the socket is."""
        return {"TGT_IPC_SOCKET": str(self.socket)} if self.socket else {}

    @property
    def file(self) -> Path:
        """The path of the socket."""
        return Path(f"{self.socket or _SYSTEM_SOCKET}.{self.port}")

    def ask(self, *words: str, accept: Collection[int] = (0,), seconds: float = _SECONDS) -> Completed:
        """Run tgtadm.

        :param seconds: how long tgtd may take.
        :raises CommandError: with what tgtadm said.
        """
        args = ["tgtadm", "-C", str(self.port), "--lld", "iscsi", *words]
        try:
            return run(args, env=self.environment, accept=accept, timeout=seconds)
        except CommandTimeout:
            raise
        except CommandError as error:
            if "out of memory" in error.message:  # what tgtd says of any resource that it lacks
                raise CommandError(error.message, hint=_NO_THREADS) from error
            raise

    def answers(self) -> bool:
        """Return whether a tgtd answers.

        :raises Hangs: when there is one that does not answer.
        """
        return self._probe("system") is not None

    def portals_if_it_answers(self) -> frozenset[tuple[str, int]] | None:
        """Return what :meth:`portals` does; ``None`` when no tgtd answers.

        :raises Hangs: when there is one that does not answer.
        """
        shown = self._probe("portal")
        return None if shown is None else parse_portals(shown)

    def _probe(self, mode: str) -> str | None:
        try:
            shown = self.ask("--mode", mode, "--op", "show", accept=(0, *_SILENT), seconds=_PROBE_SECONDS)
        except CommandTimeout as error:
            raise Hangs(
                f"tgtd has not answered on its control socket {self.port} for {_PROBE_SECONDS} seconds, and hangs",
                hint="no machine gets a disk meanwhile: see what holds it (ps -o pid,stat,wchan:30,cmd -C tgtd), and end it",
            ) from error
        return shown.text if shown.code == 0 else None

    def targets(self) -> tuple[Exported, ...]:
        """Return every target.

        :raises TerraError: when what tgtd shows contradicts itself.
        """
        text = self.ask("--mode", "target", "--op", "show").text
        try:
            return parse_targets(text)
        except ValueError as error:
            raise TerraError(f"{_MADE_UP}: {error}", hint=_MAKER) from error

    def real_targets(self) -> tuple[Exported, ...]:
        """Return every target as :meth:`targets` does, where all sessions that are shown are there.

        To make up a target that tgtd has not, a machine has to make up a session of it.
        """
        for _ in range(_ATTEMPTS):  # one may end between the two questions
            shown = self.targets()
            sessions = {(one.id, session.id) for one in shown for session in one.sessions}
            if not sessions or sessions <= parse_sessions(self.ask("--mode", "sys", "--op", "stat").text):
                return shown
        raise TerraError(f"{_MADE_UP}: it shows sessions that are not there", hint=_MAKER)

    def portals(self) -> frozenset[tuple[str, int]]:
        """Address and port of every portal."""
        return parse_portals(self.ask("--mode", "portal", "--op", "show").text)

    def served(self) -> Mapping[int, tuple[int, int]]:
        """Return bytes read from and written to each target, by its number, by those that are logged in now."""
        return parse_statistics(self.ask("--mode", "sys", "--op", "stat", seconds=_PROBE_SECONDS).text)

    def add_unit(self, number: int, unit: int, backing: Backing) -> None:
        """Put a file, or an image of RBD, behind a logical unit of target ``number``.

        :raises TerraError: when tgtd cannot open it.
        """
        words = ["--tid", str(number), "--lun", str(unit), "--backing-store", backing.address]
        if backing.kind == RBD:
            words += ["--bstype", "rbd", "--bsopts", ";".join(f"{key}={value}" for key, value in backing.options.items())]
        try:
            self.ask("--mode", "logicalunit", "--op", "new", *words)
        except CommandTimeout:
            raise
        except CommandError as error:
            raise CommandError(error.message, hint=_NO_RBD if backing.kind == RBD else error.hint) from error
        if backing.kind == RBD:
            which = ("--tid", str(number), "--lun", str(unit))
            self.ask("--mode", "logicalunit", "--op", "update", *which, "--params", f"mode_page={_NO_CACHE}")

    def allow(self, number: int, initiator: str) -> bool:
        """Admit an initiator to target ``number`` by its name; return whether it was not admitted before."""
        words = ("--mode", "target", "--op", "bind", "--tid", str(number), BY_NAME, initiator)
        return self.ask(*words, accept=(0, REFUSED)).code == 0

    def disallow(self, number: int, rule: str, kinds: Sequence[str] = (BY_NAME, BY_ADDRESS)) -> bool:
        """Withdraw the admission of a name or an address; return whether there was any."""
        words = ("--mode", "target", "--op", "unbind", "--tid", str(number))
        codes = [self.ask(*words, kind, rule, accept=(0, REFUSED)).code for kind in kinds]
        return 0 in codes

    def accounts(self) -> frozenset[str]:
        """Return the names of all accounts, bound to a target or not."""
        return parse_accounts(self.ask("--mode", "account", "--op", "show").text)

    def require_secret(self, number: int, user: str, secret: str, *, known: bool) -> None:
        """Let nobody log in to target ``number`` who does not know the secret of an account.

        :param known: whether the account is there already, for another target; one that is there for none is made anew.
        :raises TerraError: when tgtd does not do so.
        """
        if not known:
            self.drop_account(user)
        made = known or self._change(Change.NEW, user, secret=secret)
        if not (made and self._change(Change.BIND, user, target=number)):
            raise TerraError(f"tgtd does not take the account {user} for target {number}")

    def release_account(self, number: int, user: str) -> bool:
        """Ask no longer for the secret of an account at target ``number``; return whether it was asked for."""
        return self._change(Change.UNBIND, user, target=number)

    def drop_account(self, user: str) -> bool:
        """Remove an account; return whether there was one."""
        return self._change(Change.DELETE, user)

    def _change(self, change: Change, user: str, *, secret: str = "", target: int = NO_TARGET) -> bool:
        return change_account(self.file, change, user, secret=secret, target=target, seconds=_SECONDS)

    def take_down(self, *exported: Exported) -> None:
        """Delete targets by force: nobody may log in any more, then until tgtd has finished what was under way.

        :raises TerraError: when one is still there after a while.
        """
        for one in exported:
            for rule in set(one.rules):
                self.disallow(one.id, rule)
        left = {(one.id, one.iqn) for one in exported}

        def gone() -> bool:
            for number, _ in sorted(left):
                words = ("--mode", "target", "--op", "delete", "--force", "--tid", str(number))
                self.ask(*words, accept=(0, REFUSED))
            left.intersection_update((one.id, one.iqn) for one in self.targets())  # one look for all of them
            return not left

        if left:
            names = ", ".join(one.iqn for one in exported[:3])
            wait_until(gone, seconds=_REMOVAL_SECONDS, what=f"tgtd to let go of {names}")
