"""Experiment tracking: `train/run.py --track mlflow[:URI]`.

To add a service, write a class with the methods of `Tracker` and add it to `TRACKERS`. A run's
folder records its tracker, so that a resumed run is tracked as the same one:

    tracking.json   {"track": "mlflow:http://HOST:5000", "id": "the service's id of the run"}
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from flowers_model import bundle
from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.installation import install_line
from train.experiment import Experiment

if TYPE_CHECKING:
    from train.loop.history import Row

log = logging.getLogger("flowers")

TRACKING = "tracking.json"  # in a run's folder


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, as it is described to a tracker."""

    name: str
    preset: str
    command: str
    experiment: Experiment


class Tracker(Protocol):
    """A service that tracks one run. Exceptions of its methods become warnings."""

    def begin(self, run: Run, earlier: str | None) -> str:
        """Start a run, or resume the run with the id `earlier`; returns the id of the run."""

    def epoch(self, history: list[Row]) -> None:
        """Log the new rows of the history, and those that an earlier failure left out."""

    def end(self, folder: pathlib.Path | None) -> None:
        """End the run; `folder` contains its bundle, or is None if the run failed."""


class Mlflow:
    """A run on an MLflow server or in an MLflow database."""

    def __init__(self, uri: str):
        """Connect to MLflow.

        Args:
            uri: of the server or the database. If it is empty, MLflow uses
                `$MLFLOW_TRACKING_URI`, or `mlflow.db` and `mlruns/` in the working directory.

        Raises:
            UserError: if MLflow is not installed, or does not accept the URI.
        """
        for name, value in (
            # By default it retries for minutes; `Follower` repeats what failed.
            ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"),
            ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10"),
            ("MLFLOW_LOGGING_LEVEL", "WARNING"),
            ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
            ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ):
            os.environ.setdefault(name, value)
        try:
            import mlflow
        except ImportError as error:
            raise UserError(f"--track mlflow needs MLflow: {install_line('track')}") from error
        try:
            self.client = mlflow.MlflowClient(uri or None)
        except mlflow.MlflowException as error:
            place = uri or "$MLFLOW_TRACKING_URI"
            raise UserError(
                f"--track mlflow cannot use {place}: give http://HOST:PORT or sqlite:///FILE"
            ) from error

    def begin(self, run: Run, earlier: str | None) -> str:
        self.id = (self._find(earlier) if earlier else None) or self._create(run)
        losses = self.client.get_metric_history(self.id, "loss")
        self.told = max((metric.step for metric in losses), default=0)
        return self.id

    def epoch(self, history: list[Row]) -> None:
        for number, row in enumerate(history[self.told :], self.told + 1):
            figures = {name: value for name, value in row.items() if name not in ("stage", "epoch")}
            self._log(figures, step=number)
            self.told = number

    def end(self, folder: pathlib.Path | None) -> None:
        if folder is not None:
            manifest = bundle.read_manifest(folder)
            made = manifest.provenance
            figures = {"parameters": made.parameters, "training_seconds": made.seconds}
            for split, metrics in manifest.metrics.items():
                for name, value in metrics.model_dump().items():
                    if isinstance(value, int | float):
                        figures[f"{split}_{name}"] = value
            self._log(figures)
            self.client.log_artifacts(self.id, str(folder), "bundle")
        self.client.set_terminated(self.id, "FINISHED" if folder else "FAILED")

    def _find(self, earlier: str) -> str | None:
        import mlflow

        try:
            self.client.update_run(earlier, "RUNNING")
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return earlier

    def _create(self, run: Run) -> str:
        from mlflow.entities import Param

        known = self.client.get_experiment_by_name(run.preset)
        place = known.experiment_id if known else self.client.create_experiment(run.preset)
        tags = {"mlflow.source.name": "train/run.py", "mlflow.note.content": f"`{run.command}`"}
        created = self.client.create_run(place, run_name=run.name, tags=tags).info.run_id
        settings = dataclasses.asdict(run.experiment) | {"preset": run.preset}
        parameters = [
            Param(name, ",".join(map(str, value)) if isinstance(value, tuple) else str(value))
            for name, value in settings.items()
        ]
        self.client.log_batch(created, params=parameters)
        return created

    def _log(self, figures: dict[str, float], step: int = 0) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = [Metric(name, float(value), now, step) for name, value in figures.items()]
        self.client.log_batch(self.id, metrics=metrics)


