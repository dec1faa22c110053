"""The page of a sweep: whole, true to the tables, safe, and readable without a network."""

import csv
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import optuna
import pytest

from routers import ConfigError, comparison
from sweeps import Objective, main, read_sweep
from sweeps.report import write_report
from sweeps.report.build import inches
from sweeps.report.data import ReportData, collect
from sweeps.report.figures import render as rendering
from sweeps.report.figures.pareto import ParetoPoint, front_line
from sweeps.report.figures.render import Drawing, Figure, Panel
from sweeps.report.figures.style import ARM_COLORS, DARK, LIGHT, ArmStyle, arm_styles
from sweeps.report.figures.text import overlap, place_labels
from sweeps.report.logs import Curve, curve, read_log, read_tables
from sweeps.report.sections import make_sections
from sweeps.report.sections.section import Section
from sweeps.report.studies import read_studies
from sweeps.results.leaderboard import write_leaderboard
from sweeps.results.ranking import standings
from tasks import RouteTable
from tasks.routes import LayerRoutes

from ..folders import ARMS, FakeArm, add_best, write_sweep
from ..pages import CHROMIUM, NASTY, Page, browse


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("sweeps") / "small")


@pytest.fixture(scope="module")
def page(folder):
    write_report(folder)
    return Page((folder / "report.html").read_text())


def report(folder: Path) -> Page:
    return Page(write_report(folder).read_text())


def collected(folder: Path) -> ReportData:
    sweep = read_sweep(folder)
    return collect(sweep, standings(sweep))


@pytest.fixture(scope="module")
def sections(folder):
    return make_sections(collected(folder))


def drawn(folder: Path, name: str) -> Drawing:
    """One figure of the report, without the others, which take seconds."""
    return drawn_of(make_sections(collected(folder)), name)


def drawn_of(sections: list[Section], name: str, width: float | None = None) -> Drawing:
    (figure,) = (each for section in sections for each in section.figures if each.name == name)
    return rendering.render(figure, width)


def test_anchors_and_ids(page):
    ids = Counter(attrs["id"] for _, attrs in page.tags if attrs.get("id"))
    assert max(ids.values()) == 1
    links = [attrs["href"] for attrs in (*page.named("a"), *page.named("use"))]
    assert links
    assert all(link.startswith("#") for link in links)
    assert all(link.removeprefix("#") in ids for link in links)


def test_nothing_is_fetched(folder, page):
    sources = [
        value
        for tag, attrs in page.tags
        for name, value in attrs.items()
        if name in ("src", "srcset", "data", "action", "poster") or (name == "href" and tag != "a")
        if tag != "use"
    ]
    assert sources == ["data:,"]  # the icon, so that a browser asks for none
    text = (folder / "report.html").read_text()
    assert not re.search(r"https?:|src=|@import|url\(|fetch\(|XMLHttp|import\(", text)
    assert "default-src 'none'" in text


def test_every_arm_has_its_row_and_command(page):
    shown = page.shown()
    for arm in ARMS:
        assert arm.label in shown
    commands = [data for tag, data in page.text if tag == "code"]
    assert len(commands) == len(ARMS)
    assert all(command.startswith("python -m tasks task=digits") for command in commands)


@pytest.mark.usefixtures("undrawn")
def test_the_score_of_the_best_validation_has_a_column(tmp_path, page):
    folder = write_sweep(tmp_path / "s", ARMS[:2])
    assert "At best validation" not in page.shown()  # results of an older version
    add_best(folder)
    found = report(folder)
    cells = [
        attrs for attrs in found.named("td") if attrs.get("data-label") == "at best validation"
    ]
    assert [float(cell["data-value"]) for cell in cells] == pytest.approx(
        [1 - 0.9673, 1 - 0.962], abs=1e-4
    )
    assert "At best validation is the test score" in found.shown()


