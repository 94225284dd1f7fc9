"""What a visitor teaches is known to the whole page, for that visit, in headless Chromium."""

import pytest
from helpers import launched, photo, write_teachable_bundle
from test_page import CHROMIUM, FLAGS, playwright

import app
from page import theme

pytestmark = pytest.mark.slow
VIOLET = (140, 30, 200)


def violets(count, start=0):
    return [
        {"name": f"{i}.jpg", "mimeType": "image/jpeg", "buffer": photo(VIOLET, 500 + i)}
        for i in range(start, start + count)
    ]


def test_a_flower_is_taught_from_its_answer_known_everywhere_sent_and_forgotten(tmp_path, axe):
    model = write_teachable_bundle(tmp_path / "model")
    demo = app.open_page(["--model", str(model), "--feedback", str(tmp_path / "kept")])
    with (
        launched(demo, **theme.SETTINGS) as url,
        playwright.sync_playwright() as running,
    ):
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(15_000)
        playwright.expect.set_options(timeout=15_000)
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url)
        heading = page.locator("#flowers-answer h2")
        page.set_input_files("#flowers-photo .zone input", violets(1))
        page.click("#flowers-answer .offer")
        playwright.expect(page.locator("#flowers-teach-photos")).to_contain_text("0")  # it is there
        page.set_input_files("#flowers-teach-photos input[type=file]", violets(3, 1))
        page.fill("#flowers-teach-name :is(input, textarea)", " violet ")
        playwright.expect(page.locator("#flowers-teach-photos")).to_contain_text("3")
        page.click("#flowers-teach-it")
        playwright.expect(page.locator("#flowers-teach-said .strip figure")).to_have_count(4)
        assert axe(page) == []
        page.click("#flowers-teach-try")
        playwright.expect(heading).to_have_text("violet")  # the same photo, answered again
        playwright.expect(page.locator("#flowers-answer .like figure")).to_have_count(4)
        page.click("role=tab[name='Many at once']")
        page.set_input_files("#flowers-many-files input[type=file]", violets(1, 9))
        playwright.expect(page.locator("#flowers-many-table tbody")).to_contain_text("violet")
        page.click("role=tab[name='Gallery']")
        playwright.expect(page.locator("#flowers-taught li")).to_have_count(1)
        assert axe(page) == []
        page.click("#flowers-taught [data-flower]")
        playwright.expect(page.locator("#flowers-flower h2")).to_have_text("violet")
        playwright.expect(page.locator("#flowers-flower .photos figure")).to_have_count(4)

        assert not (tmp_path / "kept/violet").exists()
        page.click("role=tab[name='Teach it a flower']")
        page.click("#flowers-teach-send")
        playwright.expect(page.locator("#flowers-teach-sent")).to_contain_text(
            "Kept as violet: 4 photos."
        )
        assert len(list((tmp_path / "kept/violet").glob("*.jpg"))) == 4

        page.click("#flowers-forget")
        page.wait_for_selector("#flowers-visit", state="hidden")
        page.click("role=tab[name='Gallery']")
        page.wait_for_selector("#flowers-index >> visible=true")
        playwright.expect(page.locator("#flowers-taught li")).to_have_count(0)
        page.click("role=tab[name='Name a flower']")
        playwright.expect(heading).not_to_have_text("violet")
        browser.close()
    assert faults == []
