"""How the registries of these tests are reached: by plain HTTP, with credentials and mirrors that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, field

from terra_core.config.values import ImageReference
from terra_core.registry import Credentials, Mirror, RegistryAccess


@define
class Reach:
    """What a plugin's configuration would say.

    :param logins: credentials by registry.
    """

    logins: dict[str, Credentials] = field(factory=dict)

    def log_in(self, *registries: str) -> None:
        """Store a user and a password for registries."""
        self.logins.update(dict.fromkeys(registries, Credentials("terra", "secret")))

    def access(self, *insecure: str, mirrors: Mapping[str, Sequence[str]] | None = None) -> RegistryAccess:
        """Return how registries are reached; ``insecure`` lists those that may do without TLS."""

        def mirrors_of(reference: ImageReference) -> Sequence[Mirror]:
            return [Mirror(name, reference.path) for name in (mirrors or {}).get(reference.registry, ())]

        return RegistryAccess(credentials=self.logins.get, mirrors=mirrors_of, insecure=insecure)