def test_numbers_are_those_of_the_csv(folder, page):
    write_leaderboard(folder)
    with (folder / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [attrs for attrs in page.named("td") if "data-value" in attrs and attrs.get("role")]
    of_board = cells[: len(cells) - len([c for c in cells if c.get("class") == "state"])]
    names = [c["data-value"] for c in of_board if c.get("class") == "name"]
    scores = [float(c["data-value"]) for c in of_board if c.get("class") == "n score"]
    assert names == [row["arm"] for row in rows]
    assert scores == [float(row["score.value"]) for row in rows]
    by_label = [
        [float(c["data-value"]) for c in of_board if c.get("data-label") == label]
        for label in ("max violation", "FLOPs per item", "seeds")
    ]
    assert by_label == [
        [float(row[name]) for row in rows]
        for name in ("load.max_violation", "compute.flops_per_item", "seeds")
    ]
    for row in rows:
        assert f"{float(row['score.value']):.3f} [{float(row['low']):.3f}" in page.shown()


def test_the_answer_names_leader_equals_and_losers(page):
    shown = page.shown()
    assert "expert_choice leads with accuracy 0.967" in shown
    assert "topk and dense, equal FLOPs are not distinguishable from it." in shown
    assert "random_fixed is worse." in shown


def test_figures_lie_beside_it(folder, page):
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {
        f"{name}.svg" for name in ("scores", "pareto", "learning", "load", "specialization")
    } <= names
    for path in (folder / "figures").glob("*.svg"):
        root = ET.fromstring(path.read_text())
        drawn = [part for part in root.iter() if part.tag.endswith(("path", "text"))]
        assert len(drawn) > 10
        assert "var(" not in path.read_text()  # what prints knows no themes
        assert not re.search(r"nan|inf\b", " ".join(part.get("d", "") for part in drawn))


def draw_all_marks(axes):
    axes.plot([0, 90], [0, 40], linestyle="--", color=LIGHT["ink"])
    axes.fill([0, 5, 0], [0, 5, 5], alpha=0.5, color=LIGHT["arm0"])
    axes.text(1, 1, "names $x$ 名")


def test_a_figure_as_pdf(tmp_path, monkeypatch):
    monkeypatch.undo()
    panels = [Panel("one", "words", draw_all_marks), Panel("a \ud800 \x07", "", draw_all_marks)]
    first = rendering.render(Figure("all", "All", "caption", panels)).pdf
    assert first.startswith(b"%PDF")
    assert b"/FontFile2" in first  # fonts are inside, as TrueType
    assert rendering.render(Figure("all", "All", "caption", panels)).pdf == first


def test_a_figure_is_the_same_on_the_page_and_in_its_file():
    drawing = rendering.render(Figure("all", "All", "c", [Panel("one", "words", draw_all_marks)]))
    (panel,) = drawing.panels
    on_page, in_file = ET.fromstring(panel), ET.fromstring(drawing.svg)
    lines = [
        {part.get("d") for part in root.iter() if part.tag.endswith("path")}
        for root in (on_page, in_file)
    ]
    assert lines[0]
    assert lines[0] <= lines[1]
    assert "names $x$ 名" in [part.text for part in on_page.iter("text")]
    assert on_page.get("aria-label") == "words"


def texts_of(svg: str) -> list[ET.Element]:
    return [part for part in ET.fromstring(svg).iter() if part.tag.endswith("text")]


@pytest.mark.parametrize(
    ("name", "label", "panels"),
    [
        ("learning", "accuracy", 4),
        ("loss", "loss", 4),
        ("load_cv", "load CV", 3),
        ("search", "accuracy", 4),
        ("load", "load / mean", 6),
        ("specialization", "expert", 6),
    ],
)
def test_every_panel_names_its_vertical_axis(folder, page, name, label, panels):
    turned = [
        text.text
        for text in texts_of((folder / "figures" / f"{name}.svg").read_text())
        if (text.get("transform") or "").startswith("rotate(-90 ")
    ]
    assert turned.count(label) == panels
    assert label in page.shown()


def test_the_score_against_costs_and_speed(page):
    titles = [data for tag, data in page.text if tag == "h4" and " against " in data]
    costs = ("max violation", "FLOPs per item", "training seconds", "training samples/s")
    assert titles[:4] == [f"accuracy against {cost}" for cost in costs]


def test_heat_maps_name_every_row_and_column(tmp_path):
    folder = write_sweep(tmp_path / "s", [FakeArm("topk", experts=33)])
    kinds = [f"kind {number}" for number in range(23)]
    rows = [f"0,{e},class,{kind},{1 + e % 5}" for e in range(33) for kind in kinds]
    table = folder / "confirmed" / "topk" / "seed-1000" / "confusion.csv"
    table.write_text("\n".join(["layer,expert,by,kind,rows", *rows]))
    names = [text.text for text in texts_of(drawn(folder, "specialization").svg)]
    assert {*kinds, *map(str, range(33))} <= {*names}


def test_nmi_is_a_mean_over_seeds(tmp_path):
    folder = write_sweep(tmp_path / "s", ARMS[:1])
    for number, path in enumerate(sorted(folder.glob("confirmed/topk/*/result.json"))):
        result = json.loads(path.read_text())
        result["layers"][1]["nmi"] = {"class": 0.1 * (number + 1)}
        path.write_text(json.dumps(result))
    texts = [text.text for text in texts_of(drawn(folder, "specialization").svg)]
    assert [text for text in texts if "NMI" in text] == ["class, NMI 0.20"]


def test_routes_that_runs_kept(tmp_path):
    """Arms of one seed differ in the names of experts only, and seeds are independent."""
    folder = write_sweep(tmp_path / "s", ARMS[:2])
    for path in folder.glob("confirmed/*/*/result.json"):
        result, seed = json.loads(path.read_text()), int(path.parent.name.removeprefix("seed-"))
        expert = np.random.default_rng(seed).integers(4, size=(4000, 1))
        if "topk" in path.parts:
            expert = (expert + 1) % 4
            kept = {"steps": [0, 10], "churn": [0.25], "saturation": [0.5, 1.0]}
            result["layers"][0]["routes"] = kept
        path.write_text(json.dumps(result))
        routes = comparison.Routes(
            4, np.arange(4001), expert.ravel(), np.ones_like(expert), np.ones(4000, dtype=bool)
        )
        layer = LayerRoutes("moe", "Router", routes, np.arange(4000), np.zeros(4000))
        (path.parent / "routes").mkdir()
        RouteTable((layer,)).write(path.parent / "routes" / "step-10.parquet")
    (folder / "confirmed/topk/seed-1000/routes/step-10.parquet").write_bytes(b"damaged")
    panels = drawn(folder, "agreement").figure.panels
    assert panels[1].alt == "Agreement of arms: expert_choice and topk 1.00"
    [section] = [each for each in make_sections(collected(folder)) if each.name == "routes"]
    churn, saturation, _ = section.figures
    assert [panel.alt for panel in churn.panels] == [
        "Churn of routes, topk: L0 from 0.25 to 0.25",
    ]
    assert saturation.panels[0].alt == "Saturation of routes, topk: L0 from 0.5 to 1"
    cells = texts_of(drawn(folder, "agreement").svg)
    assert [text.text for text in cells].count("expert_choice") == 2  # its row and its column


def test_the_load_of_many_layers_is_a_heat_map(tmp_path):
    folder = write_sweep(tmp_path / "s", ARMS[:2])
    for path in folder.glob("confirmed/topk/*/result.json"):
        loads = [[1, 3]] * 5 + [[1, 2, 3]]
        layers = [{"load": load} for load in loads]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"layers": layers}))
    drawing = drawn(folder, "load")
    words = "topk: in layer 0 the busiest of 3 experts has 1.5 times the mean load"
    assert any(words in panel for panel in drawing.panels)
    shown = [text.text for text in texts_of(drawing.svg)]
    assert shown.count("layer") == 2
    assert shown.count("3") == 3  # a layer of topk, and columns of both


