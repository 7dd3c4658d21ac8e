"""Monitors at work: from values of requests to windows, and from windows to what was found.

All of a revision's monitors live in one process, where one thread does all of this. A monitor that
watches several tensors looks at the requests of which it has got all of them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anabranch.components import registry
from anabranch.components.contract import CannotLoad
from anabranch.errors import LoadError
from anabranch.graph.compile.monitors import parameter_of
from anabranch.graph.monitor.memory import MonitorFiles, MonitorMemory, tidy
from anabranch.graph.observe.monitor_copies import Seen, is_sampled, share_of
from anabranch.graph.plan.plan import Plan, PlannedMonitor
from anabranch.masking import masked
from anabranch.monitors.base import MAX_REFERENCE, Feature, Finding, MonitorMethod
from anabranch.monitors.references import read
from anabranch.monitors.table import Array, Unfit, table_of
from anabranch.monitors.user_monitors import Own

Tensors = Mapping[str, Array]
"""Watched tensors [rows, ...] by source, of equal numbers of rows."""

MOST_PENDING = 1024
"""Requests of which a monitor has got only some tensors, and may get the others."""
MIN_KEPT = 1000
"""Rows of a reference that are kept however short the windows are."""
PHASES = 24
"""Phases of a season where the spec does not say."""
CALM = 2
"""Windows without drift in a row after which it has ended."""


@dataclass(frozen=True)
class Result:
    """The findings of a monitor; they cross processes as they are."""

    monitor: str
    method: str
    watches: tuple[str, ...]
    window: int
    """Rows of a window."""
    rows: int = 0
    """Rows that were looked at, all windows together."""
    windows: int = 0
    gathered: int = 0
    """Rows of the reference that is being gathered, or of the next window."""
    wanted: int = 0
    """How many of these it takes."""
    has_reference: bool = True
    """Whether there is a reference, or none is needed; with a season, of the phase that it is."""
    score: float | None = None
    """Of the latest window, in units of the threshold: above 1 is drift. None before the first."""
    drift_since: float | None = None
    """When the drift began that lasts, in Unix seconds."""
    outliers: int = 0
    """Of all windows."""
    alarms: int = 0
    features: tuple[Feature, ...] = ()
    """Of the latest window, those with the highest scores first."""
    at: float | None = None
    """When the latest window was full."""
    errors: int = 0
    error: str = ""
    """Why the latest window, or the reference, could not be looked at."""


@dataclass(frozen=True)
class Turn:
    """Drift began or ended."""

    monitor: str
    began: bool
    at: float
    score: float
    features: tuple[Feature, ...]
    """Features that have drifted, the worst first."""


class Look(Protocol):
    """A method at work, whoever wrote it."""

    def fit(self, reference: Tensors) -> None:
        """Take a reference; Unfit says why that cannot be."""

    def look(self, window: Tensors, number: int) -> Finding:
        """Look at a window; Unfit likewise."""


class BuiltIn:
    """A built-in method, which sees tensors as a table."""

    def __init__(self, method: MonitorMethod) -> None:
        self._method = method

    def fit(self, reference: Tensors) -> None:
        """Take a reference; Unfit says why that cannot be."""
        table = table_of(reference)
        if table.rows < self._method.least:
            raise Unfit(f"it has {table.rows} rows, and {self._method.least} are the least")
        self._method.fit(table)

    def look(self, window: Tensors, number: int) -> Finding:
        """Look at a window; Unfit likewise."""
        return self._method.look(table_of(window), number)


@dataclass
class Shared:
    """A method that the phases of a season use in turn, constructed once."""

    method: Look
    fitted: Tensors | None = None
    """The reference that it has."""

    def fit(self, reference: Tensors) -> None:
        """Fit the method with a phase's reference, unless it has that; Unfit says why not."""
        if self.fitted is not reference:
            self.fitted = None
            self.method.fit(reference)
            self.fitted = reference


