"""A survey: the target directories below some directories, found and measured, and which of them are wanted.

Owns what is asked for (age, size, incremental directories alone) and what that selects. Prints nothing.
"""

import os
import time
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from kachelib import target_removal, target_size
from kachelib.target_removal import Outcome
from kachelib.target_size import INCREMENTAL, Held, Measure, Part, Sum, Target
from kachelib.target_tree import Fences, PassedOver, Search


class Wishes(NamedTuple):
    """What is asked for. older_than: seconds; larger_than: bytes; incremental: only the directories of that name."""

    older_than: Optional[int] = None
    larger_than: Optional[int] = None
    incremental: bool = False


class Survey:
    """One look at everything. targets: what was found and measured, in that order; finished: whether that is all;
    touched: whether anything may be deleted by now."""

    def __init__(self, starts: Sequence[str], fences: Fences, cache_dir: str) -> None:
        """starts: real paths of directories."""
        self.starts = list(starts)
        self.fences = fences
        self.targets: List[Target] = []
        self.finished = False
        self.touched = False
        self._cache_dir = cache_dir
        self._search = Search(starts, fences)
        self._held: Optional[Held] = None
        self._refused: List[PassedOver] = []
        self._sums: Dict[Tuple[str, bool], Sum] = {}
        self._measured = 0

    def run(self) -> Iterator[None]:
        """Look; gives way after each directory."""
        for _ in self._search.run():
            yield
            yield from self._measure()
        yield from self._measure()
        self.finished = True

    def _measure(self) -> Iterator[None]:
        while self._measured < len(self._search.found):
            measure = Measure(self._search.found[self._measured], self.fences, self.held())
            self._measured += 1
            for _ in measure.run():
                yield
            if measure.target.refusal:
                self._refused.append(PassedOver(measure.target.path, measure.target.refusal))
            else:
                self.targets.append(measure.target)

    def held(self) -> Held:
        """What the store holds; looked for when it is first asked for."""
        if self._held is None:
            self._held = Held(self._cache_dir, self.fences.mounts)
        return self._held

    def passed(self) -> List[PassedOver]:
        """What was left alone, and why."""
        return [*self._search.passed, *self._refused]

    def directories(self) -> int:
        """How many directories were looked into in search of target directories."""
        return self._search.directories

    def sum(self, target: Target, incremental: bool) -> Sum:
        """The bytes of one target directory, or of its incremental directories, deleted alone."""
        key = (target.path, incremental)
        if key not in self._sums:
            self._sums[key] = target_size.total(_parts(target, incremental), self.held())
        return self._sums[key]

    def total(self, targets: Iterable[Target], incremental: bool) -> Sum:
        """The same of several that are deleted together: what they share among each other is given back as well."""
        return target_size.total([part for each in targets for part in _parts(each, incremental)], self.held())

    def wanted(self, wishes: Wishes) -> List[Target]:
        """The target directories that ``wishes`` select, the biggest first."""
        now = time.time()
        found = [target for target in self.targets if self._suits(target, wishes, now)]
        return sorted(found, key=lambda target: (-self.sum(target, wishes.incremental).size, target.path))

    def _suits(self, target: Target, wishes: Wishes, now: float) -> bool:
        if wishes.incremental and not target.incremental:
            return False
        if wishes.older_than is not None and now - target.last_use < wishes.older_than:
            return False
        return wishes.larger_than is None or self.sum(target, wishes.incremental).size > wishes.larger_than

    def remove(self, target: Target, incremental: bool, tick: Callable[[Outcome], None]) -> Outcome:
        """Delete one."""
        self.touched = True
        return target_removal.remove(target, self.fences, incremental, tick)


def files(targets: Iterable[Target], incremental: bool) -> int:
    """How many files of these would go."""
    return sum(part.files for target in targets for part in _parts(target, incremental))


def _parts(target: Target, incremental: bool) -> List[Part]:
    return [target.parts[INCREMENTAL]] if incremental else list(target.parts.values())


def real(starts: Sequence[str], here: str) -> List[str]:
    """The real paths of directories that were named from ``here``; these may be links themselves. Raises OSError."""
    found = []
    for start in starts or ["."]:
        path = os.path.realpath(os.path.join(here, start))
        with os.scandir(path):
            found.append(path)
    return found