@pytest.mark.parametrize("name", ["scores", "pareto", "learning", "load", "specialization"])
def test_a_figure_of_a_width(folder, page, sections, name):
    points = 486 if name == "load" else 234
    drawing = drawn_of(sections, name, float(points))
    assert ET.fromstring(drawing.svg).get("width") == f"{points}pt"
    for text in texts_of(drawing.svg):
        size = float(re.search(r"font-size:([\d.]+)px", text.get("style"))[1])
        assert size >= 9
        assert -1 < float(text.get("x")) < points + 1
    shown = (folder / "report.html").read_text()
    assert all(panel in shown for panel in drawing.panels)  # which flow with the page


def test_figures_for_a_paper(tmp_path):
    folder = write_sweep(tmp_path / "s", ARMS[:1], trials=0)
    write_report(folder, width=inches("single"))
    widths = {ET.fromstring(path.read_text()).get("width") for path in folder.glob("figures/*.svg")}
    assert widths == {"234pt"}


@pytest.mark.parametrize("width", ["1", "100", "nan", "triple", ""])
def test_a_width_that_no_paper_has(folder, capsys, width):
    assert main(["report", str(folder), f"width={width}"]) == 2
    error = capsys.readouterr().err
    assert f"width={width} is invalid: expected inches in [2, 40], single (3.25) or" in error


