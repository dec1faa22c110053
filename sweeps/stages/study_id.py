"""Detection of a study that was deleted and recreated under the same name."""

from pathlib import Path
from uuid import uuid4

from optuna.study import Study

from routers import ConfigError
from tasks import read_json, write_json

#: File in the sweep's folder with the identity of each study whose runs the folder holds.
STUDY_IDS = "studies.json"

#: Attribute of a study with its identity.
IDENTITY = "identity"


def check_same_study(study: Study, folder: Path, has_runs: bool) -> None:
    """Check that the runs in a folder belong to a study; the first call records its identity.

    Args:
        study: in the storage; it gets an identity if it has none.
        folder: of the sweep.
        has_runs: whether the folder has runs of the study.

    Raises:
        ConfigError: if they belong to another study of that name: their results would be
            attributed to other trials.
    """
    identity = study.user_attrs.get(IDENTITY)
    if identity is None:
        identity = uuid4().hex
        study.set_user_attr(IDENTITY, identity)
    path = folder / STUDY_IDS
    known = read_json(path) if path.exists() else {}
    if has_runs and known.get(study.study_name, identity) != identity:
        raise ConfigError(
            f"out={folder}: holds trials of another study than the storage's "
            f"{study.study_name!r}, which was recreated; restore the storage, or choose another out"
        )
    if known.get(study.study_name) != identity:
        write_json(path, {**known, study.study_name: identity})
