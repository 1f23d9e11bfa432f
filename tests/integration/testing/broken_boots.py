"""Network boot services that break one promise each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from lab.network import CONTROLLER
from lab.surroundings import InNetwork
from terra_core.config.session import Session
from terra_core.config.values import Hostname, Mac
from terra_core.errors import TerraError
from terra_core.hookspecs import NodeBoot, Sighting, Sightings
from terra_core.testing import BootConformance
from terra_tftp import TftpPlugin
from tests.integration.testing.breaking import broken


class _Kit(InNetwork, BootConformance):
    name = "tftp"
    address = CONTROLLER


_good = TftpPlugin()


def _always_changed(self: Any, boot: NodeBoot, session: Session) -> bool:
    _good.publish_boot(boot, session)
    return True


def _never_changed(self: Any, boot: NodeBoot, session: Session) -> bool:
    _good.publish_boot(boot, session)
    return False


def _keep_the_first_report(self: Any, boot: NodeBoot, session: Session) -> bool:
    return _good.publish_boot(boot if boot.kernel is not None else evolve(boot, report=None), session)


def _by_the_first_address(self: Any, boot: NodeBoot, session: Session) -> bool:
    return _good.publish_boot(evolve(boot, mac=Mac("02:00:00:00:00:01")), session)


def _leave_a_file(self: Any, hostname: Hostname, mac: Mac, session: Session) -> bool:
    (session.paths.root / f"left-{hostname}").touch()
    return _good.withdraw_boot(hostname, mac, session)


def _withdraw_both(self: Any, hostname: Hostname, mac: Mac, session: Session) -> bool:
    _good.withdraw_boot(Hostname("conformance-02"), Mac("02:00:00:00:00:02"), session)
    return _good.withdraw_boot(hostname, mac, session)


def _any_name(self: Any, boot: NodeBoot, session: Session) -> bool:
    return _good.publish_boot(evolve(boot, hostname=Hostname("fine")), session)


def _any_argument(self: Any, boot: NodeBoot, session: Session) -> bool:
    line = " ".join(boot.kernel_arguments)
    session.paths.root.mkdir(parents=True, exist_ok=True)
    (session.paths.root / "menu").write_text(f"kernel {line}\n")
    return True


def _without_a_kernel(self: Any, boot: NodeBoot, session: Session) -> bool:
    if boot.kernel is None:
        raise TerraError("there is no kernel")
    return _good.publish_boot(boot, session)


def _no_loaders(self: Any, tree: Path, session: Session) -> list[str]:
    return []


def _start_again(self: Any, network: Any, nodes: Any, session: Session) -> bool:
    return _good.start_boot(network, nodes, session) or True


def _only_what_this_process_started(self: Any, session: Session) -> bool:
    return _good.stop_boot(session) and getattr(self, "started", False)


def _see_what_nobody_did(self: Any, position: str, session: Session) -> Sightings:
    return Sightings(position="1", seen=(Sighting(mac=Mac("02:00:00:00:00:01"), time=1.0, text="is there"),))


PROMISES: dict[str, Mapping[str, object]] = {
    "test_it_fills_the_role_and_is_made_for_this_contract": {"contract": 1},
    "test_a_key_that_its_table_does_not_know_is_refused_by_name": {"settings": None},
    "test_publishing_is_idempotent_and_needs_the_files_once": {"publish_boot": _always_changed},
    "test_another_image_or_line_is_a_change": {"publish_boot": _never_changed},
    "test_what_the_next_boot_reports_itself_with_is_replaced_and_kept": {"publish_boot": _keep_the_first_report},
    "test_another_address_takes_the_place_of_the_former": {"publish_boot": _by_the_first_address},
    "test_withdrawing_is_idempotent_and_leaves_nothing": {"withdraw_boot": _leave_a_file},
    "test_withdrawing_one_leaves_the_other": {"withdraw_boot": _withdraw_both},
    "test_a_name_that_is_no_host_name_becomes_no_path": {"publish_boot": _any_name},
    "test_no_argument_becomes_a_word_of_a_menu": {"publish_boot": _any_argument},
    "test_a_machine_without_any_kernel_is_refused": {"publish_boot": _without_a_kernel},
    "test_an_image_without_boot_loaders_is_refused": {"install_boot_image": _no_loaders},
    "test_the_service_is_started_once_and_stopped_once": {"start_boot": _start_again},
    "test_what_no_machine_did_is_not_seen": {"follow_boots": _see_what_nobody_did},
    "test_the_service_outlives_a_controller_that_is_killed": {"stop_boot": _only_what_this_process_started},
    "test_the_doctor_finds_what_is_missing_and_nothing_else": {"examine_boot": lambda self, nodes, session: ()},
}

globals().update(broken(_Kit, TftpPlugin, PROMISES))
