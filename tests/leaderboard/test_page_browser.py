"""The page in headless Chromium: sorted, filtered, opened and closed as a reader would."""

from __future__ import annotations

import pytest
from chromium import NEEDS_CHROMIUM

pytest_plugins = ("browser_pages",)
pytestmark = NEEDS_CHROMIUM
METHODS = ("ours", "theirs", "none")


def column(shown, table: str, number: int) -> list[str]:
    """The data-values of a column of a table, of rows that are not hidden."""
    return shown.eval_on_selector_all(
        f"#{table} tbody tr:not([hidden])",
        f"rows => rows.map(row => row.cells[{number}].dataset.value)",
    )


def number_of(shown, table: str, label: str) -> int:
    """Which column of a table has a heading."""
    heads = shown.eval_on_selector_all(
        f"#{table} thead tr:first-child th button span", "all => all.map(e => e.firstChild.data)"
    )
    return heads.index(label)


def head(shown, table: str, label: str):
    return shown.locator(f"#{table} thead th").nth(number_of(shown, table, label))


def test_a_column_is_sorted_by_its_heading_both_ways_and_said_so(open_page):
    shown = open_page()
    place = number_of(shown, "overview-table", "knn")
    top = head(shown, "overview-table", "knn")
    assert column(shown, "overview-table", 0) == list(METHODS)
    top.locator("button").click()
    values = list(map(float, column(shown, "overview-table", place)))
    assert values == sorted(values, reverse=True)
    assert top.get_attribute("aria-sort") == "descending"
    top.locator("button").click()
    values = list(map(float, column(shown, "overview-table", place)))
    assert values == sorted(values)
    assert top.get_attribute("aria-sort") == "ascending"
    head(shown, "overview-table", "method").locator("button").click()
    assert column(shown, "overview-table", 0) == sorted(METHODS)
    assert top.get_attribute("aria-sort") == "none"


def test_what_has_no_number_comes_last_both_ways(open_page):
    shown = open_page()
    place = number_of(shown, "absent-table", "seed")
    shown.evaluate(
        f"document.querySelector('#absent-table tbody tr').cells[{place}].dataset.value = ''"
    )
    for _ in range(2):
        head(shown, "absent-table", "seed").locator("button").click()
        assert column(shown, "absent-table", place)[-1] == ""


def test_columns_are_filtered_by_text_and_by_number_and_cleared(open_page):
    shown = open_page()
    tools = shown.locator('.tools[data-for="overview-table"]')
    tools.get_by_role("button", name="Filter columns").click()
    shown.get_by_label("Filter method").first.fill("OUR")
    assert column(shown, "overview-table", 0) == ["ours"]
    assert "1 of 3 rows shown." in tools.inner_text()
    tools.get_by_role("button", name="Clear filters").click()
    assert len(column(shown, "overview-table", 0)) == 3
    flops = shown.get_by_label("Filter FLOPs").first
    for text, kept in (
        ("> 1.5 T", ["theirs"]),
        ("<=1T", ["ours", "none"]),
        ("0.9T–1.1T", ["ours"]),
        ("2T", ["theirs"]),
        ("1e12 .. 2e12", ["ours", "theirs"]),
        ("0", ["none"]),
    ):
        flops.fill(text)
        assert column(shown, "overview-table", 0) == kept, text
    flops.fill("many")
    assert flops.get_attribute("aria-invalid") == "true"
    assert len(column(shown, "overview-table", 0)) == 3
    assert "A number filter reads" in tools.inner_text()


def test_published_figures_are_filtered_without_touching_what_is_measured(open_page):
    shown = open_page()
    shown.locator('.tools[data-for="published-table"] .filter').click()
    shown.locator("#published-table").get_by_label("Filter source").fill("Second-hand")
    sources = column(shown, "published-table", number_of(shown, "published-table", "source"))
    assert sources and all(source.endswith("second-hand") for source in sources)
    assert len(column(shown, "overview-table", 0)) == 3
    shown.locator('.tools[data-for="published-table"] .clear').click()
    shown.locator("#published-table").get_by_label("Filter method").fill("semaim")
    names = column(shown, "published-table", 0)
    assert names and all("SemAIM" in name for name in names)


def test_a_cell_opens_its_provenance_and_escape_closes_it_and_gives_the_focus_back(open_page):
    shown = open_page()
    cell = shown.locator("#overview-table button.cell").first
    cell.click()
    dialog = shown.locator("dialog[open]")
    assert dialog.count() == 1
    text = dialog.inner_text()
    for part in ("ours", "over pretraining seeds", "over test images, these weights"):
        assert part in text
    dialog.locator("details.run summary").first.click()
    assert "m0/seed0/nearest/test/result.json" in dialog.inner_text()
    assert "python tools/test.py leaf.py --method 0" in dialog.inner_text()
    shown.keyboard.press("Escape")
    assert shown.locator("dialog[open]").count() == 0
    assert cell.evaluate("cell => cell === document.activeElement")


