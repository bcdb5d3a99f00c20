"""The pages in a real browser: buying, learning, small screens, accessibility, and no script."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from axe_playwright_python.base import AXE_FILE_PATH  # the file of axe-core in the package
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from settings import ROOT
from tests.support.platform import Platform

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
PICTURES = ROOT / ".local" / "pages"  # a picture of each page, to look at
PAGE_BYTES_MAX = 100_000
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_AXE = "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})"

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


class Visitor:
    """A person with a browser window of their own."""

    def __init__(self, platform: Platform, context: BrowserContext) -> None:
        self.url = f"http://127.0.0.1:{platform.stack.port('web')}"
        self.api = platform.url
        self.context = context
        self.page: Page = context.new_page()
        self.email = f"{uuid4().hex[:10]}@example.com"
        self.problems: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def _note(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.text} at {self.page.url}")

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.url}{path}")
        return self.page

    def sign_in(self, email: str | None = None) -> None:
        """Sign in on the page of the fake of Auth0, which the visitor has reached."""
        self.page.get_by_label("E-mail").fill(email or self.email)
        self.page.locator("button.main").click()

    def check(self, name: str, *, is_new: bool = True) -> None:
        """Check the shown page: small, no wider than the window, accessible; keep its picture.

        axe-core takes most of the time: a page of parts that other pages have as well is not ``is_new``.
        """
        assert self.problems == []
        self.page.screenshot(path=PICTURES / f"{name}.jpeg", full_page=True, quality=70)
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= self.page.viewport_size["width"], f"{self.page.url} is {width} pixels wide"
        assert len(self.page.content().encode()) <= PAGE_BYTES_MAX
        if not is_new:
            return
        self.page.evaluate(Path(AXE_FILE_PATH).read_text())
        found = self.page.evaluate(_AXE, _RULES)
        assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == [], name

    def buy(self, course: dict[str, Any], outcome: str) -> None:
        """Go from the page of a course to the page after the payment."""
        self.open(f"/courses/{course['slug']}").get_by_role("link", name="Buy this course").click()
        self.page.wait_for_url(re.compile("/authorize|/checkout"))
        if "/authorize" in self.page.url:
            self.sign_in()
        self.page.get_by_role("button", name="Continue to payment").click()
        self.page.get_by_role("button", name=outcome, exact=True).click()


@pytest.fixture
def visitor(stack: Platform, browser: Browser) -> Iterator[Visitor]:
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(15_000)
        yield Visitor(stack, context)


def course(visitor: Visitor, *, free: bool = False, has_quiz: bool = False) -> dict[str, Any]:
    """Return a demo course, for money in dollars or free, with or without a quiz."""
    query = {"language": "en", "limit": 100, "sort": "price"}
    for item in requests.get(f"{visitor.api}/v1/courses", params=query, timeout=10).json()["items"]:
        price = item["price"]
        if price["currency"] != "USD" or free != (price["amount_minor"] == 0):
            continue
        found = requests.get(f"{visitor.api}/v1/courses/{item['id']}", timeout=10).json()
        kinds = {lesson["kind"] for section in found["sections"] for lesson in section["lessons"]}
        if ("quiz" in kinds) == has_quiz:
            return found
    raise AssertionError("no such course")


def open_quiz(visitor: Visitor, course: dict[str, Any]) -> Page:
    """Open the quiz of a course whose lessons are open in any order."""
    [quiz] = [each["id"] for section in course["sections"] for each in section["lessons"] if each["kind"] == "quiz"]
    return visitor.open(f"/learn/{course['id']}/{quiz}")


def statistics(visitor: Visitor) -> dict[str, Any]:
    """Return the demo course that has a quiz with all kinds of questions and a time limit."""
    url = f"{visitor.api}/v1/courses/statistics-you-will-actually-use"
    found: dict[str, Any] = requests.get(url, timeout=10).json()
    return found


def test_quiz_is_answered_within_its_time_and_explained(visitor: Visitor):
    chosen = statistics(visitor)
    page = visitor.open(f"/courses/{chosen['slug']}")
    page.get_by_role("link", name="Start for free").click()
    visitor.sign_in()
    page.get_by_role("button", name="Start for free").click()
    open_quiz(visitor, chosen)
    expect(page.get_by_text("Time limit: 15:00")).to_be_visible()
    page.get_by_role("button", name="Start the attempt").click()
    expect(page.get_by_role("timer")).to_contain_text("14:")
    page.get_by_label("falls by about 30 %").check()
    page.get_by_label("Your answer").fill("  MEDIAN ")
    page.get_by_role("button", name="Save and go on later").click()

    expect(page.get_by_label("falls by about 30 %")).to_be_checked()
    visitor.check("quiz")
    page.get_by_label("the mean").check()
    page.get_by_label("False").check()
    page.get_by_label("Your number").fill("3,33")
    page.get_by_role("button", name="Submit the answers").click()

    expect(page.get_by_text("83 %: not passed yet.")).to_be_visible()
    expect(page.get_by_text("5 of 6 points")).to_be_visible()
    expect(page.get_by_text("Both may have a common cause.")).to_be_visible()
    visitor.check("quiz-result")
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("link", name="Attempt 1")).to_be_visible()
    visitor.check("quiz-attempts", is_new=False)


def test_buyer_learns_and_gets_a_certificate(visitor: Visitor):
    page = visitor.open("/")
    visitor.check("catalogue")
    page.get_by_role("searchbox").fill("python")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("article").first).to_be_visible()

    bought = course(visitor)
    visitor.open(f"/courses/{bought['slug']}")
    visitor.check("course")
    visitor.buy(bought, "Pay")
    expect(page.get_by_role("heading", name="the payment has arrived")).to_be_visible()
    page.get_by_role("link", name="Start learning").click()
    visitor.check("lesson")
    for _ in range(bought["lessons_total"]):
        page.get_by_role("button", name="Complete and continue").click()
    expect(page.get_by_role("heading", name="Congratulations!")).to_be_visible()
    page.get_by_role("link", name="Show the certificate").click()

    expect(page.get_by_text(bought["title"])).to_be_visible()
    visitor.check("certificate")
    for name in ("learn", "orders", "plans", "notifications", "account", "subscriptions", "account/erase"):
        visitor.open(f"/{name}")
        visitor.check(name.replace("/", "-"), is_new=name not in {"subscriptions", "account/erase"})
    visitor.open("/orders").get_by_role("link", name=bought["title"]).click()
    visitor.check("order")
    page.get_by_role("link", name="Invoice", exact=True).click()
    visitor.check("invoice")


def test_declined_payment_is_reported_and_confirmation_of_the_bank_succeeds(visitor: Visitor):
    bought = course(visitor)
    visitor.buy(bought, "Let the bank decline")
    visitor.open("/orders").get_by_role("link", name=bought["title"]).click()
    expect(visitor.page.get_by_text("Waiting for the payment")).to_be_visible()

    visitor.buy(bought, "Let the bank ask for a confirmation")
    visitor.page.get_by_role("button", name="Pay", exact=True).click()
    expect(visitor.page.get_by_role("heading", name="the payment has arrived")).to_be_visible()


def test_store_works_without_javascript_on_a_phone(stack: Platform, browser: Browser):
    phone = browser.new_context(
        viewport={"width": 390, "height": 800}, java_script_enabled=False, color_scheme="dark", locale="ru-RU"
    )
    with phone:
        phone.set_default_timeout(15_000)
        visitor = Visitor(stack, phone)
        page = visitor.open("/?free=1")
        chosen = statistics(visitor)
        page.get_by_role("link", name=chosen["title"]).click()
        page.get_by_role("link", name="Начать бесплатно").click()
        visitor.sign_in()
        page.get_by_role("button", name="Начать бесплатно").click()
        page.get_by_role("button", name="Пройдено, дальше").click()
        expect(page.get_by_text(f"1 из {chosen['lessons_total']} уроков")).to_be_visible()
        visitor.open("/account").get_by_label("Имя, как в сертификатах").fill("Мария Кюри")
        page.get_by_role("button", name="Сохранить").first.click()
        expect(page.get_by_text("Профиль сохранён.")).to_be_visible()
        page.get_by_role("button", name="Сохранить").last.click()
        expect(page.get_by_text("Настройки сохранены.")).to_be_visible()
        open_quiz(visitor, chosen).get_by_role("button", name="Начать попытку").click()
        visitor.check("phone-quiz", is_new=False)
        page.get_by_label("Неверно").check()
        page.get_by_role("button", name="Отправить ответы").click()
        expect(page.get_by_text("Правильный ответ:").first).to_be_visible()
        visitor.check("phone-quiz-result", is_new=False)


def test_pages_fit_a_phone(stack: Platform, browser: Browser):
    with browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark", locale="ru") as context:
        context.set_default_timeout(15_000)
        visitor = Visitor(stack, context)
        chosen = course(visitor, free=True, has_quiz=True)
        page = visitor.open(f"/courses/{chosen['slug']}")
        visitor.check("phone-course")
        page.get_by_role("link", name="Начать бесплатно").click()
        visitor.sign_in()
        page.get_by_role("button", name="Начать бесплатно").click()
        visitor.check("phone-lesson")
        for path in ("/", "/learn", "/plans", "/account"):
            visitor.open(path)
            visitor.check(f"phone{path.replace('/', '-')}")


def test_session_is_new_after_the_sign_in_and_worthless_after_the_sign_out(visitor: Visitor):
    visitor.open("/sign-in?next=/learn")
    [before] = [each for each in visitor.context.cookies(visitor.url) if each["name"].startswith("coursebus")]
    visitor.sign_in()
    expect(visitor.page.get_by_role("heading", name="My learning")).to_be_visible()
    [after] = [each for each in visitor.context.cookies(visitor.url) if each["name"].startswith("coursebus")]

    assert after["value"] != before["value"]
    assert (after["httpOnly"], after["sameSite"]) == (True, "Lax")
    assert "eyJ" not in visitor.page.content()  # the beginning of every access token
    for old in (before, after):
        if old is after:
            visitor.page.locator("details.menu summary").click()
            visitor.page.get_by_role("button", name="Sign out").click()
            visitor.page.wait_for_url(re.compile(f"{visitor.url}/"))
        answer = requests.get(
            f"{visitor.url}/learn", cookies={old["name"]: old["value"]}, allow_redirects=False, timeout=10
        )
        assert "/sign-in" in answer.headers["Location"]


def test_staff_refund_is_seen_by_the_buyer(visitor: Visitor, stack: Platform, browser: Browser):
    bought = course(visitor)
    visitor.buy(bought, "Pay")
    expect(visitor.page.get_by_role("link", name="Start learning")).to_be_visible()
    visitor.open("/notifications").get_by_role("button", name="Mark all as read").click()
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(15_000)
        staff = Visitor(stack, context)
        page = staff.open("/console/")
        staff.sign_in("admin@demo.test")
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        staff.check("console")
        page.get_by_label("Find a person").fill(visitor.email)
        page.get_by_role("button", name="Find").click()
        page.locator("tbody a").click()
        staff.check("console-person")
        page.get_by_role("link", name=bought["title"]).first.click()
        staff.check("console-order")
        page.get_by_role("link", name="Requests and their events").click()
        page.locator("tbody a").last.click()  # the checkout
        expect(page.get_by_text("ORDER_CREATED")).to_be_visible()
        expect(page.get_by_text("handled").first).to_be_visible()
        staff.check("console-request")
        page.go_back()
        page.go_back()
        page.get_by_role("link", name="Refund").click()
        page.get_by_label("Reason").fill("asked for it")
        staff.check("console-refund")
        page.get_by_role("button", name="Refund").click()
        expect(page.get_by_text("The refund was started.")).to_be_visible()
        for name in ("courses", f"courses/{bought['id']}", "sales"):
            staff.open(f"/console/{name}")
            staff.check(f"console-{name.replace(bought['id'], 'one').replace('/', '-')}")
        staff.open(f"/console/courses/{bought['id']}").get_by_label("Signed by").fill("Ada Lovelace")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("The certificates were changed.")).to_be_visible()
        expect(page.get_by_label("Signed by")).to_have_value("Ada Lovelace")
        for name in ("reviews", "coupons", "ledger", "webhooks", "dead-letters", "status", "audit"):
            staff.open(f"/console/{name}")
            staff.check(f"console-{name}", is_new=name in {"status", "audit"})
    expect(visitor.page.locator(".bell .count")).to_have_text("1")  # the notification arrives without a reload
    visitor.open("/orders").get_by_role("link", name=bought["title"]).click()
    expect(visitor.page.get_by_text("Refunded")).to_be_visible()


def test_console_is_for_staff(visitor: Visitor):
    visitor.open("/console/people")
    visitor.sign_in()
    expect(visitor.page.get_by_role("heading", name="You may not see this page")).to_be_visible()
