"""Send SIGKILL to sweeps and trials at random times; the study must end as without kills.

Starts ``python -m sweeps`` on tiny runs repeatedly, kills it or one of its trials, and finally
lets it finish. Prints what was killed, and fails if a finished trial changed, the study misses
its number of trials, or SQLite reports a fault.

    python benchmarks/stress/sweep_kills.py [--kills 200] [--seed 0]
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
    """Start the sweep."""
    settings = ["sweep=tiny", f"trials={TRIALS}", "workers=2", "retries=1000", f"out={out}"]
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps", *settings],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def trials_of(pid: int) -> list[int]:
    """Training processes of a sweep: grandchildren that lead a session."""
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
    """Values of every complete trial."""
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


def kill_repeatedly(out: Path, kills: int, draw: random.Random) -> Counter[str]:
    """Kill trials and sweeps ``kills`` times; returns how often each was killed."""
    killed: Counter[str] = Counter()
    known: dict[tuple[str, int], list[float]] = {}
    while killed.total() < kills:
        process = start(out)
        while process.poll() is None and killed.total() < kills:
            time.sleep(2 * draw.random())
            victims = trials_of(process.pid)
            if victims and draw.random() < 0.8:
                with suppress(ProcessLookupError):
                    os.kill(draw.choice(victims), signal.SIGKILL)
                    killed["trial"] += 1
            elif victims:
                process.kill()
                killed["sweep"] += 1
                break
        process.kill()
        process.communicate()
        now = finished(out)
        lost = [key for key, values in known.items() if now.get(key) != values]
        if lost:
            raise SystemExit(f"finished trials were lost or changed: {lost}")
        known = now
        if len(now) == len(ARMS) * TRIALS:
            print(f"the sweep finished after {killed.total()} kills", flush=True)
            break
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    draw = random.Random(options.seed)
    killed: Counter[str] = Counter()
    sweeps = 0
    while killed.total() < options.kills:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "sweep"
            killed += kill_repeatedly(out, options.kills - killed.total(), draw)
            final = start(out)
            _, errors = final.communicate()
            if final.returncode:
                raise SystemExit(f"the sweep exited with {final.returncode}: {errors.decode()}")
            check(out)
            sweeps += 1
    print(f"{killed['trial']} trials and {killed['sweep']} sweeps killed over {sweeps} sweeps;")
    print("every finished trial kept its value, every study met its target, SQLite is intact")


def check(out: Path) -> None:
    """Raise SystemExit if the study differs from one without kills."""
    done = finished(out)
    wanted = {(arm, number) for arm in ARMS for number in range(TRIALS)}
    if done.keys() != wanted:
        raise SystemExit(f"missing: {wanted - done.keys()}; unexpected: {done.keys() - wanted}")
    with sqlite3.connect(out / "study.db") as connection:
        (status,) = connection.execute("PRAGMA integrity_check").fetchone()
    if status != "ok":
        raise SystemExit(f"SQLite: {status}")


if __name__ == "__main__":
    main()
