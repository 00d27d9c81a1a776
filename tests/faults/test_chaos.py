"""A short run of random faults; `make chaos` is the long one."""

from pathlib import Path

from tests.faults.chaos import LANES, wreak

FAULTS = 2
SEED = 2
HASTE = 3.0


async def test_no_message_is_lost_under_random_faults(prepared: Path) -> None:
    account, faults = await wreak(0, SEED, print, least=FAULTS, haste=HASTE, prepared=prepared)
    assert account.acked > 100
    assert account.resets < account.connections / 10, "whoever was away missed little enough to be told"
    for lane, its_faults in LANES.items():
        assert sum(faults[fault.__name__] for fault in its_faults) == FAULTS, lane
