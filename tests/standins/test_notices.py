"""How long a provider waits before it sends a notice again."""

from ops.local.standins.notices import pause_after


def test_pause_doubles_up_to_half_a_day():
    assert [pause_after(attempts) for attempts in range(4)] == [0.2, 0.4, 0.8, 1.6]
    assert pause_after(12) > 10 * 60
    assert pause_after(60) == pause_after(10**6) == 12 * 3600
