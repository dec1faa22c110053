"""The page of a suite: whole, safe, and true to the comparison."""

import re
from collections import Counter
from pathlib import Path

import pytest

from sweeps import comparison_of, costs_of, read_suite
from sweeps.report import write_suite_pages
from sweeps.report.figures import render as rendering
from sweeps.report.suite.speedups import speedups_of

from ..pages import CHROMIUM, NASTY, Page, browse
from ..suites import ROUTERS, write_suite_folder


def written(folder: Path) -> str:
    comparison = comparison_of(read_suite(folder))
    return write_suite_pages(comparison, costs_of(comparison), folder).read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_suite_folder(
        tmp_path_factory.mktemp("suites") / "s",
        gaps={("words", "hash"): "needs a task id"},
    )
    (folder / "words" / "report.html").touch()
    return folder


@pytest.fixture(scope="module")
def text(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "as_pdf", lambda sheet, title: b"")
        return written(folder)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_first_screen_answers(page):
    shown = page.shown()
    place = [shown.index(part) for part in ("3 routers and 3 controls on 4", "Over words, pairs")]
    place += [shown.index("Routing matters in"), shown.index("▲ better and ▼ worse")]
    assert place == sorted(place)
    assert "hash has no complete results in words" in shown


def test_sections(page):
    titles = [data for tag, data in page.text if tag == "h2"]
    assert titles == [
        "Arms and benchmarks",
        "Aggregates",
        "Mean ranks",
        "Performance profiles",
        "Load and compute",
        "Effective speed-up over random_fixed",
        "Trade-offs",
        "Power",
        "Protocol",
        "Reports of benchmarks",
        "Methods",
    ]
    ids = Counter(attrs["id"] for _, attrs in page.tags if attrs.get("id"))
    assert max(ids.values()) == 1


def test_the_matrix_has_numbers_marks_and_gaps(folder, page):
    comparison = comparison_of(read_suite(folder))
    cells = [attrs for attrs in page.named("td") if attrs.get("data-label") == "words"]
    assert [cell["data-value"] for cell in cells] == [
        "" if (mean := comparison.mean_in("words", label)) is None else str(mean)
        for label in comparison.order
    ]
    words = Counter(a["aria-label"] for a in page.named("span") if a.get("role") == "img")
    assert words["better than random_fixed over the suite"] == 4
    assert words["better than random_fixed, corrected within this benchmark alone"] == 1
    assert {"class": "gap", "title": "needs a task id"} in page.named("span")


def test_the_protocol_is_shown(page):
    shown = page.shown()
    for part in (
        "0123456789ab",
        "2024-05-02T09:30:00+00:00: arm added: hash",
        "sha256 000000010000",
        "1000, 1001, 1002",
        "router=topk moe.control=iso_parameter",
        "none: no arm exceeds random_fixed",
        "needs a task id",
        "at most 5% for any of its 15 pairs",
    ):
        assert part in shown


def test_links_lead_to_pages_that_exist(page):
    links = [a["href"] for a in page.named("a") if not a["href"].startswith("#")]
    assert links == ["words/report.html"]


def test_figures_name_every_arm_and_lie_beside_the_page(folder, page):
    words = " ".join(attrs.get("aria-label") or "" for attrs in page.named("svg"))
    assert "Mean ranks: dense, parameters of topk" in words
    assert "Performance profiles, expert_choice" in words
    assert "normalized score against MaxVio. Not dominated: expert_choice" in words
    names = {path.stem for path in (folder / "figures").glob("*.svg")}
    assert names == {"iqm", "improvement", "ranks", "profiles", "pareto"}
    for path in (folder / "figures").glob("*.svg"):
        assert not re.search(r'd="[^"]*(nan|inf)', path.read_text())


def test_nothing_is_fetched(text):
    assert not re.search(r"https?:|src=|@import|url\(|fetch\(|XMLHttp|import\(", text)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.usefixtures("page")
def test_a_browser_has_nothing_to_complain_of(folder, tmp_path):
    done = browse(folder / "report.html", tmp_path)
    assert "Routing matters in" in done.stdout
    assert '<th scope="col" data-sort=""><button' in done.stdout  # the script ran
    assert "CONSOLE" not in done.stderr


@pytest.mark.usefixtures("undrawn")
def test_what_users_wrote_is_escaped(tmp_path):
    arms = [*ROUTERS[:2], (NASTY, [f"router={NASTY}"], False, 0.5), *ROUTERS[3:]]
    folder = write_suite_folder(tmp_path / "s", arms=arms, gaps={("pairs", "topk"): NASTY})
    page = Page(written(folder))
    assert NASTY in page.shown()
    assert len(page.named("script")) == len(page.named("style")) == 1


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 1}, "There are no verdicts"),
        ({"arms": ROUTERS[:3]}, "The suite has neither random_fixed nor uniform"),
        ({"arms": ROUTERS[:1]}, "0 at no arm"),
        ({"spread": {"words": 0.3}}, "Over words, expert_choice"),
        ({"spread": {"words": 0.0}}, "No arm exceeds random_fixed"),
        ({"arms": ROUTERS[4:]}, "no router has complete results"),
    ],
)
def test_suites_without_parts_of_it(tmp_path, changes, words):
    assert words in Page(written(write_suite_folder(tmp_path / "s", **changes))).shown()


@pytest.mark.usefixtures("undrawn")
def test_speedups_of_steps_and_flops(tmp_path):
    folder = write_suite_folder(tmp_path / "s", spread={"words": 0.3, "pairs": 0.3})
    curves = {"random_fixed": [0.1, 0.2, 0.3, 0.4], "topk": [0.2, 0.4, 0.6, 0.8]}
    for path in folder.rglob("metrics.csv"):
        scores = curves.get(path.parents[1].name, [0.1, 0.2, 0.3, 0.3])
        rows = [f"{10 * number},{score}" for number, score in enumerate(scores, 1)]
        first = -1 if "pairs" in path.parts else 0  # validated once
        path.write_text("\n".join(["step,val/accuracy", *rows[first:]]))
    found = speedups_of(comparison_of(read_suite(folder)))
    assert [list(each.found) for each in found] == [["words"], ["words"]]
    steps, flops = (each.found["words"] for each in found)
    assert "random_fixed" not in steps
    assert [steps["topk"].value, *vars(steps["topk"].interval).values()] == [2.0, 2.0, 2.0]
    assert flops["topk"].value == pytest.approx(10)  # a fifth of the control's FLOPs in a step
    assert (steps["hash"].value, steps["hash"].censored) == (1.0, True)
    shown = Page(written(folder)).shown()
    assert "2.00[2.00, 2.00]" in shown
    assert "< 1.00" in shown
    for path in folder.rglob("metrics.csv"):
        path.unlink()
    assert "Effective speed-up" not in Page(written(folder)).shown()


@pytest.mark.usefixtures("undrawn")
def test_written_twice_it_is_the_same(tmp_path):
    folder = write_suite_folder(tmp_path / "s")
    assert written(folder) == written(folder)