def test_figures_ignore_the_settings_of_the_user():
    figure = Figure("all", "All", "caption", [Panel("one", "words", draw_all_marks)])
    before = rendering.render(figure).svg
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": True}):
        assert rendering.render(figure).svg == before


def test_written_twice_it_is_the_same(tmp_path):
    folder = write_sweep(tmp_path / "s", ARMS[:1])
    write_report(folder)
    paths = [folder / "report.html", *(folder / "figures").glob("*.svg")]
    before = [path.read_bytes() for path in paths]
    write_report(folder)
    assert [path.read_bytes() for path in paths] == before


def test_what_users_wrote_is_escaped(tmp_path):
    arms = [FakeArm("to\x07pk"), FakeArm(NASTY, (0.9, 0.91, 0.92), params=((NASTY, NASTY),))]
    page = report(write_sweep(tmp_path / "nasty", arms, task=NASTY))
    assert NASTY in page.shown()
    assert len(page.named("script")) == 1
    assert len(page.named("style")) == 1
    assert "to\N{REPLACEMENT CHARACTER}pk" in page.shown()


def test_a_label_of_several_lines_stays_at_its_place(tmp_path):
    arms = [FakeArm("top\nk", imbalance=0.0), FakeArm("hash", (0.8, 0.8, 0.81))]
    svg = drawn(write_sweep(tmp_path / "lines", arms), "pareto").svg
    named = [text for text in texts_of(svg) if text.text == "top k"]
    assert named
    assert all(float(part.get("x")) > 0 and float(part.get("y")) > 0 for part in named)


def test_any_number_of_arms_and_experts(tmp_path):
    """More arms than colors, one of them with many experts."""
    long, arms = "a name without any end, " * 4, ARM_COLORS + 1
    made = [
        FakeArm(
            f"{long}{i}",
            (0.9 + i / 200, 0.91, 0.9),
            i / 10,
            1e6 * (1 + i),
            experts=2 if i else 32,
        )
        for i in range(arms)
    ]
    page = report(write_sweep(tmp_path / "many", made, trials=0))
    assert all(arm.label in page.shown() for arm in made)
    assert sum(attrs.get("class") == "arm-rows" for attrs in page.named("tbody")) == arms


