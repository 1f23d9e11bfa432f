"""What is kept between runs serves several that are there at the same time."""

from pathlib import Path

from lab.shelf import Shelf
from lab.site import Site


def test_each_gets_a_directory_of_its_own_and_the_next_one_finds_what_was_left(tmp_path: Path) -> None:
    with Shelf(tmp_path) as first, Shelf(tmp_path) as second:
        (first.path / "of the first").touch()
        (second.path / "of the second").touch()
        assert {first.path, second.path} == {tmp_path, tmp_path / "2"}
    with Shelf(tmp_path) as one, Shelf(tmp_path) as other:
        assert (one.path / "of the first").exists()
        assert (other.path / "of the second").exists()


def test_two_sites_of_one_name_and_one_build_directory_stand_side_by_side(tmp_path: Path) -> None:
    with Site(tmp_path, label="twin") as first, Site(tmp_path, label="twin") as second:
        roots = {first.root, second.root}
        assert len(roots) == len({first.engine.host, second.engine.host}) == 2
        for site in (first, second):
            assert site.command(["list"]).code == 0
    assert not [root for root in roots if root.exists()]
