"""Text for ``--help`` and ``--list``."""

from collections.abc import Iterable

from tasks import CONF

from ..search.halving import PRUNERS
from ..search.samplers import SAMPLERS
from .arms import CONTROLS
from .compose import STUDIES, sweeps

USAGE = """\
Compare routers: search with equal budgets, confirm with fresh seeds, say which differ.

  python -m sweeps sweep=NAME out=DIR [key=value …]
  python -m sweeps report DIR…            write the report anew, of several sweeps at once
  python -m sweeps scale DIR… at=N        the learning rate of a model of N active parameters,
                                          from sweeps of smaller ones that tuned optimizer.lr
  python -m sweeps proxy storage=URL [host=HOST] [port=13000]
                                          serve a database to many workers: storage=grpc://…
                                          without host= to those on this machine; host=0.0.0.0,
                                          or its name in a network, to whoever reaches it there:
                                          it asks for no password

  key=value   set a key           +key=value  add a key that is not there
  ~key        remove a key        sweep=FILE.yaml  a sweep of your own

The same command goes on where a sweep stopped, and does nothing when all is done. The same
command with the same storage, a database or a proxy, on another machine takes part; DIR need
not be shared, and every machine writes the whole answer there.

  --list      all sweeps, samplers, pruners and controls
  --cfg       print the configuration that would run, and stop
  --help      this text

Exit codes: 0 done, 1 something failed and is missing from the answer, 2 the sweep cannot work,
130 and 143 stopped by a signal (the same command goes on).
"""


def help_text() -> str:
    """Usage and every key."""
    return f"{USAGE}\nAll keys (conf/sweep.yaml):\n{(CONF / 'sweep.yaml').read_text()}"


def list_text() -> str:
    """Every name that a sweep can use."""
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
    """The first line of a sweep's file, which says what it is."""
    first = (CONF / "sweep" / f"{name}.yaml").read_text().partition("\n")[0]
    return first.lstrip("# ")
