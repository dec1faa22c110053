"""Which study the runs in a folder are of: one made anew has the same name."""

from pathlib import Path
from uuid import uuid4

from optuna.study import Study

from routers import ConfigError
from tasks import read_json, write_json

#: In the sweep's folder: the identity of each study whose runs lie there.
STUDIES = "studies.json"

#: The attribute of a study that has it.
IDENTITY = "identity"


def check_same_study(study: Study, folder: Path, begun: bool) -> None:
    """See that a study is the one that a folder's runs are of; the first one is remembered.

    Args:
        study: that is in the storage; it gets an identity if it has none.
        folder: of the sweep.
        begun: whether runs of the study lie there.

    Raises:
        ConfigError: where they are of another study of that name: their results would be taken
            for those of other trials.
    """
    identity = study.user_attrs.get(IDENTITY)
    if identity is None:
        identity = uuid4().hex
        study.set_user_attr(IDENTITY, identity)
    path = folder / STUDIES
    known = read_json(path) if path.exists() else {}
    if begun and known.get(study.study_name, identity) != identity:
        raise ConfigError(
            f"out={folder}: holds trials of another study than the storage's "
            f"{study.study_name!r}, which was made anew; bring back the storage, or choose "
            "another out"
        )
    if known.get(study.study_name) != identity:
        write_json(path, {**known, study.study_name: identity})
