"""Send SIGKILL to drivers, trials, ranks and jobs at random; a sweep must end as without kills.

Starts ``python -m sweeps`` on tiny runs repeatedly, kills it, one of its trials, one of the ranks
of a trial on several devices or one of its jobs, and finally lets it finish. Prints what was
killed, and fails if a finished trial changed, the study misses its number of trials, a result is
missing, or SQLite reports a fault. Settings such as ``engine=slurm`` run the sweep elsewhere: what
is killed are the processes of this machine. ``--run trainer.devices=2 --seconds 30`` trains on two
devices, and lets ranks start.

    python benchmarks/stress/sweep_kills.py [--kills 300] [--run key=value] [key=value …]
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import optuna
from omegaconf import OmegaConf
from optuna.trial import TrialState

from tasks import CONF

ARMS = ("topk", "expert_choice", "uniform")
TRIALS, SEEDS = 12, 2


def start(out: Path, more: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the sweep."""
    settings = ["sweep=tiny", f"trials={TRIALS}", "workers=2", "retries=1000", "quiet=true"]
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps", *settings, *more, f"out={out}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def victims(out: Path, driver: int) -> dict[str, list[int]]:
    """Processes of the sweep's trials, their ranks, and the jobs of Slurm or the tasks of Ray.

    A trial writes its output to the sweep's folder; a fork server of the job is its parent.
    """
    trials, ranks, jobs = [], [], set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            output = os.readlink(path / "fd" / "1")
            if not (output.startswith(f"{out.parent}{os.sep}") and output.endswith(".txt")):
                continue
            if b"tasks.running.launched" in (path / "cmdline").read_bytes():
                ranks.append(int(path.name))
            else:
                trials.append(int(path.name))
                jobs.add(parent(parent(int(path.name))))
    return {"trial": trials, "rank": ranks, "job": sorted(jobs - {0, 1, driver})}


def parent(process: int) -> int:
    """The process that started another one, or adopted it."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def finished(out: Path) -> dict[tuple[str, int], list[float]]:
    """Values of every complete trial."""
    if not (out / "study.db").exists():
        return {}
    url = f"sqlite:///{out / 'study.db'}"
    names = set(optuna.get_all_study_names(url))
    return {
        (study, trial.number): trial.values
        for study in (*ARMS, "confirmed")
        if f"tiny/{study}" in names
        for trial in optuna.load_study(study_name=f"tiny/{study}", storage=url).get_trials()
        if trial.state == TrialState.COMPLETE
    }


def kill_repeatedly(
    out: Path, kills: int, seconds: float, draw: random.Random, more: Sequence[str]
) -> Counter[str]:
    """Kill processes of a sweep ``kills`` times; returns how often each kind was killed."""
    killed: Counter[str] = Counter()
    known: dict[tuple[str, int], list[float]] = {}
    while killed.total() < kills:
        driver = start(out, more)
        while driver.poll() is None and killed.total() < kills:
            time.sleep(seconds * draw.random())
            alive = {kind: numbers for kind, numbers in victims(out, driver.pid).items() if numbers}
            if alive and draw.random() < 0.9:  # a driver takes longest to start again
                kind = draw.choice(sorted(alive))
                with suppress(ProcessLookupError):
                    os.kill(draw.choice(alive[kind]), signal.SIGKILL)
                    killed[kind] += 1
            elif alive:
                driver.kill()
                killed["driver"] += 1
                break
        driver.kill()
        driver.communicate()
        now = finished(out)
        lost = [key for key, values in known.items() if now.get(key) != values]
        if lost:
            raise SystemExit(f"finished trials were lost or changed: {lost}")
        known = now
        if len(now) == len(ARMS) * (TRIALS + SEEDS):
            print(f"the sweep finished after {killed.total()} kills", flush=True)
            break
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=2, help="longest time between two kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", action="append", default=[], metavar="key=value")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    options = parser.parse_args()
    if options.run:
        tiny = OmegaConf.load(CONF / "sweep" / "tiny.yaml").run
        options.settings.append(f"run={json.dumps([*tiny, *options.run])}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    draw = random.Random(options.seed)
    killed: Counter[str] = Counter()
    sweeps = 0
    while killed.total() < options.kills:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder).resolve() / "sweep"
            rest = options.kills - killed.total()
            killed += kill_repeatedly(out, rest, options.seconds, draw, options.settings)
            final = start(out, options.settings)
            _, errors = final.communicate()
            if final.returncode:
                raise SystemExit(f"the sweep exited with {final.returncode}: {errors.decode()}")
            check(out)
            sweeps += 1
    print(f"{dict(killed)} killed over {sweeps} sweeps;")
    print("every finished trial kept its value, every study met its target, SQLite is intact")


def check(out: Path) -> None:
    """Raise SystemExit if the study or the results differ from those without kills."""
    done = finished(out)
    wanted = {(arm, number) for arm in ARMS for number in range(TRIALS)}
    wanted |= {("confirmed", number) for number in range(len(ARMS) * SEEDS)}
    if done.keys() != wanted:
        raise SystemExit(f"missing: {wanted - done.keys()}; unexpected: {done.keys() - wanted}")
    for arm in ARMS:
        for number in range(TRIALS):
            path = out / "trials" / arm / f"{number:04d}" / "seed-0" / "result.json"
            score = json.loads(path.read_text())["score"]["validation"]
            if done[arm, number] != [score]:
                raise SystemExit(f"{path}: {score}, but the study has {done[arm, number]}")
    with sqlite3.connect(out / "study.db") as connection:
        (status,) = connection.execute("PRAGMA integrity_check").fetchone()
    if status != "ok":
        raise SystemExit(f"SQLite: {status}")


if __name__ == "__main__":
    main()