class PhaseLook:
    """A phase's use of a method that it shares with others."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._reference: Tensors = {}

    def fit(self, reference: Tensors) -> None:
        """Take a reference; Unfit says why that cannot be."""
        self._shared.fit(reference)
        self._reference = reference

    def look(self, window: Tensors, number: int) -> Finding:
        """Look at a window; Unfit likewise."""
        self._shared.fit(self._reference)
        return self._shared.method.look(window, number)


class Gathering:
    """Rows of requests on their way to a window."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._sources = tuple(sources)
        self._pending: OrderedDict[str, dict[str, Array]] = OrderedDict()
        self._parts: list[Tensors] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.rows = 0

    def add(self, seen: Seen) -> None:
        """Take a tensor of a request; Unfit where it has other rows or shapes than others."""
        if len(self._sources) == 1:
            self._complete({seen.source: seen.array})
            return
        tensors = self._pending.setdefault(seen.request, {})
        tensors[seen.source] = seen.array
        if len(tensors) == len(self._sources):
            self._complete(self._pending.pop(seen.request))
        elif len(self._pending) > MOST_PENDING:
            self._pending.popitem(last=False)

    def _complete(self, tensors: dict[str, Array]) -> None:
        if not all(tensor.ndim for tensor in tensors.values()):
            raise Unfit("a single value is watched; a monitor looks at rows (dimension 0)")
        if len({len(tensor) for tensor in tensors.values()}) > 1:
            sizes = ", ".join(f"{name} {len(tensor)}" for name, tensor in tensors.items())
            raise Unfit(f"the tensors of a request have different numbers of rows: {sizes}")
        shapes = {name: tensor.shape[1:] for name, tensor in tensors.items()}
        if self._parts and shapes != self._shapes:
            raise Unfit(f"requests differ in the shapes of rows: {self._shapes} and {shapes}")
        self._shapes = shapes
        self._parts.append(tensors)
        self.rows += len(next(iter(tensors.values())))

    def take(self, rows: int) -> Tensors:
        """So many rows, which there must be, in the order in which they came."""
        whole = {
            name: np.concatenate([part[name] for part in self._parts]) for name in self._sources
        }
        self.rows -= rows
        self._parts = [{name: array[rows:] for name, array in whole.items()}] if self.rows else []
        return {name: array[:rows] for name, array in whole.items()}


