"""The service: the uploader as a part of the user's session, for those who want it always there.

Owns the systemd unit and the launchd property list: where they lie, what they say, and telling the system.
"""

import os
import plistlib
import shutil
import subprocess
import sys
from typing import List

from kachelib import bundle
from kachelib.outcome import KacheError

UNIT = "kache.service"
LABEL = "org.kache.daemon"

# seconds that systemctl or launchctl may take
PATIENCE = 20

SYSTEMD = """\
[Unit]
Description=kache uploader

[Service]
ExecStart={command}
Environment=KACHE_DAEMON_IDLE_TIMEOUT=0
Restart=on-failure
Nice=5

[Install]
WantedBy=default.target
"""


def path() -> str:
    """Where the service's description lies on this system."""
    if sys.platform == "darwin":
        return f"{_home()}/Library/LaunchAgents/{LABEL}.plist"
    base = os.environ.get("XDG_CONFIG_HOME") or _home() + "/.config"
    return f"{base}/systemd/user/{UNIT}"


def _home() -> str:
    """The user's own directory; what the password file says is not asked. Raises KacheError."""
    found = os.environ.get("HOME", "")
    if not found.startswith("/"):
        raise KacheError("HOME is not set: where the service's description belongs is not known")
    return found


def state() -> str:
    """Whether it is installed, in words."""
    try:
        return "installed as a service" if os.path.exists(path()) else "not installed as a service"
    except KacheError:
        return "not installed as a service"


def install() -> str:
    """Write the description and have the system know it; returns what to tell. Raises OSError."""
    file = path()
    os.makedirs(os.path.dirname(file), exist_ok=True)
    temporary = file + ".new"
    with open(temporary, "wb") as out:
        out.write(_description())
    os.replace(temporary, file)
    if sys.platform == "darwin":
        told = _tell(["launchctl", "bootstrap", f"gui/{os.getuid()}", file])
    else:
        told = _tell(["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", "--now", UNIT])
    return f"wrote {file}; {told or 'it runs now, and with every session'}"


def uninstall() -> str:
    """Undo that; returns what to tell. Raises OSError."""
    file = path()
    if not os.path.exists(file):
        return "it is not installed as a service"
    if sys.platform == "darwin":
        told = _tell(["launchctl", "bootout", f"gui/{os.getuid()}/{LABEL}"])
    else:
        told = _tell(["systemctl", "--user", "disable", "--now", UNIT])
    os.unlink(file)
    return f"removed {file}" + (f"; {told}" if told else "")


def _description() -> bytes:
    words = [*bundle.start_command(), "daemon", "run"]
    if sys.platform == "darwin":
        return plistlib.dumps(
            {
                "Label": LABEL,
                "ProgramArguments": words,
                "RunAtLoad": True,
                "KeepAlive": {"SuccessfulExit": False},
                "EnvironmentVariables": {"KACHE_DAEMON_IDLE_TIMEOUT": "0"},
            }
        )
    return SYSTEMD.format(command=" ".join(map(_quoted, words))).encode()


def _quoted(word: str) -> str:
    """A word of ExecStart (systemd.service(5)): in quotes, "%" and "$" doubled."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"'


def _tell(*commands: List[str]) -> str:
    """Run the system's own commands; returns why that had no effect, "" when it had."""
    program = commands[0][0]
    if shutil.which(program) is None:
        return f"there is no {program} here: it will not be started by itself"
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{' '.join(command)}: {error}"
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            return f"{' '.join(command)}: {lines[0]}"
    return ""
