"""Where packages come from: a distribution's release, its mirrors as the host's apt knows them, and how to reach those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from terra_core.errors import TerraError
from terra_core.system.process import run

_SUITES = {"debian": "trixie", "ubuntu": "noble"}
_COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
_FIELDS = "$(CREATED_BY)|$(ORIGIN)|$(RELEASE)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)"
_REACHED_BY = ("Acquire::http::", "Acquire::https::", "Acquire::Retries", "Acquire::Check-Valid-Until", "Acquire::Check-Date")


@frozen(kw_only=True)
class Origin:
    """Where packages come from.

    :param distro: ``debian`` or ``ubuntu``.
    :param suite: the release, by code name.
    :param mirror: a mirror's URL; empty for what the host's apt configuration says.
    """

    distro: str
    suite: str
    mirror: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Origin:
        """Return the origin that DISTRO, SUITE and MIRROR name.

        :raises TerraError: when DISTRO is not known, or SUITE or MIRROR would not be read as such.
        """
        distro = environment.get("DISTRO") or "debian"
        if distro not in _SUITES:
            raise TerraError(f"DISTRO={distro}: expected one of {', '.join(_SUITES)}")
        suite = environment.get("SUITE") or _SUITES[distro]
        mirror = environment.get("MIRROR") or ""
        if not suite.replace("-", "").isalnum() or suite.startswith("-"):
            raise TerraError(f"SUITE={suite}: expected a release by its code name, such as {_SUITES[distro]}")
        if mirror and ("://" not in mirror or not mirror[0].isalpha() or len(mirror.split()) != 1):
            raise TerraError(f"MIRROR={mirror}: expected the URL of a mirror of {distro}")
        return cls(distro=distro, suite=suite, mirror=mirror)

    @property
    def components(self) -> tuple[str, ...]:
        """The parts of the distribution that the recipes' packages are in, where no sources.list(5) names them."""
        return _COMPONENTS[self.distro]

    def mirrors(self) -> list[str]:
        """Return the mirrors for mmdebstrap(1); none where it has to fall back on the distribution's own servers."""
        if self.mirror:
            return [self.mirror]
        return host_mirrors(run(["apt-get", "indextargets", "--format", _FIELDS]).text.splitlines(), self)


def host_mirrors(lines: Iterable[str], origin: Origin) -> list[str]:
    """Return the lines for sources.list(5) that the host's apt knows for a suite, its updates and its security fixes.

    A host may name a release by its code name or by its role (``stable``), and Ubuntu gives a release's updates the code name
    of the release: what the host wrote counts first, the code name after it.

    :param lines: of ``apt-get indextargets``, as ``CREATED_BY|ORIGIN|RELEASE|CODENAME|REPO_URI|COMPONENT``.
    :returns: none when the host knows no such suite.
    """
    wanted = (origin.suite, f"{origin.suite}-updates", f"{origin.suite}-security")
    components: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        kind, vendor, release, codename, uri, component = [*line.split("|"), *[""] * 6][:6]
        suite = release if release in wanted else codename
        if kind == "Packages" and vendor.lower() == origin.distro and suite in wanted:
            listed = components.setdefault((uri, suite), [])
            if component not in listed:
                listed.append(component)
    if all(suite != origin.suite for _, suite in components):
        return []
    return [f"deb {uri} {suite} {' '.join(listed)}" for (uri, suite), listed in components.items()]


def host_options() -> str:
    """Return how the host's apt reaches its mirrors, as apt.conf(5): proxies, certificates, retries, the checks of dates."""
    return reaching_options(run(["apt-config", "dump"]).text.splitlines())


def reaching_options(lines: Iterable[str]) -> str:
    """Return the lines of ``apt-config dump`` that say how mirrors are reached."""
    return "".join(f"{line}\n" for line in lines if line.startswith(_REACHED_BY))
