"""Mounts: where other file systems hang in the tree, and of which kind they are.

Owns reading /proc/self/mountinfo. A bind mount has the device number of what it shows, so that number alone does not
tell where one begins. Where there is no such file, nothing is known.
"""

import re
from typing import Dict, List

# What the kernel makes up: no files lie there.
VIRTUAL = frozenset(
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs proc"
    " pstore ramfs rpc_pipefs securityfs selinuxfs sysfs tracefs".split()
)

_ESCAPE = re.compile(rb"\\([0-7]{3})")


def table(path: str = "/proc/self/mountinfo") -> Dict[str, str]:
    """Mount point -> file system type. What is mounted last at a place counts."""
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    found: Dict[str, str] = {}
    for line in lines:
        # "36 35 98:0 /root /mnt/point rw,noatime shared:1 - ext4 /dev/root rw"; what may hold spaces is escaped
        words = line.split(b" ")
        if b"-" not in words[6:-1]:
            continue
        kind = words[words.index(b"-", 6) + 1]
        point = _ESCAPE.sub(lambda match: bytes([int(match.group(1), 8)]), words[4])
        found[point.decode("utf-8", "surrogateescape")] = kind.decode("ascii", "replace")
    return found


def below(points: Dict[str, str], directory: str) -> List[str]:
    """The mount points that lie in ``directory``, a real path; it itself does not count."""
    start = directory.rstrip("/") + "/"
    return sorted(point for point in points if point.startswith(start) and point != start)


def kind(points: Dict[str, str], path: str) -> str:
    """The type of the file system that ``path``, a real path, lies on; "" where it is not known."""
    best = max((point for point in points if (path + "/").startswith(point.rstrip("/") + "/")), key=len, default="")
    return points.get(best, "")
