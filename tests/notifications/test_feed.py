from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from models.base import new_id
from models.errors import NotFound
from tests.notifications.factories import lesson_completed, make_contact
from workers.notifications.feed import archive_note, count_unread, list_notes, read_all_notes, read_note
from workers.notifications.messages import congratulate_on_lesson


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session)


@pytest.fixture
def tell(session: Session, desk):
    """Puts notes into a user's feed."""

    def tell(user_id: UUID, *lessons: str) -> None:
        for lesson in lessons:
            event = lesson_completed(user_id, lesson_title=lesson)
            congratulate_on_lesson(session, desk, event=event, event_id=new_id())

    return tell


def titles(history, user_id: UUID, *, unread: bool = False, limit: int = 100, after: int | None = None) -> list[str]:
    notes = list_notes(history, user_id=user_id, unread=unread, limit=limit, after=after)["items"]
    return [note["title"].rpartition(" ")[2] for note in notes]


def ids(history, user_id: UUID) -> list[UUID]:
    notes = list_notes(history, user_id=user_id, unread=False, limit=100, after=None)["items"]
    return [UUID(note["id"]) for note in notes]


def test_a_feed_is_paged_newest_first_while_it_grows(history, ann, tell):
    tell(ann, "one", "two", "three", "four", "five")
    first = list_notes(history, user_id=ann, unread=False, limit=2, after=None)
    tell(ann, "six")
    second = titles(history, ann, limit=2, after=first["next"])
    last = list_notes(history, user_id=ann, unread=False, limit=3, after=first["next"])

    assert [note["title"].rpartition(" ")[2] for note in first["items"]] == ["five", "four"]
    assert second == ["three", "two"]
    assert last["next"] is None


def test_a_note_read_leaves_the_unread_ones(history, ann, tell):
    tell(ann, "one", "two")
    newest, _ = ids(history, ann)
    note = read_note(history, user_id=ann, note_id=newest)

    assert note["read_at"] == note["seen_at"] is not None
    assert titles(history, ann, unread=True) == ["one"]
    assert titles(history, ann) == ["two", "one"]
    assert count_unread(history, user_id=ann) == {"unread": 1}


def test_a_note_read_twice_keeps_the_first_time(history, ann, tell):
    tell(ann, "one")
    [note_id] = ids(history, ann)
    first = read_note(history, user_id=ann, note_id=note_id)

    assert read_note(history, user_id=ann, note_id=note_id) == first


def test_reading_all_reads_all_of_the_users_own(session, history, ann, tell):
    bob = make_contact(session)
    tell(ann, "one", "two")
    tell(bob, "one")

    assert read_all_notes(history, user_id=ann) == {"unread": 0}
    assert count_unread(history, user_id=bob) == {"unread": 1}


def test_an_archived_note_leaves_the_feed_and_the_count(history, ann, tell):
    tell(ann, "one", "two")
    newest, _ = ids(history, ann)
    note = archive_note(history, user_id=ann, note_id=newest)

    assert note["archived_at"] is not None
    assert titles(history, ann) == ["one"]
    assert count_unread(history, user_id=ann) == {"unread": 1}


@pytest.mark.parametrize("act", [read_note, archive_note])
def test_another_users_note_is_a_404_and_stays_as_it_is(session, history, ann, tell, act):
    tell(ann, "one")
    [note_id] = ids(history, ann)

    with pytest.raises(NotFound):
        act(history, user_id=make_contact(session), note_id=note_id)
    assert titles(history, ann, unread=True) == ["one"]


@pytest.mark.parametrize("act", [read_note, archive_note])
def test_a_note_that_is_none_is_a_404(history, ann, act):
    with pytest.raises(NotFound):
        act(history, user_id=ann, note_id=uuid4())