def test_one_objective_no_trials_missing_seeds(tmp_path):
    only = [{"metric": "score.value", "direction": "maximize"}]
    arms = [FakeArm("topk"), FakeArm("hash", (0.9, None, 0.92)), FakeArm("uniform", (None,) * 3)]
    shown = report(write_sweep(tmp_path / "gaps", arms, objectives=only, trials=0)).shown()
    assert "Incomplete and therefore not ranked: hash (2 of 3 seeds) and uniform (0 of 3" in shown
    assert "All trials" not in shown


def test_nothing_confirmed_yet(tmp_path):
    page = report(write_sweep(tmp_path / "empty", [FakeArm("topk", (None,) * 3)]))
    assert "nothing to rank" in page.shown()


def test_numbers_that_are_none(tmp_path):
    """NaN scores and balances come back from result.json as null."""
    folder = write_sweep(tmp_path / "nan", [FakeArm("topk"), FakeArm("hash")])
    for path in (folder / "confirmed" / "hash").glob("seed-*/result.json"):
        number = r'("(value|max_violation|cv|flops_per_item)"): [-\d.e]+'
        path.write_text(re.sub(number, r"\1: null", path.read_text()))
    metrics = folder / "confirmed" / "topk" / "seed-1000" / "metrics.csv"
    metrics.write_text(re.sub(r"0\.\d+", "nan", metrics.read_text()))
    page = report(folder)
    drawn = " ".join(attrs.get("d") or "" for attrs in page.named("path"))
    assert "nan" not in drawn
    assert "hash (0 of 3 seeds)" in page.shown()


def test_curves_leave_out_blanks_and_average_seeds(tmp_path):
    texts = ("step,a\n1,1\n2,nan\n3,\n4,2\n", "step,a\n1,3\n4,inf\n5,6\n")
    logs = []
    for name, text in zip("xy", texts, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text(text)
        logs.append(read_log(tmp_path / name))
    assert curve(logs, "a") == Curve(
        "", [1, 4, 5], [2.0, 2.0, 6.0], [1.0, 2.0, 6.0], [3.0, 2.0, 6.0]
    )
    assert curve(logs, "b") is None


def test_a_run_without_its_tables(tmp_path):
    folder = write_sweep(tmp_path / "bare")
    for name in ("metrics.csv", "confusion.csv"):
        for path in folder.rglob(name):
            path.unlink()
    shown = report(folder).shown()
    assert "Leaderboard" in shown
    assert "Expert specialization" not in shown
    assert "Learning curves" not in shown


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.csv", b"\xff\xfe"),
        ("metrics.csv", b"epoch,a\n1,2\n"),
        ("metrics.csv", b"step,a\ninf,2\n"),
        ("confusion.csv", b"\xff\xfe"),
        ("confusion.csv", b"layer,expert,by,kind,rows\nx,0,class,0,5\n"),
        ("confusion.csv", b"layer,expert,by,kind,rows\n0,0,class,0,nan\n"),
        ("confusion.csv", b"layer,expert\n0,0\n"),
    ],
)
def test_a_damaged_log_is_left_out_with_its_name(tmp_path, caplog, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    read = {"metrics.csv": read_log, "confusion.csv": read_tables}[name]
    assert not read(tmp_path)
    (line,) = caplog.messages
    assert line.startswith(f"'{path}' is damaged and left out: ")


def test_runs_whose_layers_differ(tmp_path):
    folder = write_sweep(tmp_path / "s", ARMS[:1])
    for seed, layers in ((1000, None), (1001, [{"load": [3, 1]}])):
        path = folder / "confirmed" / "topk" / f"seed-{seed}" / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"layers": layers}))
    drawing = drawn(folder, "load")
    assert "topk, layer 1" in " ".join(drawing.panels)
    assert "another number of experts than in the arm's first run: topk." in drawing.svg