TRACK_HELP = (
    "log parameters, metrics per epoch and the bundle to MLflow: to the server at URI, else at "
    "$MLFLOW_TRACKING_URI, else to mlflow.db and mlruns/ in this folder"
)
TRACKERS: dict[str, Callable[[str], Tracker]] = {"mlflow": Mlflow}


def tracker_spec(text: str) -> str:
    """A `--track`: `mlflow` or `mlflow:URI`.

    Raises:
        UserError: for an unknown tracker, or a URI that contains a password, which would be saved.
    """
    name, _, uri = text.partition(":")
    if name not in TRACKERS:
        raise UserError(f"--track does not know {name!r}; give {', '.join(TRACKERS)} or NAME:URI")
    parts = urllib.parse.urlsplit(uri)
    if "@" in parts.netloc or parts.query:
        raise UserError(
            "--track takes no passwords, because a run saves its settings: put them into "
            "$MLFLOW_TRACKING_USERNAME and $MLFLOW_TRACKING_PASSWORD"
        )
    return text


@contextlib.contextmanager
def following(folder: pathlib.Path, run: Run, spec: str | None) -> Iterator[Follower]:
    """A context that reports a run to its tracker, and to which a failure is reported as well.

    Args:
        folder: the folder of the run.
        spec: the tracker; None for that of the interrupted run, if it had one.

    Raises:
        UserError: if the tracker cannot be used.
    """
    follower = Follower(folder, run, spec)
    follower.begin()
    try:
        yield follower
    except BaseException:
        follower.break_off()
        raise


class Follower:
    """Reports a run to its tracker, if it has one.

    If that fails, there is a warning, and the run continues. At the end of the run, everything that
    failed is reported again; `told` is whether the tracker knows all.
    """

    def __init__(self, folder: pathlib.Path, run: Run, spec: str | None):
        """See `following`."""
        self.path = folder / TRACKING
        saved = {"track": None, "id": None}
        if self.path.exists():
            saved = json.loads(self.path.read_text("utf-8"))
        self.run, self.spec = run, spec or saved["track"]
        self.id = saved["id"] if self.spec == saved["track"] else None
        self.tracker = None
        if self.spec:
            name, _, uri = self.spec.partition(":")
            self.tracker = TRACKERS[name](uri)
        self.in_touch = False
        self.told = not self.spec

    def begin(self) -> None:
        """Report the start of the run."""
        if self.tracker:
            self._tell(self._begin)

    def epoch(self, history: list[Row]) -> None:
        """Report the last epoch."""
        if self.in_touch:
            self._tell(self.tracker.epoch, history)

    def end(self, history: list[Row], bundle_folder: pathlib.Path) -> None:
        """Report the end of the run, and all that failed to be reported before."""
        if self.tracker:
            self._tell(self._end, history, bundle_folder)

    def break_off(self) -> None:
        """Report that the run failed."""
        if self.in_touch:
            self._tell(self.tracker.end, None)

    def _begin(self) -> None:
        self.id = self.tracker.begin(self.run, self.id)
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps({"track": self.spec, "id": self.id}) + "\n", "utf-8")
        log.info("tracked by %s as %s", self.spec, self.id)
        self.in_touch = True

    def _end(self, history: list[Row], bundle_folder: pathlib.Path) -> None:
        if not self.in_touch:
            self._begin()
        self.tracker.epoch(history)
        self.tracker.end(bundle_folder)
        self.told = True

    def _tell(self, call: Callable, *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception as error:  # no fault of a service may end a training
            self.in_touch = False
            log.warning("warning: %s does not track this run: %s", self.spec, _reason(error))


def _reason(error: BaseException) -> str:
    """The cause of an error in one line, without passwords and queries in addresses."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"\?\S*", "", re.sub(r"//[^/\s]*@", "//", line))
