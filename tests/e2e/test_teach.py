"""An instructor's day on the pages, in Debian's chromium."""

import re
import struct
import zlib
from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.platform import Platform
from tests.support.polling import eventually

from .test_pages import CHROMIUM, Visitor, browser  # noqa: F401 a fixture

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed: apt-get install chromium")


def picture() -> bytes:
    """Return a small PNG."""
    width, height = 320, 180
    rows = b"".join(b"\0" + bytes((11, 110, 95)) * width for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def author(stack: Platform, browser: Browser) -> Iterator[Visitor]:  # noqa: F811 the fixture
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(15_000)
        visitor = Visitor(stack, context)
        visitor.open("/sign-in?next=/teach/")
        visitor.sign_in("instructor@demo.test")
        yield visitor


def create_course(author: Visitor, title: str) -> str:
    """Create a free course, and return its id."""
    page = author.page
    page.get_by_role("link", name="New course").click()
    page.get_by_label("Title").fill(title)
    page.get_by_label("Summary").fill("Ropes that hold.")
    page.get_by_label("Category").fill("science")
    author.check("teach-new")
    page.get_by_role("button", name="Create the course").click()
    page.get_by_label("New section").fill("Knots")
    page.get_by_role("button", name="Add the section").click()
    return re.search(r"/teach/([0-9a-f-]{36})", page.url)[1]


def add_lesson(page: Page, title: str, kind: str) -> None:
    page.get_by_label("Title of the new lesson").fill(title)
    page.get_by_label("Kind").select_option(kind)
    page.get_by_role("button", name="Add the lesson").click()


def learn(stack: Platform, browser: Browser, slug: str) -> None:  # noqa: F811 the fixture
    """Enroll as a new learner, complete the course and review it."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(15_000)
        learner = Visitor(stack, context)
        page = learner.open(f"/courses/{slug}")
        page.get_by_role("link", name="Start for free").click()
        learner.sign_in()
        page.get_by_role("button", name="Start for free").click()
        page.get_by_role("button", name="Complete and continue").click()
        page.get_by_label("The bowline", exact=True).check()
        page.get_by_role("button", name="Check the answers").click()
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_role("link", name="Show the certificate")).to_be_visible()  # the page is loaded until then
        page.locator(".rating span").nth(3).click()
        page.get_by_label("Your review").fill("It holds.")
        page.get_by_role("button", name="Send the review").click()


def follow(author: Visitor, course_id: str) -> None:
    """Try the course, reply to the review, send an announcement, and look at learners, statistics and instructors."""
    page = author.page
    author.open(f"/teach/{course_id}/try").get_by_role("link", name="Next").click()
    page.get_by_label("The granny knot").check()
    page.get_by_role("button", name="Check the answers").click()
    expect(page.get_by_text("0 %: not passed yet.")).to_be_visible()
    author.check("teach-try")
    page.get_by_role("link", name="Reviews").click()
    page.get_by_label("Answer of the instructor").fill("Thank you!")
    page.get_by_role("button", name="Answer").click()
    expect(page.get_by_role("button", name="Delete the answer")).to_be_visible()
    author.check("teach-reviews")
    page.get_by_role("link", name="Announcements").click()
    page.get_by_label("Subject").fill("A new knot")
    page.get_by_label("Text").fill("Next week.")
    page.get_by_role("button", name="Send the announcement").click()
    expect(page.get_by_text("is being sent to 1 learner.")).to_be_visible()
    author.check("teach-announcements")
    page.get_by_role("link", name="Learners").click()
    expect(page.get_by_text("100 %").first).to_be_visible()
    author.check("teach-learners")
    eventually(lambda: "100 %" in author.open(f"/teach/{course_id}/statistics").locator(".tiles").inner_text())
    author.check("teach-statistics")
    for name in ("instructors", "publish"):
        author.open(f"/teach/{course_id}/{name}")
        author.check(f"teach-{name}")
    author.open("/teach/profile")
    author.check("teach-profile")


def test_instructors_day(author: Visitor, stack: Platform, browser: Browser):  # noqa: F811 the fixture
    page, title = author.page, f"Knots {uuid4().hex[:6]}"
    author.check("teach-courses")
    course_id = create_course(author, title)

    add_lesson(page, "The bowline", "text")
    page.get_by_label("Text").fill("The **king** of knots.")
    page.get_by_role("button", name="Add the lesson").click()
    expect(page.get_by_text("The lesson was added.")).to_be_visible()
    page.get_by_role("button", name="Show how it looks").click()
    expect(page.locator(".preview strong")).to_have_text("king")
    author.check("teach-lesson")
    page.get_by_label("Attachment: document").set_input_files(
        {"name": "knots.txt", "mimeType": "text/plain", "buffer": b"over, under"}
    )
    page.get_by_role("button", name="Add the attachment").click()
    expect(page.get_by_role("link", name="knots.txt")).to_be_visible()

    author.open(f"/teach/{course_id}/outline")
    add_lesson(page, "What do you remember?", "quiz")
    page.get_by_role("button", name="Next").click()
    page.get_by_role("textbox", name="Question").fill("Which knot is the king?")
    page.get_by_label("Option 1", exact=True).fill("The bowline")
    page.get_by_label("Option 1 is correct").check()
    page.get_by_label("Option 2", exact=True).fill("The granny knot")
    author.check("teach-question")
    page.get_by_role("button", name="Save").click()
    page.get_by_label("When is it complete?").select_option("The quiz was passed")
    expect(page.get_by_text("The quiz was added.")).to_be_visible()
    author.check("teach-quiz")
    page.get_by_role("link", name="Outline").click()
    author.check("teach-outline")

    page.get_by_role("link", name="Description").click()
    page.get_by_label("Picture: JPEG").set_input_files(
        {"name": "cover.png", "mimeType": "image/png", "buffer": picture()}
    )
    page.get_by_role("button", name="Save the cover").click()
    expect(page.locator(".cover-now img")).to_be_visible()
    author.check("teach-details")
    page.get_by_role("link", name="Publish").click()
    author.check("teach-publish")
    page.get_by_role("button", name="Publish the course").click()
    expect(page.get_by_text("The course is on sale as it is now.")).to_be_visible()

    learn(stack, browser, title.lower().replace(" ", "-"))
    follow(author, course_id)


def test_pages_for_authors_work_without_javascript_on_a_phone(stack: Platform, browser: Browser):  # noqa: F811 the fixture
    phone = browser.new_context(
        viewport={"width": 390, "height": 800}, java_script_enabled=False, color_scheme="dark", locale="ru-RU"
    )
    with phone:
        phone.set_default_timeout(15_000)
        author = Visitor(stack, phone)
        page = author.open("/sign-in?next=/teach/new")
        author.sign_in("instructor@demo.test")
        page.get_by_label("Название").fill(f"Узлы {uuid4().hex[:6]}")
        page.get_by_label("Категория").fill("science")
        page.get_by_role("button", name="Создать курс").click()
        page.get_by_label("Новый раздел").fill("Морские узлы")
        page.get_by_role("button", name="Добавить раздел").click()
        author.check("phone-teach-outline", is_new=False)
        page.get_by_role("link", name="Описание").click()
        page.get_by_label("Картинка: JPEG").set_input_files(
            {"name": "cover.png", "mimeType": "image/png", "buffer": picture()}
        )
        page.get_by_role("button", name="Сохранить обложку").click()
        expect(page.get_by_text("Обложка сохранена.")).to_be_visible()
        page.get_by_label("Цена").fill("много")
        page.get_by_role("button", name="Сохранить", exact=True).first.click()
        expect(page.get_by_text("Число, например 49.00").first).to_be_visible()
        author.problems.clear()  # Chromium reports the status 422
        author.check("phone-teach-details", is_new=False)
        page.get_by_role("link", name="Публикация").click()
        expect(page.get_by_text("ещё нет уроков")).to_be_visible()
        author.check("phone-teach-publish", is_new=False)