def test_a_damaged_study_is_left_out_with_its_name(tmp_path, caplog):
    folder = write_sweep(tmp_path / "s", ARMS[:1])
    (folder / "study.db").write_bytes(b"not a database" * 100)
    assert read_studies(folder) == []
    (line,) = caplog.messages
    assert line.startswith(f"sqlite:///{folder / 'study.db'} is left out: ")


def test_no_storage_outside_of_the_folder_is_opened_unless_it_is_named(tmp_path, caplog):
    folder, other = write_sweep(tmp_path / "s", ARMS[:1]), tmp_path / "other.db"
    url = f"sqlite:///{other}"
    with (folder / "sweep.yaml").open("a") as file:
        file.write(f"storage: {url}\n")
    assert read_studies(folder) == []
    assert not other.exists()
    assert "storage=URL" in caplog.text
    add_trial(url)
    assert read_studies(folder) == []
    (study,) = read_studies(folder, url)
    assert list(study.trials) == ["topk"]


@pytest.mark.parametrize("name", ["study.db", "study.db-wal", "study.db.lock"])
def test_no_study_is_opened_through_a_link(tmp_path, name):
    folder, mine = write_sweep(tmp_path / "s", ARMS[:1]), tmp_path / "mine"
    add_trial(f"sqlite:///{folder / 'study.db'}")
    assert read_studies(folder)
    (folder / "study.db").rename(mine) if name == "study.db" else mine.touch()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(mine)
    assert read_studies(folder) == []


