"""What fits on the disks of a group."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from terra_btrfs.profiles import capacity
from terra_core.config.node import Profile


@given(
    profile=st.sampled_from(Profile),
    sizes=st.lists(st.integers(min_value=1, max_value=10**13), min_size=4, max_size=12),
)
def test_no_group_holds_more_than_its_disks(profile: Profile, sizes: list[int]) -> None:
    room = capacity(profile, sizes)
    assert 0 <= room <= sum(sizes)
    if profile is Profile.SINGLE:
        assert room == sum(sizes)
    even = capacity(profile, [1000] * 4)
    copies = {"single": 4000, "raid0": 4000, "raid1": 2000, "raid1c3": 1333, "raid1c4": 1000, "raid5": 3000, "raid6": 2000}
    assert even == copies.get(profile.value, 2000)
