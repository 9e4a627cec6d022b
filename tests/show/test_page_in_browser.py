"""The page in a real browser: it draws, it tells of a moment, it prints, and does without script.

With FUSEFS_SCREENSHOTS=DIR what is seen is kept there, to be looked at.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from show.browser import Browser, Page, found
from show.stories import live, witness

from fusefs.show.html import page as page_text
from fusefs.show.story import Story

STORIES = {"witness": witness, "live": live}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = found()
    if path is None:
        reason = "no browser: chromium is missing ('apt-get install chromium')"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with Browser(path) as started:
        yield started


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest) -> Story:
    return STORIES[request.param]()


@pytest.fixture
def shown(browser: Browser, story: Story, tmp_path: Path) -> Page:
    return show(browser, story, tmp_path)


def show(browser: Browser, story: Story, folder: Path) -> Page:
    path = folder / "story.html"
    path.write_text(page_text(story, "What it is about."))
    page = browser.page()
    page.show(path)
    return page


def keep(page: Page, name: str) -> None:
    folder = os.environ.get("FUSEFS_SCREENSHOTS")
    if folder:
        Path(folder, f"{name}.png").write_bytes(page.screenshot())


def place_of(story: Story, what: str) -> int:
    """The event whose step ends so and was granted, the first."""
    return next(
        at
        for at, event in enumerate(story.events)
        if event.step.endswith(what) and event.event == "granted"
    )


def tip(page: Page) -> str | None:
    """What is told of a moment, if it is seen."""
    return page.value("tip.hidden ? null : tip.innerText")


def point_at_event(page: Page, at: int) -> None:
    box = page.box(f'[data-at="{at}"] .ground')
    page.point_at(box["x"] + 200, box["y"] + box["height"] / 2)


def test_draws_every_event_where_it_can_be_seen(shown, story, request):
    keep(shown, f"light-{request.node.callspec.id}")
    assert shown.value("document.querySelectorAll('.moment').length") == len(story.events)
    boxes = [shown.box(f'[data-at="{at}"] .ground') for at in range(len(story.events))]
    assert all(box["width"] > 300 and box["height"] > 10 for box in boxes)
    tops = [box["top"] for box in boxes]
    assert tops == sorted(set(tops))
    assert shown.complaints == []


def test_loads_nothing_but_itself(shown):
    assert [url for url in shown.loaded if not url.endswith("story.html")] == []


def test_no_two_words_of_a_row_lie_on_each_other(shown):
    """Texts of one moment and of the lanes' heads, as far as they are drawn."""
    overlaps = shown.value("""
        [...document.querySelectorAll('.moment, svg')].flatMap(group => {
            const texts = [...group.querySelectorAll(':scope > text')];
            const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]);
            return boxes.flatMap(([one, a], n) => boxes.slice(n + 1).filter(([, b]) =>
                a.left < b.right - 1 && b.left < a.right - 1 &&
                a.top < b.bottom - 2 && b.top < a.bottom - 2).map(([other]) => [one, other]));
        })""")
    assert overlaps == []


def test_pointer_shows_before_and_after(shown, story, request):
    assert tip(shown) is None
    at = place_of(story, "convert")
    point_at_event(shown, at)
    keep(shown, f"hover-{request.node.callspec.id}")
    words = tip(shown)
    assert words is not None
    assert story.said(story.events[at]) in words
    changes = story.changes(at)
    assert changes
    for change in changes:
        assert story.lanes[change.lane].name in words
        assert f"{change.before.text} → {change.after.text}" in words
        touched = f'.touched[data-lane="{change.lane}"]'
        assert shown.value(f"document.querySelectorAll('{touched}').length") == 2
    shown.point_at(2, 2)
    assert tip(shown) is None
    assert shown.value("document.querySelectorAll('.touched').length") == 0


def test_tip_stays_in_the_window(shown, story):
    point_at_event(shown, len(story.events) - 1)
    box = shown.box("#tip")
    assert box["left"] >= 0
    assert box["right"] <= shown.value("innerWidth")
    assert box["bottom"] <= shown.value("innerHeight")


def test_keys_go_from_moment_to_moment(shown, story):
    shown.press("Tab")
    assert shown.value("document.activeElement.dataset.at") == "0"
    for key, at in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("Home", 0)):
        shown.press(key)
        assert shown.value("document.activeElement.dataset.at") == str(at)
        words = tip(shown)
        assert words is not None
        assert story.said(story.events[at]) in words
    shown.press("End")
    assert shown.value("document.activeElement.dataset.at") == str(len(story.events) - 1)
    shown.press("Escape")
    assert tip(shown) is None


def test_critical_moment_is_marked(shown, story):
    assert shown.value("document.querySelector('.moment.critical').dataset.at") == str(
        story.critical
    )
    assert shown.value("document.querySelector('.why').textContent") == story.why


def test_dark_is_dark(shown, request):
    def light() -> float:
        colour = shown.value("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765

    assert light() > 0.9
    shown.media(prefers_color_scheme="dark")
    keep(shown, f"dark-{request.node.callspec.id}")
    assert light() < 0.2


def test_prints_on_paper(shown, story, request):
    """The picture is on the first sheet, in its width, in light colours; the table follows."""
    shown.media(media="print", prefers_color_scheme="dark")
    assert shown.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown.media()
    pdf = shown.pdf()
    assert pdf.startswith(b"%PDF-")
    sheets = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
    assert 2 <= sheets <= 4
    folder = os.environ.get("FUSEFS_SCREENSHOTS")
    if folder:
        Path(folder, f"print-{request.node.callspec.id}.pdf").write_bytes(pdf)


def test_wide_picture_fits_the_sheet(shown):
    shown.media(media="print")
    shown.call(
        "Emulation.setDeviceMetricsOverride",
        width=1030,
        height=700,
        deviceScaleFactor=1,
        mobile=False,
    )
    box = shown.box(".picture")
    assert box["right"] <= 1030
    assert box["width"] > 500


def test_without_script_table_and_picture_are_there(browser, story, tmp_path, request):
    page = browser.page()
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    path = tmp_path / "story.html"
    path.write_text(page_text(story))
    page.show(path)
    keep(page, f"no-script-{request.node.callspec.id}")
    assert page.value("document.documentElement.classList.contains('scripted')") is False
    assert page.value("document.querySelectorAll('tbody tr').length") == len(story.events)
    assert page.box("tbody tr")["height"] > 10
    assert page.box(".picture")["height"] > 100
    at = place_of(story, "convert")
    words = page.value(f"document.querySelector('[data-at=\"{at}\"] title').textContent")
    for change in story.changes(at):
        assert f"{change.before.text} → {change.after.text}" in words
