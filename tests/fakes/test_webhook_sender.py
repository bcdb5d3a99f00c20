"""The delay before a provider sends a webhook again."""

from ops.fakes.webhook_sender import retry_delay_seconds


def test_retry_delay_doubles_up_to_half_a_day():
    assert [retry_delay_seconds(attempts) for attempts in range(4)] == [0.2, 0.4, 0.8, 1.6]
    assert retry_delay_seconds(12) > 10 * 60
    assert retry_delay_seconds(60) == retry_delay_seconds(10**6) == 12 * 3600
