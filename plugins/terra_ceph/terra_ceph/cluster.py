"""Asking the cluster, by ``rbd`` and ``ceph`` (rbd(8), ceph(8))."""

from __future__ import annotations

import errno
import re
from collections.abc import Collection

from attrs import frozen

from terra_ceph.settings import NAME, Settings
from terra_core.config.session import Session
from terra_core.errors import CommandError, CommandTimeout, NotFoundError, TerraError
from terra_core.system.process import Completed, run
from terra_core.system.reading import lines_of

_SECONDS = 120.0
_MONITOR_SECONDS = 20
"""How long a program asks for a monitor that answers; Ceph's own time is five minutes."""
_NO_POOL = "error opening pool"
_NOT_CONNECTED = re.compile(r"rbd: (couldn't connect to the cluster|couldn't initialize rados)")
"""What ``rbd`` says that has asked nothing. Where its user has no keyring, it ends with ENOENT, as for a missing image."""
_LOGGED = re.compile(r"\d{4}-\d\d-\d\dT\S+ [0-9a-f]+ +-?\d+ ")
_NO_ANSWER = (errno.ETIMEDOUT,)


@frozen
class Cluster:
    """A cluster, as a user that it knows.

    :param config: the file with its monitors and the user's keyring.
    :param user: the user, without ``client.``.
    """

    config: str
    user: str

    @classmethod
    def of(cls, session: Session) -> Cluster:
        """Return the cluster of a controller.

        :raises ConfigError: when the table ``[ceph]`` is wrong.
        """
        settings = session.settings(NAME, Settings)
        return cls(settings.config, settings.user)

    def rbd(self, *words: str, accept: Collection[int] = (0,), seconds: float = _SECONDS) -> Completed:
        """Run ``rbd``; it ends with the number of the error that it met.

        :param accept: the exit codes that mean success.
        :param seconds: how long it may take.
        :raises NotFoundError: when there is no such pool.
        :raises TerraError: with what it said, or when the cluster does not answer, or takes no user of this name.
        """
        done = self._ask("rbd", words, {*accept, errno.ENOENT}, seconds)
        said = done.stderr.decode(errors="replace")
        if done.code and _NOT_CONNECTED.search(said):
            raise TerraError(
                f"rbd does not get into the Ceph cluster of {self.config}: {_in_one_line(said)}",
                hint=f"does that file name its monitors, and is the keyring of client.{self.user} there? "
                f"See: ceph auth get client.{self.user}",
            )
        if done.code and _NO_POOL in said:
            raise NotFoundError(
                f"{said.strip()}: the cluster of {self.config} has no such pool, or client.{self.user} may not use it",
                hint="make it: ceph osd pool create POOL && rbd pool init POOL; or name another one as [ceph] pool",
            )
        if done.code not in accept:
            raise CommandError(f"rbd {' '.join(words)}: {said.strip()}")
        return done

    def ceph(self, *words: str) -> Completed:
        """Run ``ceph``, which asks the monitors.

        :raises TerraError: with what it said, or when the cluster does not answer.
        """
        return self._ask("ceph", words, (0,), _SECONDS)

    def _ask(self, program: str, words: tuple[str, ...], accept: Collection[int], seconds: float) -> Completed:
        who = ("--conf", self.config, "--id", self.user, "--rados_mon_op_timeout", str(_MONITOR_SECONDS))
        away = (f"--client_mount_timeout={_MONITOR_SECONDS}",)
        try:
            done = run([program, *who, *away, *words], accept={*accept, *_NO_ANSWER, errno.ESHUTDOWN}, timeout=seconds)
        except CommandTimeout as error:
            raise self._silent(f"{program} has not ended after {seconds:g} seconds") from error
        if done.code == errno.ESHUTDOWN:
            raise TerraError(
                f"the Ceph cluster of {self.config} refuses this host, which was fenced",
                hint="end all that has its images open, then let it in by its address: see ceph osd blocklist ls",
            )
        if done.code in _NO_ANSWER and done.code not in accept:
            said = _in_one_line(done.stderr.decode(errors="replace"))
            raise self._silent(f"no monitor let {program} in for {_MONITOR_SECONDS} seconds: {said}")
        return done

    def _silent(self, what: str) -> TerraError:
        return TerraError(
            f"the Ceph cluster of {self.config} does not answer: {what}",
            hint=f"see how it is: ceph --conf {self.config} --id {self.user} --connect-timeout 10 -s",
        )


def _in_one_line(said: str) -> str:
    lines = (_LOGGED.sub("", line.strip()) for line in lines_of(said))
    return "; ".join(dict.fromkeys(line for line in lines if line and not line.startswith("AuthRegistry(")))
