"""200 kills: SIGKILL to sweeps and trials at random moments; the study must end as if undisturbed.

Starts ``python -m sweeps`` on tiny runs again and again, kills it or one of its trials, and at
the end lets it finish. Says what was struck, and fails where a finished trial changed, the study
misses its target, or SQLite finds a fault.

    python benchmarks/sweep_kills.py [--kills 200] [--seed 0]
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import TrialState

ARMS = ("topk", "expert_choice", "uniform")
TRIALS = 12


def start(out: Path) -> subprocess.Popen[bytes]:
    """The sweep, as a user starts it."""
    settings = ["sweep=tiny", f"trials={TRIALS}", "workers=2", "retries=1000", f"out={out}"]
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps", *settings],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def trials_of(pid: int) -> list[int]:
    """Processes that train for a sweep: grandchildren with a session of their own."""
    parents, leaders = {}, set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            process = int(path.parent.name)
            parents[process] = int(fields[1])
            if int(fields[3]) == process:
                leaders.add(process)
    return [each for each in leaders if parents.get(parents.get(each, 0)) == pid]


def finished(out: Path) -> dict[tuple[str, int], list[float]]:
    """The values of every trial that is complete."""
    if not (out / "study.db").exists():
        return {}
    url = f"sqlite:///{out / 'study.db'}"
    names = set(optuna.get_all_study_names(url))
    return {
        (arm, trial.number): trial.values
        for arm in ARMS
        if f"tiny/{arm}" in names
        for trial in optuna.load_study(study_name=f"tiny/{arm}", storage=url).get_trials()
        if trial.state == TrialState.COMPLETE
    }


def torment(out: Path, kills: int, draw: random.Random) -> Counter[str]:
    """Kill until so many kills were dealt; returns what they struck."""
    struck: Counter[str] = Counter()
    known: dict[tuple[str, int], list[float]] = {}
    while struck.total() < kills:
        process = start(out)
        while process.poll() is None and struck.total() < kills:
            time.sleep(2 * draw.random())
            victims = trials_of(process.pid)
            if victims and draw.random() < 0.8:
                with suppress(ProcessLookupError):
                    os.kill(draw.choice(victims), signal.SIGKILL)
                    struck["trial"] += 1
            elif victims:
                process.kill()
                struck["sweep"] += 1
                break
        process.kill()
        process.communicate()
        now = finished(out)
        lost = [key for key, values in known.items() if now.get(key) != values]
        if lost:
            raise SystemExit(f"finished trials were lost or changed: {lost}")
        known = now
        if len(now) == len(ARMS) * TRIALS:
            print(f"the sweep finished after {struck.total()} kills", flush=True)
            break
    return struck


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    draw = random.Random(options.seed)
    struck: Counter[str] = Counter()
    sweeps = 0
    while struck.total() < options.kills:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "sweep"
            struck += torment(out, options.kills - struck.total(), draw)
            last = start(out)
            _, errors = last.communicate()
            if last.returncode:
                raise SystemExit(f"the sweep ended with {last.returncode}: {errors.decode()}")
            check(out)
            sweeps += 1
    print(f"{struck['trial']} trials and {struck['sweep']} sweeps killed over {sweeps} sweeps;")
    print("every finished trial kept its value, every study met its target, SQLite is intact")


def check(out: Path) -> None:
    """Raise where the study is not what it would be without kills."""
    done = finished(out)
    wanted = {(arm, number) for arm in ARMS for number in range(TRIALS)}
    if done.keys() != wanted:
        raise SystemExit(f"missing: {wanted - done.keys()}; too many: {done.keys() - wanted}")
    with sqlite3.connect(out / "study.db") as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise SystemExit(f"SQLite: {verdict}")


if __name__ == "__main__":
    main()