class Sampling:
    """A uniform sample of at most ``most`` rows of a stream (bottom-k sampling by random keys)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._random = np.random.default_rng(0)
        self._keys: Array = np.empty(0)
        self.kept: dict[str, Array] = {}
        self.seen = 0

    def add(self, tensors: Tensors) -> None:
        """Take more rows."""
        count = len(next(iter(tensors.values())))
        self.seen += count
        keys = np.concatenate([self._keys, self._random.random(count)])
        rows = {
            name: np.concatenate([self.kept[name], array]) if self.kept else array
            for name, array in tensors.items()
        }
        chosen = np.sort(np.argsort(keys)[: self._most])
        self._keys = keys[chosen]
        self.kept = {name: array[chosen] for name, array in rows.items()}


class Phase:
    """A phase of a season, or all time: its reference, and rows on their way to windows."""

    def __init__(
        self, planned: PlannedMonitor, look: Look, files: MonitorFiles | None = None
    ) -> None:
        self.look = look
        self.gathering = Gathering(planned.watches)
        self._files = files
        self._watches, self._window = planned.watches, planned.spec.window
        reference = planned.spec.reference
        self._first = None if reference is None else reference.first
        self._sampling = Sampling(kept(self._window))
        self.ready = self._first is None
        """Whether there is a reference, or none is needed."""

    @property
    def gathered(self) -> int:
        """Rows of the reference that is being gathered, or of the next window."""
        return self.gathering.rows + (0 if self.ready else self._sampling.seen)

    @property
    def wanted(self) -> int:
        """How many of these it takes."""
        return self._window if self.ready else self._first or 0

    def recall(self) -> None:
        """Take the reference that was gathered before a restart, if it is there; Unfit."""
        reference = None if self.ready or self._files is None else self._files.reference()
        if reference is not None and reference.keys() == self._watches.keys():
            self.look.fit(reference)
            self.ready = True

    def next(self) -> Tensors | None:
        """Return the rows of the next window, or None where there are too few.

        Rows before it become the reference; Unfit or CannotLoad where they cannot.
        """
        while not self.ready:
            left = min(self._window, (self._first or 0) - self._sampling.seen)
            if self.gathering.rows < left:
                return None
            self._sampling.add(self.gathering.take(left))
            if self._sampling.seen >= (self._first or 0):
                self._fit()
        return None if self.gathering.rows < self._window else self.gathering.take(self._window)

    def _fit(self) -> None:
        reference, self._sampling = self._sampling.kept, Sampling(kept(self._window))
        self.look.fit(reference)
        self.ready = True
        if self._files is not None:
            self._files.keep(reference)


class Monitoring:
    """One monitor, with a phase or several of equal length. ``clock`` gives Unix time."""

    def __init__(
        self,
        planned: PlannedMonitor,
        phases: Sequence[Phase],
        shelf: MonitorFiles | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._planned = planned
        self._spec = planned.spec
        self._phases = phases
        self._shelf = shelf
        self._clock = clock
        self._share = share_of(planned)
        self._memory = MonitorMemory() if shelf is None else shelf.memory()
        self._finding = Finding()
        self._at: float | None = None
        self._error, self._errors = "", 0
        self._turns: list[Turn] = []
        for phase in phases:
            try:
                phase.recall()
            except (Unfit, CannotLoad) as error:
                self._failed(error)

    @property
    def name(self) -> str:
        """Its name in the spec."""
        return self._planned.name

    @property
    def _phase(self) -> Phase:
        """The phase that it is now; phases of all seasons begin at multiples in Unix time."""
        reference = self._spec.reference
        if reference is None or reference.season is None:
            return self._phases[0]
        part = self._clock() % reference.season.seconds / reference.season.seconds
        return self._phases[min(int(part * len(self._phases)), len(self._phases) - 1)]

    def take(self, seen: Iterable[Seen]) -> bool:
        """Take values; whether that brought news: a window was full, or something went wrong."""
        before, phase = self._state(), self._phase
        for one in seen:
            if one.source in self._planned.watches and is_sampled(one.request, self._share):
                try:
                    phase.gathering.add(one)
                except Unfit as error:
                    self._failed(error)
                self._work(phase)
        return self._state() != before

    def _state(self) -> tuple[int, int, int]:
        ready = sum(phase.ready for phase in self._phases)
        return self._memory.windows, self._errors, ready

    def turns(self) -> list[Turn]:
        """Drifts that began or ended since this was asked last."""
        found, self._turns = self._turns, []
        return found

    def result(self) -> Result:
        """Return the monitor's result up to now."""
        memory, finding = self._memory, self._finding
        by_score = sorted(finding.features, key=lambda each: -(each.score or 0))
        phase = self._phase
        return Result(
            self.name,
            self._spec.component or self._spec.method or "",
            tuple(self._planned.watches),
            self._spec.window,
            memory.rows,
            memory.windows,
            phase.gathered,
            phase.wanted,
            phase.ready,
            finding.score,
            memory.drift_since,
            memory.outliers,
            memory.alarms,
            tuple(by_score),
            self._at,
            self._errors,
            self._error,
        )

    def _work(self, phase: Phase) -> None:
        while True:
            was_ready = phase.ready
            try:
                rows = phase.next()
            except (Unfit, CannotLoad) as error:
                self._failed(error)
                continue
            if phase.ready and not was_ready:
                self._error = ""
            if rows is None:
                return
            self._window(phase.look, rows)

    def _window(self, look: Look, rows: Tensors) -> None:
        memory = self._memory
        memory.windows += 1
        try:
            finding = look.look(rows, memory.windows)
        except (Unfit, CannotLoad) as error:
            self._failed(error)
        else:
            self._error = ""
            self._finding, self._at = finding, self._clock()
            memory.rows += self._spec.window
            memory.outliers += finding.outliers
            self._turn(finding)
        if self._shelf is not None:
            self._shelf.remember(memory)

    def _failed(self, error: Exception) -> None:
        self._errors += 1
        self._error = masked(str(error))

    def _turn(self, finding: Finding) -> None:
        """Drift begins with one window above the threshold, and ends after a few below it."""
        memory = self._memory
        if finding.score is None or self._at is None:
            return
        memory.calm = 0 if finding.score > 1 else memory.calm + 1
        if finding.score > 1 and memory.drift_since is None:
            memory.drift_since = self._at
            memory.alarms += 1
            drifted = [each for each in finding.features if (each.score or 0) > 1]
            drifted.sort(key=lambda each: -(each.score or 0))
            self._turns.append(Turn(self.name, True, self._at, finding.score, tuple(drifted)))
        elif memory.drift_since is not None and memory.calm >= CALM:
            memory.drift_since = None
            self._turns.append(Turn(self.name, False, self._at, finding.score, ()))


