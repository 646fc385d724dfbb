"""The rows about CI jobs: an archive of the cache restored, and the build; beside one of the target directory."""

import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from bench import forest
from bench.ground import SCRATCH, Ground, put_aside
from bench.peers import Archive
from bench.table import Row, interleave, ratio_row
from bench.warming import PACKAGES, Site, planted

MEGABYTE = 1_000_000


class Store:
    """kache's cache directory as one archive, as actions/cache keeps it."""

    def __init__(self, ground: Ground, name: str, project: Path) -> None:
        self.ground = ground
        self.project = project
        self.site = Site(ground, name, project)
        self.site.fill("build")
        self.directory = ground.cache_dir(name)
        self.archive = SCRATCH / "caches" / f"{name}.tar.zst"
        command = ["tar", "--zstd", "-cf", str(self.archive), "-C", str(self.directory), "."]
        ground.run(command, project)

    def build(self) -> float:
        """Unpack, then build in a new target directory; Cargo's probe warms it."""
        put_aside(self.directory)
        self.directory.mkdir()
        start = time.monotonic()
        self.ground.run(["tar", "--zstd", "-xf", str(self.archive), "-C", str(self.directory)], self.project)
        unpacked = time.monotonic() - start
        return unpacked + self.site.new("build")


def archives(ground: Ground, rounds: int) -> List[Row]:
    """The real crates, and the generated workspace unchanged and with one package edited."""
    rows = compared(ground, rounds, "jobs-real", ground.project, {"real crates, a job": (1.0, None)})
    what = f"{PACKAGES} path packages, a job"
    jobs: Dict[str, Tuple[float, Optional[int]]] = {what: (0.3, None)}
    for number in (PACKAGES // 2, PACKAGES - 10):
        above = len(forest.above({number}, PACKAGES)) - 1
        jobs[f"{what} with one edited that {above} depend on"] = (0.3, number)
    return rows + compared(ground, rounds, "jobs-forest", planted(ground, PACKAGES), jobs)


def compared(
    ground: Ground, rounds: int, name: str, project: Path, jobs: Dict[str, Tuple[float, Optional[int]]]
) -> List[Row]:
    """A row a job: what it must be of the other's, and which package is edited in each build."""
    store, target = Store(ground, name, project), Archive(ground, project)
    sizes = {"kache": store.archive.stat().st_size, "rust-cache": target.file.stat().st_size}
    told = "; ".join(f"{each} keeps and moves {size / MEGABYTE:.1f} MB" for each, size in sizes.items())
    rows = []
    for what, (limit, number) in jobs.items():
        variants = {"kache": store.build, "rust-cache": target.build}
        if number is not None:
            variants = {each: edited(project, number, build) for each, build in variants.items()}
        variants = {each: checked_out(project, build) for each, build in variants.items()}
        row = ratio_row(what, interleave(rounds, variants), "s", {("kache", "rust-cache"): limit})
        row.measured += f" · {told}"
        row.numbers["sizes"] = sizes
        rows.append(row)
    return rows


def checked_out(project: Path, build: Callable[[], float]) -> Callable[[], float]:
    """The same with files as new as a job's checkout has them."""

    def run() -> float:
        for path in project.rglob("*"):
            path.touch()
        return build()

    return run


def edited(project: Path, number: int, build: Callable[[], float]) -> Callable[[], float]:
    """The same with one more function in a package, another one each time."""
    source = project / forest.name_of(number) / "src" / "lib.rs"
    plain = source.read_text()

    def run() -> float:
        source.write_text(f"{plain}pub fn edit_{time.monotonic_ns()}() {{}}\n")
        try:
            return build()
        finally:
            source.write_text(plain)

    return run
