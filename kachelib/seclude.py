"""Keeping the store out of backups and search.

Owns the marks that backup programs and, on macOS, Time Machine and Spotlight
respect. Marks are a favour: where one cannot be set, nothing is lost.
"""

import sys

from kachelib.sweep import TAG_NAME, TAG_START

SPOTLIGHT_MARK = ".metadata_never_index"
TIMEOUT = 20.0


def seclude(cache_dir: str, platform: str = sys.platform) -> None:
    """Mark ``cache_dir``, which exists, as something that can be made again."""
    _write(f"{cache_dir}/{TAG_NAME}", TAG_START + b"\n# This directory is the store of kache, a compile cache.\n")
    if platform == "darwin":
        _write(f"{cache_dir}/{SPOTLIGHT_MARK}", b"")
        _exclude_from_time_machine(cache_dir)


def _write(path: str, data: bytes) -> None:
    try:
        with open(path, "xb") as file:
            file.write(data)
    except OSError:
        pass


def _exclude_from_time_machine(cache_dir: str) -> None:
    """Set com.apple.metadata:com_apple_backup_excludeItem: an attribute that needs no rights and moves along."""
    import subprocess

    try:
        command = ["/usr/bin/tmutil", "addexclusion", cache_dir]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        pass