def kept(window: int) -> int:
    """Rows of a reference that are kept for windows of so many rows."""
    return max(MIN_KEPT, MAX_REFERENCE * window)


def load_monitors(
    plan: Plan, root: Path, folder: Path | None, clock: Callable[[], float] = time.time
) -> list[Monitoring]:
    """Every monitor of a plan, with the references that are in files of the bundle in ``root``.

    ``folder`` keeps what they gather over a restart; None keeps nothing. Raises LoadError.
    """
    if folder is not None:
        tidy(folder)
    return [_loaded(plan, planned, root, folder, clock) for planned in plan.monitors.values()]


def _loaded(
    plan: Plan,
    planned: PlannedMonitor,
    root: Path,
    folder: Path | None,
    clock: Callable[[], float],
) -> Monitoring:
    name, reference = planned.name, planned.spec.reference
    try:
        look = _look(planned, root)
        if reference is not None and reference.data is not None:
            look.fit(_sample(plan, planned, reference.data, root))
    except (CannotLoad, Unfit) as error:
        raise LoadError(name, str(error), "monitor") from None
    own = None if folder is None else MonitorFiles(folder, name)
    if reference is None or reference.season is None:
        return Monitoring(planned, [Phase(planned, look, own)], own, clock)
    shared, phases = Shared(look), []
    for number in range(reference.phases or PHASES):
        files = None if folder is None else MonitorFiles(folder, f"{name}.{number}")
        phases.append(Phase(planned, PhaseLook(shared), files))
    return Monitoring(planned, phases, own, clock)


def _look(planned: PlannedMonitor, root: Path) -> Look:
    spec = planned.spec
    if spec.component is not None:
        return Own(spec, root, {source: parameter_of(source) for source in planned.watches})
    kind = registry.get(registry.MONITOR, spec.method or "")
    return BuiltIn(kind.cls(**spec.args))


def _sample(plan: Plan, planned: PlannedMonitor, data: str, root: Path) -> Tensors:
    """The reference in a file, in the shapes of what is watched, as far as these are known."""
    tensors = read(data, root, list(planned.watches))
    for source, ref in planned.watches.items():
        spec = plan.type_of(ref)
        if spec is not None and -1 not in spec.shape[1:]:
            tensors[source] = _shaped(data, source, tensors[source], spec.shape[1:])
    sampling = Sampling(kept(planned.spec.window))
    if len({len(tensor) for tensor in tensors.values()}) > 1:
        raise CannotLoad(f"reference {data!r} has different numbers of rows for what is watched")
    sampling.add(tensors)
    return sampling.kept


def _shaped(data: str, source: str, tensor: Array, inner: tuple[int, ...]) -> Array:
    have = tensor.shape[1:]
    if not tensor.ndim or int(np.prod(have)) != int(np.prod(inner)):
        raise CannotLoad(
            f"reference {data!r} has rows of {list(have)} values for {source!r}, which are "
            f"{list(inner)} in the graph"
        )
    shaped: Any = tensor.reshape(len(tensor), *inner)
    return np.asarray(shaped)
