"""Shared schema fields reject values that databases, pages or mails cannot represent."""

from datetime import UTC, datetime

import marshmallow as ma
import pytest

from api.courses.schemas import Language, UnlockSchema
from api.courses.versions import PrerequisitesSchema
from api.integrations.statistics import StatisticsQuery
from api.payments.coupons import CouponTermsSchema
from api.progress.learning import OfflineBatchSchema
from api.schemas import Prose, Schema, UtcDateTime
from api.users.profiles import ProfileChangesSchema


class Request(Schema):
    at = UtcDateTime()
    text = Prose(max_length=20)


@pytest.mark.parametrize(
    "moment",
    [
        "9999-12-31T23:59:59-05:00",  # year 10000 in UTC, which the database driver cannot read
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "2026-01-31T00:00:00",  # without offset
    ],
)
def test_timestamp_out_of_range_is_rejected(moment: str):
    with pytest.raises(ma.ValidationError) as refused:
        Request().load({"at": moment})

    assert list(refused.value.messages) == ["at"]


def test_timestamp_is_converted_to_utc():
    assert Request().load({"at": "2026-01-31T01:00:00+02:00"})["at"] == datetime(2026, 1, 30, 23, tzinfo=UTC)


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "2200-01-01", "9999-12-31"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_day_out_of_range_is_rejected(name: str, day: str):
    with pytest.raises(ma.ValidationError) as refused:
        StatisticsQuery().load({name: day})

    assert list(refused.value.messages) == [name]


@pytest.mark.parametrize("schema", [CouponTermsSchema, UnlockSchema], ids=lambda schema: schema.__name__)
def test_schemas_use_the_bounded_timestamp(schema: type[Schema]):
    times = [field for field in schema().fields.values() if isinstance(field, ma.fields.DateTime)]

    assert times
    assert all(isinstance(field, UtcDateTime) for field in times)


@pytest.mark.parametrize("text", ["a\x00", "a\x1b[0m", "a\x7f", "a\x85b", "a\u2028b"])
def test_prose_with_control_characters_is_rejected(text: str):
    with pytest.raises(ma.ValidationError):
        Request().load({"text": text})


def test_prose_keeps_line_breaks_and_tabs():
    assert Request().load({"text": "a\n\tb\r\n"})["text"] == "a\n\tb\r\n"


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\n", "\u2060"])
def test_required_prose_needs_a_visible_character(text: str):
    field = Prose(max_length=20, not_blank=True)

    assert field.deserialize(f"{text}a") == f"{text}a"
    with pytest.raises(ma.ValidationError):
        field.deserialize(text)


def test_coupon_ending_before_its_start_is_rejected():
    coupon = {"code": "AUTUMN", "kind": "percent", "value": 10}
    times = {"starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}

    with pytest.raises(ma.ValidationError) as refused:
        CouponTermsSchema().load(coupon | times)

    assert list(refused.value.messages) == ["ends_at"]


def test_batch_with_duplicate_ids_is_rejected_with_index():
    event = {"course_id": "0190a9e6-0000-7000-8000-000000000001", "lesson_id": "0190a9e6-0000-7000-8000-000000000002"}
    event |= {"kind": "completed", "at": "2026-01-31T00:00:00Z"}

    with pytest.raises(ma.ValidationError) as refused:
        OfflineBatchSchema().load({"events": [{**event, "id": "1"}, {**event, "id": "2"}, {**event, "id": "1"}]})

    assert list(refused.value.messages["events"]) == [2]


def test_repeated_prerequisite_is_rejected():
    course_id = "0190a9e6-0000-7000-8000-000000000001"

    with pytest.raises(ma.ValidationError) as refused:
        PrerequisitesSchema().load({"course_ids": [course_id, course_id.upper()]})

    assert list(refused.value.messages) == ["course_ids"]


@pytest.mark.parametrize("zone", ["localtime", "Factory", "posix/Europe/Berlin", "Mars/Olympus"])
def test_non_portable_time_zone_is_rejected(zone: str):
    with pytest.raises(ma.ValidationError):
        ProfileChangesSchema().load({"timezone": zone})


@pytest.mark.parametrize("code", ["xx", "zz", "EN", "e", "english", ""])
def test_language_without_a_name_is_rejected(code: str):
    assert Language().deserialize("en") == "en"
    assert Language().deserialize("haw") == "haw"
    with pytest.raises(ma.ValidationError):
        Language().deserialize(code)


@pytest.mark.parametrize("zone", ["Asia/Calcutta", "US/Pacific", "UTC", "Europe/Kyiv"])
def test_browser_time_zone_is_accepted(zone: str):
    assert ProfileChangesSchema().load({"timezone": zone}) == {"timezone": zone}
