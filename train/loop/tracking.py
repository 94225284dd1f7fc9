"""Experiment tracking: `train/run.py --track mlflow[:URI]`.

Another service takes a class with the three methods of `Tracker`, and a name in `TRACKERS`. A run's
folder records who tracks it, so that a resumed run continues there:

    tracking.json   {"track": "mlflow:http://HOST:5000", "id": "what the service calls the run"}
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
    """What a tracker is given when a run starts."""

    name: str
    preset: str
    command: str
    experiment: Experiment


class Tracker(Protocol):
    """A service that follows one run. What its methods raise becomes a warning."""

    def begin(self, run: Run, earlier: str | None) -> str:
        """Start a run, or resume the `earlier` one; returns its identifier in the service."""

    def epoch(self, history: list[Row]) -> None:
        """Take the rows of the history that are new; after a failure, those that it missed, too."""

    def end(self, folder: pathlib.Path | None) -> None:
        """End the run; `folder` holds its bundle, or is None if the run failed."""


class Mlflow:
    """A run on an MLflow server, or in a database."""

    def __init__(self, uri: str):
        """Find the place.

        Args:
            uri: of the server or the database. Where it is empty, MLflow takes
                `$MLFLOW_TRACKING_URI`, or `mlflow.db` and `mlruns/` in the working directory.

        Raises:
            UserError: where MLflow is not there, or knows no such kind of place.
        """
        for name, value in (
            # As it comes, it tries for minutes; nothing is lost by giving up, see `Follower`.
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
        UserError: for another tracker, or a URI with a password in it, which runs would keep.
    """
    name, _, uri = text.partition(":")
    if name not in TRACKERS:
        raise UserError(f"--track knows no {name!r}; there is {', '.join(TRACKERS)}, or NAME:URI")
    parts = urllib.parse.urlsplit(uri)
    if "@" in parts.netloc or parts.query:
        raise UserError(
            "--track takes no passwords, for a run keeps its settings: give the URI without, and "
            "them in $MLFLOW_TRACKING_USERNAME and $MLFLOW_TRACKING_PASSWORD"
        )
    return text


@contextlib.contextmanager
def following(folder: pathlib.Path, run: Run, spec: str | None) -> Iterator[Follower]:
    """What to tell of a run; the tracker learns when the run breaks off.

    Args:
        folder: the run's.
        spec: who follows; where it is None, who followed the run before, if anybody did.

    Raises:
        UserError: for a tracker that cannot be had here.
    """
    follower = Follower(folder, run, spec)
    follower.begin()
    try:
        yield follower
    except BaseException:
        follower.break_off()
        raise


class Follower:
    """Tells a tracker of a run, if there is one.

    Where that fails, a warning says so, and the run goes on. The tracker is told again when the run
    ends, of all that it missed; then it has been `told`.
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
        self.told = not self.spec  # of all, to the end

    def begin(self) -> None:
        """Tell of the beginning."""
        if self.tracker:
            self._tell(self._begin)

    def epoch(self, history: list[Row]) -> None:
        """Tell of the last epoch."""
        if self.in_touch:
            self._tell(self.tracker.epoch, history)

    def end(self, history: list[Row], bundle_folder: pathlib.Path) -> None:
        """Tell of the end, and of what was missed before."""
        if self.tracker:
            self._tell(self._end, history, bundle_folder)

    def break_off(self) -> None:
        """Tell that the run did not come to its end."""
        if self.in_touch:
            self._tell(self.tracker.end, None)

    def _begin(self) -> None:
        self.id = self.tracker.begin(self.run, self.id)
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps({"track": self.spec, "id": self.id}) + "\n", "utf-8")
        log.info("%s follows, as %s", self.spec, self.id)
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
        except Exception as error:  # whatever a service has, it must not cost a training
            self.in_touch = False
            log.warning("warning: %s does not follow this run: %s", self.spec, _reason(error))


def _reason(error: BaseException) -> str:
    """What an error comes from, in one line without the passwords and queries of addresses."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"\?\S*", "", re.sub(r"//[^/\s]*@", "//", line))
