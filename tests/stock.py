"""Stores with known content, in the real formats, for tests of what looks at a store and tidies it."""

import json
import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from kachelib import entry as entry_format
from kachelib.config import Settings, load
from kachelib.entry import Candidate, EnvDep, Input, Output
from kachelib.key import Transcript, digest_bytes
from kachelib.store import Store

Fields = Sequence[Tuple[str, str]]


def settings_for(cache_dir: Path, **overrides: Any) -> Settings:
    """The defaults, for this cache directory."""
    settings = load({"KACHE_CACHE_DIR": str(cache_dir)}, ())
    for name, value in overrides.items():
        setattr(settings, name, value)
    return settings


def transcript_of(crate: str, fields: Fields = ()) -> Transcript:
    """A transcript as the wrapper's begins, with ``fields`` behind it."""
    transcript = Transcript()
    for tag, value in (("schema", "1"), ("--crate-name", crate), *fields):
        transcript.add(tag, value)
    return transcript


def put(
    store: Store,
    crate: str,
    *,
    content: Optional[bytes] = None,
    size: int = 20_000,
    fields: Fields = (),
    inputs: Sequence[Tuple[str, str]] = (("<workspace>/src/lib.rs", "fn main() {}"),),
    env: Sequence[Tuple[str, str]] = (),
    crate_types: str = "lib",
    age: float = 3600.0,
    stderr: bytes = b"",
    change: str = "",
) -> Candidate:
    """Store one candidate as the wrapper would, last used ``age`` seconds ago.

    content: of the library; default: ``size`` bytes that only this crate has.
    inputs: (path, content). change: something only this candidate read.
    """
    transcript = transcript_of(crate, fields)
    action_key = transcript.digest()
    candidate = Candidate()
    candidate.crate_name = crate
    candidate.crate_types = crate_types
    candidate.created = int(time.time() - age)
    candidate.compile_ms = 1500
    candidate.inputs = [Input("s", path, digest_bytes(text.encode())) for path, text in inputs]
    if change:
        candidate.inputs.append(Input("f", "<workspace>/change", digest_bytes(change.encode())))
    candidate.env_deps = [EnvDep(name, "=", value) for name, value in env]
    if content is None:
        seed = digest_bytes(f"{crate} {change} {fields}".encode()).encode()
        content = (seed * (size // len(seed) + 1))[:size]
    digest = store.put_bytes(content)
    candidate.outputs = [Output(f"lib{crate}.rlib", "link", digest, len(content), False)]
    if stderr:
        candidate.stderr.digest = store.put_bytes(stderr)
    candidate.cache_key = candidate.compute_cache_key(action_key)
    entry = store.read_entry(action_key) or entry_format.empty()
    store.write_entry(action_key, entry.with_candidate(candidate, transcript.fields))
    used(store, action_key, age)
    return candidate


def used(store: Store, action_key: str, age: float) -> None:
    """Let the entry look as if it had been used ``age`` seconds ago."""
    moment = time.time() - age
    os.utime(store.entry_path(action_key), (moment, moment))


def action_of(crate: str, fields: Fields = ()) -> str:
    """The action key that ``put`` used."""
    return transcript_of(crate, fields).digest()


def backdate(path: Path, age: float) -> None:
    """Make a file look ``age`` seconds old, as far as a program can: its status change stays now."""
    moment = time.time() - age
    os.utime(path, (moment, moment))


def log(cache_dir: Path, *events: Dict[str, Any]) -> None:
    """Append events; what is not given is filled in."""
    now = time.time()
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "events.jsonl").open("a") as file:
        for event in events:
            line = {"schema_version": 1, "crate_name": "alpha", "start_time": now, "end_time": now, "elapsed_ms": 10.0}
            file.write(json.dumps({**line, **event}) + "\n")


def blob_paths(cache_dir: Path) -> List[Path]:
    """Every blob that is there."""
    return sorted(path for path in (cache_dir / "store").glob("??/*") if not path.name.startswith("."))


def du(store: Store) -> int:
    """What du says of the store's blobs and entries."""
    seen = {}
    for directory in ("store", "entries"):
        for path in Path(store.root, directory).glob("??/*"):
            status = path.lstat()
            seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
