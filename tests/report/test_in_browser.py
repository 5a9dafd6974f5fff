"""The page of `grao report` in Chromium: drawn, searched, sorted, compared; hostile texts execute nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.testing import group_row, score_row, write_table
from tests import tiny
from tests.report.pages import Scheme, on_disk, visit, wait_until
from tests.rounds.running import in_this_process
from website.screenshots import take

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)><svg onload=alert(3)>",
    "</script></pre><iframe srcdoc='<script>parent.alert(4)</script>'></iframe>",
    "\x1b[31mred\x1b[0m \u202eoverridden \x00 javascript:alert(5)",
    "<style>*{display:none}</style><!-- {{7*7}} ${alert(6)} ]]>",
]


@pytest.fixture(scope="module")
def page(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the finished run."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    with in_this_process():
        tiny.grao_json("tournament", finished_run.with_name("rounds.yaml"))  # its two variants: all is done already
    summary = tiny.grao_json("report", finished_run, out)
    assert summary["notes"] == []
    return out


@pytest.mark.slow
@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_drawn_without_an_error_or_a_request(
    chromium: Any, page: Path, size: str, scheme: Scheme
) -> None:
    with visit(chromium, on_disk(page), size, scheme) as seen:
        wait_until(
            seen.page,
            "document.querySelectorAll('figure').length === document.querySelectorAll('figure svg[role=img]').length",
        )
        # Marks, not frames alone: intervals of the outcome, lines of the training, bars of the rewards.
        for mark in ("[data-mark=rule] line", "[data-mark=line] path", "[data-mark=bar] rect"):
            assert seen.page.locator(f"figure svg[role=img] {mark}").count() > 1, mark
        for title in (
            "Outcome",
            "Tournament",
            "Sweep",
            "Training",
            "Rewards",
            "Lengths",
            "Time and cost",
            "Where it came from",
        ):
            assert seen.page.get_by_role("heading", name=title, exact=True).count() == 1
        width = seen.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], "the page is wider than the screen"
        assert seen.serious_violations() == []
        seen.page.goto(f"{on_disk(page)}#samples")
        seen.page.wait_for_selector(".row .title")
        assert seen.serious_violations() == []
        assert (seen.requests, seen.problems) == ([], [])


@pytest.mark.slow
def test_the_report_shows_the_differences_of_a_tournament(chromium: Any, page: Path, finished_run: Path) -> None:
    """The numbers of the table are those of tournament.json."""
    result = json.loads((finished_run / "tournament.json").read_text())
    with visit(chromium, on_disk(page)) as seen:
        section = seen.page.locator("#tournament")
        assert f"against {result['baseline']}, prompt by prompt" in section.inner_text()
        assert section.locator("figure svg[role=img] [data-mark=dot] circle").count() == len(result["rows"]) - 1
        for row in result["rows"]:
            cells = section.locator("tr", has=seen.page.get_by_text(row["method"])).last.locator("td").all_inner_texts()
            assert cells[1] == f"{row['metrics']['mean_reward']['value']:.4f}"
            difference = row["difference"]
            assert cells[4] == (f"{difference['value']:.4f}" if difference else "–")
        assert seen.problems == []


@pytest.mark.slow
def test_the_pictures_of_the_documents_are_taken_from_a_report(chromium: Any, page: Path, tmp_path: Path) -> None:
    """As `python -m website.screenshots` does; width and height stand in the header of a PNG."""
    for path in take(chromium, page, tmp_path):
        data = path.read_bytes()
        assert (data[:8], int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (b"\x89PNG\r\n\x1a\n", 1280, 800)
        assert len(data) > 20_000  # an empty page has a tenth of that


def test_a_damaged_tournament_is_named_in_the_report(tmp_path: Path) -> None:
    write_table(tmp_path / "run" / "groups", "groups", [group_row("q", ["a", "b"])])
    (tmp_path / "run" / "tournament.json").write_text("{}")
    [note] = tiny.grao_json("report", tmp_path / "run", tmp_path / "report.html")["notes"]
    assert "tournament.json" in note


@pytest.mark.slow
def test_a_group_is_found_sorted_and_compared_by_keyboard(chromium: Any, page: Path) -> None:
    with visit(chromium, on_disk(page)) as seen:
        seen.page.goto(f"{on_disk(page)}#samples")
        seen.page.wait_for_selector(".row .title")
        seen.page.get_by_label("Groups", exact=True).select_option("beta=0.5/round-1/generate")
        wait_until(seen.page, "document.querySelector('.detail .where').textContent.includes('round 1')")
        seen.page.get_by_label("Order").select_option("spread")
        wait_until(seen.page, "document.querySelectorAll('.row .facts').length >= 5")
        spread = (
            "[...document.querySelectorAll('.row .facts')].map(e => Number(e.textContent.match(/spread ([0-9.]+)/)[1]))"
        )
        wait_until(seen.page, f"{spread}.every((value, index, all) => index === 0 || value <= all[index - 1])")
        spreads = seen.page.evaluate(spread)
        assert len(set(spreads)) > 1
        seen.page.keyboard.press("/")
        seen.page.keyboard.type("NUMBER 7")
        wait_until(seen.page, "document.querySelector('.state').textContent === '1 of 10 groups'")
        assert seen.page.locator(".row").count() == 1
        assert seen.page.locator(".turn mark").inner_text() == "number 7"
        seen.page.keyboard.press("Escape")
        assert seen.page.locator("ins, del").count() == 0
        seen.page.keyboard.press("d")
        seen.page.wait_for_selector(".card ins, .card del")
        assert "of round 0 · training" in seen.page.locator(".card .cut").first.inner_text()
        seen.page.keyboard.press("[")
        wait_until(seen.page, "document.querySelector('.detail .where').textContent === 'round 0 · training'")
        assert "number 7" in seen.page.locator(".turn").inner_text()
        assert seen.problems == []


@pytest.mark.slow
def test_texts_of_models_execute_nothing_and_show_what_they_hide(chromium: Any, tmp_path: Path) -> None:
    row = group_row(HOSTILE[0], HOSTILE, reference=HOSTILE[1])
    row["reasoning"] = [*HOSTILE[1:], None]
    row["answers"] = HOSTILE
    write_table(tmp_path / "run" / HOSTILE[1].replace("/", ""), "groups", [row], fingerprint="g" * 32)
    scores = {**score_row(row["group_id"], [0.1, 0.2, 0.3, 0.4, 0.5], 0.3), "details": HOSTILE}
    write_table(
        tmp_path / "run" / "scores", "scores", [scores], options={"name": HOSTILE[0]}, inputs={"groups": "g" * 32}
    )
    out = tmp_path / "report.html"
    tiny.grao_json("report", tmp_path / "run", out, "--title", HOSTILE[2])
    assert not any(text in out.read_text() for text in HOSTILE)
    with visit(chromium, on_disk(out)) as seen:
        seen.page.goto(f"{on_disk(out)}#samples")
        seen.page.wait_for_selector(".card")
        seen.page.keyboard.press("r")
        seen.page.wait_for_selector("details.thought[open]")
        text = seen.page.locator(".detail").inner_text()
        shown = [HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[4]]
        assert [line for line in shown if line not in text] == []
        assert "\\u001b[31mred\\u001b[0m \\u202eoverridden \\u0000" in text
        assert seen.page.locator("img, iframe, .detail script, .detail style").count() == 0
        assert (seen.requests, seen.problems) == ([], [])
        # Even a script that gets into the page is stopped: the policy knows the scripts of the page alone.
        seen.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.hurt=1>')")
        seen.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'hurt = 1'}))")
        seen.page.wait_for_timeout(100)
        assert seen.page.evaluate("window.hurt === undefined")
        assert len(seen.problems) >= 2


@pytest.mark.slow
def test_five_thousand_groups_stay_fluid(chromium: Any, tmp_path: Path) -> None:
    """The list has elements for what is seen alone, whatever the number of groups."""
    rows = [group_row(f"question {i}", [f"answer {i} {'word ' * 40}{k}" for k in range(4)]) for i in range(5000)]
    write_table(tmp_path / "run" / "groups", "groups", rows, rows_per_part=1000)
    tiny.grao_json("report", tmp_path / "run", tmp_path / "report.html")
    with visit(chromium, on_disk(tmp_path / "report.html")) as seen:
        seen.page.goto(f"{on_disk(tmp_path / 'report.html')}#samples")
        seen.page.wait_for_selector(".row .title")
        seen.page.get_by_role("searchbox").fill("answer 4999 ")
        wait_until(seen.page, "document.querySelector('.state').textContent === '1 of 5,000 groups'")
        seen.page.get_by_role("searchbox").fill("")
        wait_until(seen.page, "document.querySelector('.state').textContent === '5,000 groups'")
        seen.page.evaluate("document.querySelector('.list').scrollTop = 1e9")
        wait_until(
            seen.page, "[...document.querySelectorAll('.row .title')].some(e => e.textContent === 'question 4999')"
        )
        assert seen.page.locator(".row").count() < 60
        assert seen.problems == []
