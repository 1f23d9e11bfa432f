"""The longest modules of a test run begin first."""

from pathlib import Path

from lab.schedule import SECONDS, longest_first

_HERE = Path(__file__).parents[3]


def test_a_long_module_comes_before_the_usual_ones_and_those_keep_to_their_names() -> None:
    given = [Path("b/test_other.py"), Path("a/test_other.py"), Path("z/test_faults.py"), Path("b/test_other.py")]
    assert longest_first(given) == [Path("z/test_faults.py"), Path("a/test_other.py"), Path("b/test_other.py")]


def test_no_name_is_of_a_module_that_is_gone() -> None:
    there = {path.name for top in ("tests", "plugins", "apps") for path in (_HERE / top).glob("**/test_*.py")}
    assert set(SECONDS) <= there
