"""Text for ``--help`` and ``--list``."""

from collections.abc import Iterable

from tasks import CONF

USAGE = """\
Compare routers: search with equal budgets, confirm with fresh seeds, test the differences.

  python -m sweeps sweep=NAME out=DIR [key=value …]
  python -m sweeps report DIR…            rewrite the report, of several sweeps at once
  python -m sweeps scale DIR… at=N        the learning rate of a model of N active parameters,
                                          from sweeps of smaller ones that tuned optimizer.lr
  python -m sweeps proxy storage=URL [host=HOST] [port=13000]
                                          serve a database to many workers: storage=grpc://…
                                          By default only this machine can connect; host=0.0.0.0
                                          or a host name accepts every machine of the network.
                                          There is no password

  key=value   set a key           +key=value       add a key that does not exist
  ~key        remove a key        sweep=FILE.yaml  a sweep from your file

The same command resumes a sweep that stopped, and does nothing if the sweep is complete. The
same command with the same storage (a database or a proxy) on another machine joins the sweep;
DIR need not be shared, and every machine writes all results there.

  --list      all sweeps, samplers, pruners and controls
  --cfg       print the resolved configuration and exit
  --help      this text

Exit codes: 0 complete, 1 some runs failed and are missing from the results, 2 the sweep is
invalid, 130 and 143 stopped by a signal (the same command resumes).
"""


def help_text() -> str:
    """Usage and every key."""
    return f"{USAGE}\nAll keys (conf/sweep.yaml):\n{(CONF / 'sweep.yaml').read_text()}"


def list_text() -> str:
    """Every name that a sweep can use."""
    from ..search.halving import PRUNERS
    from ..search.samplers import SAMPLERS
    from .arms import CONTROLS
    from .compose import STUDIES, sweeps

    lines = [f"  {name:18} {_headline(name)}" for name in sweeps()]
    names: dict[str, Iterable[str]] = {
        "sampler": SAMPLERS,
        "pruner.name": PRUNERS,
        "controls": CONTROLS,
        "study": STUDIES,
    }
    rest = [f"{key}\n  {', '.join(each)}\n" for key, each in names.items()]
    return "\n".join(["sweep", *lines, "", *rest])


def _headline(name: str) -> str:
    """The first line of a sweep's file, which describes it."""
    first = (CONF / "sweep" / f"{name}.yaml").read_text().partition("\n")[0]
    return first.lstrip("# ")