def test_a_dialog_is_closed_by_its_button_and_by_a_click_beside_it(open_page):
    shown = open_page()
    shown.locator("button.cell").first.click()
    shown.locator("dialog[open] .close").click()
    assert shown.locator("dialog[open]").count() == 0
    shown.locator("button.cell").first.click()
    shown.mouse.click(400, 400)
    assert shown.locator("dialog[open]").count() == 1
    shown.mouse.click(5, 450)
    assert shown.locator("dialog[open]").count() == 0


def test_a_command_is_copied_or_at_least_selected(open_page):
    shown = open_page()
    shown.locator("button.cell").first.click()
    shown.locator("dialog[open] details.run summary").first.click()
    button = shown.locator("dialog[open] button.copy").first
    button.click()
    shown.wait_for_function("button => button.textContent !== 'Copy'", arg=button.element_handle())
    if button.inner_text() == "Selected":
        assert "tools/test.py" in shown.evaluate("getSelection().toString()")


def test_all_of_it_is_done_by_the_keyboard_alone(open_page):
    shown = open_page()

    def tab_to(selector):
        for _ in range(200):
            shown.keyboard.press("Tab")
            if shown.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"no Tab leads to {selector}")

    tab_to("#overview-table thead th:nth-child(5) button.sort")
    outline = shown.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    shown.keyboard.press("Enter")
    assert head(shown, "overview-table", "knn").get_attribute("aria-sort") == "descending"
    tab_to("#overview-table button.cell")
    shown.keyboard.press("Space")
    assert shown.locator("dialog[open]").count() == 1
    assert shown.evaluate("document.activeElement.closest('dialog[open]') !== null")
    tab_to("dialog[open] summary")
    shown.keyboard.press("Enter")
    assert shown.locator("dialog[open] details[open]").count() >= 1
    shown.keyboard.press("Escape")
    assert shown.locator("dialog[open]").count() == 0


def test_further_metrics_are_shown_when_asked_for(open_page):
    shown = open_page()
    button = shown.get_by_role("button", name="Further metrics (1)")
    table = shown.locator(f"#{button.get_attribute('aria-controls')}")
    assert "layer3/top1_k10" not in table.inner_text()
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert "layer3/top1_k10" in table.inner_text() and "12.50" in table.inner_text()


def test_an_order_map_is_enlarged(open_page):
    shown = open_page()
    shown.locator("button.enlarge").first.click()
    picture = shown.locator("dialog#picture[open]")
    assert picture.locator("h2").inner_text() == "000007"
    assert picture.locator("img").evaluate("image => image.naturalWidth") == 40
    shown.keyboard.press("Escape")
    assert shown.locator("dialog[open]").count() == 0


def test_charts_are_drawn_with_bars_points_and_curves(open_page):
    shown = open_page()
    assert shown.locator(".chart .main-svg").count() >= 5
    knn = shown.locator('.chart[data-figure="bars-group-0"]')
    assert knn.locator(".barlayer .point").count() == 3
    assert knn.locator(".errorbar").count() == 6
    assert shown.locator('.chart[data-figure="cost-group-0"] .scatterlayer .point').count() == 2
    assert shown.locator('.chart[data-figure="curves-0"] .scatterlayer .js-line').count() == 6


def test_dark_and_light_follow_the_system_until_the_button_is_pressed(open_page):
    def paper(shown):
        return shown.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = open_page(), open_page(scheme="dark")
    assert paper(light) == "rgb(255, 255, 255)" != paper(dark)
    ink = "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
    before = dark.evaluate(ink)
    button = dark.locator("#theme")
    assert button.inner_text() == "Light theme"
    button.click()
    assert paper(dark) == paper(light) and button.inner_text() == "Dark theme"
    dark.wait_for_function(f"before => {ink} !== before", arg=before)
    light.emulate_media(color_scheme="dark")
    assert paper(light) != "rgb(255, 255, 255)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(open_page, scheme):
    shown = open_page(scheme=scheme)
    ratios = shown.evaluate(
        """() => {
          const level = (name) => {
            const made = document.createElement('i');
            made.style.color = `var(--${name})`;
            document.body.append(made);
            const parts = getComputedStyle(made).color.match(/[\\d.]+/g).map((v) => {
              const s = v / 255;
              return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
            });
            made.remove();
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const pairs = [['ink', 'paper'], ['quiet', 'paper'], ['quiet', 'shade'],
            ['quiet', 'badge'], ['accent', 'paper'], ['good', 'good-back'], ['bad', 'bad-back']];
          return pairs.map(([text, ground]) => {
            const [low, high] = [level(text), level(ground)].sort((a, b) => a - b);
            return [`${text} on ${ground}`, (high + 0.05) / (low + 0.05)];
          });
        }"""
    )
    # WCAG 2.2, 1.4.3: contrast of text at level AA
    assert [pair for pair in ratios if pair[1] < 4.5] == []