def add_trial(url):
    """A trial of ``topk`` in the sweep ``s``."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="s/topk", storage=url)
    study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={"arm": "topk"}))


@pytest.mark.usefixtures("undrawn")
def test_links_are_not_followed(tmp_path):
    """A folder that was sent writes only to itself."""
    folder, mine = write_sweep(tmp_path / "s", ARMS[:2], trials=0), tmp_path / "mine"
    mine.write_text("precious")
    (folder / "figures").mkdir()
    for name in ("report.html", "leaderboard.csv", "figures/pareto.svg", "figures/scores.pdf"):
        for path in (folder / name, folder / f"{name}.part"):
            path.symlink_to(mine)
    write_leaderboard(folder)
    write_report(folder)
    assert mine.read_text() == "precious"
    shutil.rmtree(folder / "figures")
    (folder / "figures").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="figures: is a link to another folder"):
        write_report(folder)


@pytest.mark.usefixtures("undrawn")
def test_several_sweeps_become_one(tmp_path):
    one = write_sweep(tmp_path / "one", ARMS[:1], trials=0)
    arms = [FakeArm("hash"), FakeArm("topk", (0.9, 0.9, 0.91))]
    two = write_sweep(tmp_path / "two", arms, trials=0)
    page = Page(write_report([one, two], tmp_path / "both").read_text())
    assert all(label in page.shown() for label in ("topk (one)", "topk (two)", "hash"))
    assert not (one / "report.html").exists()


def test_no_sweep(tmp_path):
    with pytest.raises(ConfigError, match="sweep"):
        write_report(tmp_path / "nowhere")


def test_the_study_tells_parameters_and_their_importance(tmp_path):
    folder = write_sweep(tmp_path / "studied", ARMS[:1], trials=12)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name="studied/topk",
        storage=f"sqlite:///{folder / 'study.db'}",
        directions=["maximize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )

    def value(trial):
        trial.set_user_attr("arm", "topk")
        rate = trial.suggest_float("optimizer.lr", 0.0, 1.0)
        return rate + 1e-3 * trial.suggest_float("moe.capacity", 0.0, 1.0)

    study.optimize(value, n_trials=12)
    page = report(folder)
    words = " ".join(attrs.get("aria-label") or "" for attrs in page.named("svg"))
    assert int(re.search(r"topk: optimizer\.lr (\d+)%", words)[1]) > 90
    assert "Importance of parameters" in page.shown()
    assert "moe.capacity" in [data for tag, data in page.text if tag == "th"]


def test_pictures_have_words(page):
    for attrs in page.named("svg"):
        hidden = attrs.get("aria-hidden") == "true"
        assert hidden or (attrs["role"] == "img" and attrs["aria-label"])


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_has_nothing_to_complain_of(folder, page, tmp_path):
    done = browse(folder / "report.html", tmp_path)
    assert "expert_choice" in done.stdout
    assert 'class="copy"' in done.stdout  # the script ran to its end
    assert "CONSOLE" not in done.stderr


def test_names_in_a_plane_do_not_touch():
    draw = np.random.default_rng(0)
    points = [(x, y) for x, y in draw.uniform(20, 400, (30, 2))]
    names = [f"router number {i}" for i in range(30)]
    found = place_labels(points, names, (0, 0, 420, 420), 11)
    placed = [box for box in found if box is not None]
    assert len(placed) > 20
    assert not any(overlap(a, b) for a, b in combinations(placed, 2))
    dots = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    assert not any(overlap(a, b) for a in placed for b in dots)
    assert all(a[0] >= 0 and a[1] >= 0 and a[2] <= 420 and a[3] <= 420 for a in placed)


def test_no_two_arms_look_the_same():
    arms = [(f"r{i}", f"r{i}", False) for i in range(40)] + [("u", "u", True), ("v", "v", True)]
    styles = arm_styles([*arms, ("r0, trial 3", "r0", False)])
    assert len(set(styles.values())) == len(styles)
    assert styles["r0, trial 3"].color == styles["r0"].color
    assert styles["u"].color == styles["v"].color == "control"


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colors_stand_out_from_the_paper(theme):
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(name: str) -> float:
        low, high = sorted((luminance(theme[name]), luminance(theme["paper"])))
        return (high + 0.05) / (low + 0.05)

    assert min(contrast(name) for name in ("ink", "muted")) > 4.5  # text, by WCAG 2.1
    drawn = ["control", "dominated", *(f"arm{i}" for i in range(ARM_COLORS))]
    assert min(map(contrast, drawn)) > 3


def test_dominated_arms_are_hollow_and_the_front_is_not(tmp_path):
    arms = [FakeArm("good", (0.95,) * 3, 0.0), FakeArm("bad", (0.8,) * 3, 2.0)]
    root = ET.fromstring(drawn(write_sweep(tmp_path / "two", arms), "pareto").svg)
    fills = {
        group[0].text.split(":")[0]: re.search(r"fill:([^;]+)", group[1].get("style"))[1]
        for group in root.iter()
        if len(group) and group[0].tag.endswith("title") and group[0].text != "Trade-offs"
    }
    assert fills == {"good": LIGHT["arm0"], "bad": LIGHT["paper"]}


def test_the_front_line_passes_the_worse_corner():
    style = ArmStyle("arm0", "o")
    front = [ParetoPoint(f"{x}", style, x, y, True) for x, y in ((1.0, 1.0), (2.0, 3.0))]
    less, more = Objective("cost", "minimize"), Objective("score", "maximize")
    assert front_line(front, less, more) == [(1.0, 1.0), (2.0, 1.0), (2.0, 3.0)]
    assert front_line(front[::-1], more, less) == [(2.0, 3.0), (1.0, 3.0), (1.0, 1.0)]


def test_every_color_of_a_figure_follows_the_theme(folder, page):
    drawn = " ".join(
        attrs.get("style") or "" for tag, attrs in page.tags if tag in ("path", "text", "use")
    )
    assert "var(--arm0)" in drawn
    assert not re.search(r"#[0-9a-f]{3}|rgb|black|white", drawn)


def test_the_command_starts_without_drawing_libraries():
    code = (
        "import sys; import sweeps.stages.cli, sweeps.report; "
        "print(*[n for n in sys.modules if n.startswith(('sweeps.report.', 'jinja2'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sweeps.report.build"]
