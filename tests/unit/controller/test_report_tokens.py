"""Which report is taken: each token is for one boot, and a boot that fetched the former token is not shut out."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from terra_core.controller.database import default_url, open_database, report_tokens
from terra_core.controller.report_tokens import ReportTokens, Token, Verdict, judge
from tests.unit.controller.fakes import Site

FIRST, SECOND, THIRD = (f"{number}0000000-0000-0000-0000-000000000000" for number in "123")
NOON = 1_700_000_000.0


def token(number: int, *, published: float = 0.0, boots: tuple[str, ...] = ()) -> Token:
    return Token(
        digest=str(number), hostname="cm-01", generation=1, number=number, place="", published=published, boots=boots
    )


@pytest.mark.parametrize(
    ("tokens", "boot", "began", "verdict"),
    [
        ([token(1)], FIRST, NOON, Verdict.GOOD),
        ([token(1, published=NOON)], FIRST, 0.0, Verdict.GOOD),
        # The answer to the first report was lost.
        ([token(1, boots=(FIRST,)), token(2, published=NOON)], FIRST, NOON + 900, Verdict.REPEATED),
        # The next token is not in the boot files yet, or nobody knows.
        ([token(1, boots=(FIRST,))], SECOND, NOON, Verdict.GOOD),
        ([token(1, boots=(FIRST,)), token(2)], SECOND, NOON, Verdict.GOOD),
        ([token(1, boots=(FIRST, SECOND)), token(2)], THIRD, NOON, Verdict.GOOD),
        # The machine fetched the first one again just before the next one came.
        ([token(1, boots=(FIRST,)), token(2, published=NOON)], SECOND, NOON - 1, Verdict.GOOD),
        ([token(1, boots=(FIRST, SECOND)), token(2, published=NOON)], THIRD, NOON - 1, Verdict.USED),
        ([token(1, boots=(FIRST,)), token(2, published=NOON)], SECOND, NOON + 600, Verdict.USED),
        # It was replaced before anybody reported with it, such as at a start of the controller.
        ([token(1), token(2, published=NOON)], FIRST, NOON + 600, Verdict.GOOD),
    ],
)
def test_a_token_is_for_one_boot(tokens: list[Token], boot: str, began: float, verdict: Verdict) -> None:
    assert judge(tokens, tokens[0], boot, began) is verdict


@pytest.fixture
def tokens(site: Site) -> ReportTokens:
    """Return the tokens of a controller with a machine."""
    site.begin()
    return ReportTokens(site.store.engine)


def issue(tokens: ReportTokens) -> bytes:
    return tokens.issue({("cm-01", 1): "place"})["cm-01"].encode()


def test_a_later_token_ends_the_earlier_ones(tokens: ReportTokens) -> None:
    first, second = issue(tokens), issue(tokens)
    found = tokens.recognise(first), tokens.recognise(second)
    assert [one.number for one in found if one] == [1, 2]
    assert found[1] is not None
    tokens.use(found[1], SECOND, lambda connection: None)
    assert tokens.recognise(first) is None
    assert tokens.recognise(second) is not None
    assert [one.boots for one in tokens.of("cm-01")] == [(SECOND,)]


def test_they_are_the_same_after_a_restart(tokens: ReportTokens, site: Site) -> None:
    first, _ = issue(tokens), issue(tokens)
    tokens.note_published(["cm-01"], NOON)
    found = tokens.recognise(first)
    assert found is not None
    tokens.use(found, FIRST, lambda connection: None)
    again = ReportTokens(site.store.engine)
    again.load()
    assert again.of("cm-01") == tokens.of("cm-01")
    assert again.recognise(first) is not None


def test_no_secret_is_in_the_database(tokens: ReportTokens, site: Site) -> None:
    secret = issue(tokens).decode()
    with site.store.engine.begin() as connection:
        rows = str(connection.execute(select(report_tokens)).all())
    assert "cm-01" in rows
    assert secret not in rows
    assert not any(secret.encode() in path.read_bytes() for path in site.paths.state.rglob("*") if path.is_file())


def test_a_controller_that_is_killed_again_and_again_keeps_a_few(tokens: ReportTokens) -> None:
    secrets = [issue(tokens) for _ in range(20)]
    assert [tokens.recognise(secret) is not None for secret in secrets] == [*[False] * 12, *[True] * 8]
    assert len(tokens.of("cm-01")) == 8


def test_a_machine_that_goes_takes_its_tokens_with_it(tokens: ReportTokens, site: Site) -> None:
    secret = issue(tokens)
    site.store.forget(site.store.get("cm-01"))
    tokens.load()
    assert tokens.recognise(secret) is None


def test_a_token_says_nothing_of_a_later_machine_of_that_name(tokens: ReportTokens, site: Site) -> None:
    issue(tokens)
    other = ReportTokens(open_database(default_url(site.paths.state)))
    site.store.forget(site.store.get("cm-01"))
    site.begin()
    other.load()
    assert other.of("cm-01") == ()


def test_what_is_removed_late_takes_nothing_of_a_later_machine_of_that_name(tokens: ReportTokens, site: Site) -> None:
    early = issue(tokens)
    site.store.forget(site.store.get("cm-01"))
    site.begin()  # at another host, which has tokens of its own for it
    other = ReportTokens(site.store.engine)
    late = other.issue({("cm-01", 2): "place"})["cm-01"].encode()
    tokens.forget("cm-01", 1)
    assert tokens.recognise(early) is None
    other.load()
    assert [other.recognise(secret) is not None for secret in (early, late)] == [False, True]


def test_a_wrong_secret_is_nobodys(tokens: ReportTokens) -> None:
    issue(tokens)
    assert [tokens.recognise(wrong) for wrong in (b"", b"terra_x", b"\xff" * 4096)] == [None, None, None]
