"""The search: its progress, its promises against confirmed scores, and all trials."""

from math import isnan
from statistics import fmean
from typing import Any

from ...config.objectives import READ_IN_SEARCH, searched
from ..data import ArmData, ReportData
from ..figures.search import ArmSearch, importance_figure, search_figure
from ..studies import MIN_TRIALS, StudyData
from .section import Section


def search_section(data: ReportData) -> Section | None:
    """Return search against confirmation, progress, importances and the table of trials."""
    progress = search_figure(
        [_search(data, each) for each in data.arms],
        data.main.direction == "maximize",
        "Every finished trial and the best so far; dashed: mean of the best trial's settings "
        "over fresh seeds, on the same split.",
        data.sweep.score,
    )
    importance = importance_figure(
        [(_title(data, study), study.importances) for study in data.studies],
        data.styles,
        f"Share of the variance of {data.sweep.score} over trials that each parameter "
        f"explains (fANOVA), for searches with at least {MIN_TRIALS} finished trials.",
    )
    figures = [figure for figure in (progress, importance) if figure is not None]
    promises = _promises(data)
    trials = [row for each in data.arms for row in _trials(data, each)]
    if not (promises or figures or trials):
        return None
    context = {
        "promises": promises,
        "same_metric": data.main.metric not in READ_IN_SEARCH,
        "gap": fmean(p["confirmed"] - p["searched"] for p in promises) if promises else 0.0,
        "trials": trials,
        "complete": sum(row["state"] == "complete" for row in trials),
        "parameters": list(dict.fromkeys(name for row in trials for name in row["params"])),
    }
    return Section("search", "Search", figures, template="sections/search", context=context)


def _title(data: ReportData, study: StudyData) -> str:
    """Return the arm that a study searched; a joint study searches all of them."""
    locations = {(study.folder, name) for name in study.trials}
    labels = [each.label for each in data.arms if each.locations & locations]
    return labels[0] if len(labels) == 1 else "all arms together"


def _search(data: ReportData, each: ArmData) -> ArmSearch:
    metric = data.main.metric
    values = {trial["number"]: searched(trial["runs"], metric) for trial in each.arm.trials}
    trials = sorted((n, v) for n, v in values.items() if n is not None and v is not None)
    return each, trials, each.arm.mean(READ_IN_SEARCH.get(metric, metric))


def _promises(data: ReportData) -> list[dict[str, Any]]:
    """Return score of each best trial, and means of it and of the main metric over fresh seeds."""
    main = data.main.metric
    metric = READ_IN_SEARCH.get(main, main)
    found = []
    for each in data.arms:
        best = each.arm.search.get(main, each.arm.search.get(metric))
        confirmed = each.arm.mean(metric)
        if best is not None and not isnan(confirmed):
            means = {"searched": best, "confirmed": confirmed, "main": each.arm.mean(main)}
            found.append({"arm": each, **means})
    return found


def _trials(data: ReportData, each: ArmData) -> list[dict[str, Any]]:
    """Return all trials of an arm: those of its study, or else those with a folder."""
    folders = {trial["number"]: trial["runs"] for trial in each.arm.trials}
    known = {trial.number: trial for trial in each.trials_of(data.studies)}
    rows = []
    for number in sorted({n for n in (*folders, *known) if n is not None}):
        runs, trial = folders.get(number, []), known.get(number)
        state = trial.state.name.lower() if trial else "complete" if runs else "unfinished"
        values = [searched(runs, objective.metric) for objective in data.sweep.objectives]
        params = dict(trial.params) if trial else {}
        row = {"arm": each, "number": number, "state": state, "values": values, "params": params}
        rows.append(row)
    return rows
