"""What staff type into the forms of the console."""

import pytest
from werkzeug.exceptions import BadRequest

from web.console.people import _end_of_day


@pytest.mark.parametrize(("day", "end"), [("2030-01-31", "2030-02-01T00:00:00+00:00"), ("", None)])
def test_access_lasts_until_the_end_of_its_last_day(day, end):
    assert _end_of_day(day) == end


@pytest.mark.parametrize("day", ["31.01.2030", "9999-12-31"])
def test_day_that_cannot_be_read_is_a_bad_request(day):
    with pytest.raises(BadRequest):
        _end_of_day(day)
