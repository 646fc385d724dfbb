"""One call of kache as a compiler: what it was given, what is said of it, how it ends.

Owns what holds for every language: what settings refuse, the search for a candidate, becoming the compiler, ending as
it ended, telling people and the log. Every failure of kache's own ends here in the real compiler, run as it was asked
for. Knows no compile.
"""

import posix

# The part of signal that costs no import; typeshed does not know it.
from _signal import (  # type: ignore[import-not-found]
    SIG_DFL,
    SIGINT,
    SIGKILL,
    SIGPIPE,
    SIGXFSZ,
    default_int_handler,
    getsignal,
    signal,
)

from kachelib import config, events, globs, log, outcome, roots, toolchain
from kachelib.events import Event
from kachelib.outcome import Refusal
from kachelib.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional

    from kachelib.action import Action
    from kachelib.config import Settings
    from kachelib.entry import Candidate
    from kachelib.key import Transcript

# What a shell between Cargo and kache changes: dash sets PWD, bash counts SHLVL and sets _.
SHELL_VARIABLES = ("PWD", "OLDPWD", "SHLVL", "_")

# How long to wait for another process that compiles the same thing, in seconds. Longer than any compile that people
# wait for.
PATIENCE = 900.0


class Invocation:
    """One call of the wrapper. command: the compiler, and what stands before its own arguments; arguments: these."""

    __slots__ = ("arguments", "by_cargo", "command", "cwd", "environ", "event", "fetched", "settings", "stores")

    def __init__(self, command: "List[str]", arguments: "List[str]", environ: "Dict[str, str]") -> None:
        self.command = command
        self.arguments = arguments
        self.environ = environ
        self.cwd = posix.getcwd()
        self.event = Event()
        # the cache key of what the remote had
        self.fetched = ""
        # whether Cargo calls, which keeps what it reads on our standard error; anything else may be a configure script
        self.by_cargo = True
        self.settings: "Settings"
        self.stores: "List[Store]" = []

    @property
    def store(self) -> Store:
        """The user's own store; another may be looked into after it."""
        return self.stores[0]

    def voice(self) -> log.Log:
        """Where this call may speak."""
        return log.for_wrapper(self.settings) if self.by_cargo else log.for_any_caller(self.settings)


def answer(argv: "List[str]", story: "Callable[[], int]") -> int:
    """Run ``story``, which returns the exit status; where it fails, become the compiler that ``argv`` names."""
    if getsignal(SIGINT) is default_int_handler:
        # Ctrl-C reaches the compiler as well; nothing half-written is visible.
        signal(SIGINT, SIG_DFL)
    try:
        return story()
    except Exception as error:
        note_trouble(error)
        return execute(argv)


def refuse(call: Invocation, asked: object) -> "Optional[Refusal]":
    """Why this call is not for the cache, as far as settings and ``asked`` (what its arguments are) tell; opens the
    stores otherwise."""
    for text in (*call.settings.problems, *call.settings.warnings):
        complain(call, text)
    if call.settings.broken:
        return Refusal("config", call.settings.problems[0])
    if isinstance(asked, Refusal):
        return asked
    if not call.settings.cache_dir:
        return Refusal("store", "no directory for it is known")
    call.stores = [Store(call.settings.cache_dir)]
    if call.settings.readonly_store:
        call.stores.append(Store(call.settings.readonly_store, writable=False))
    return None


def exclude(call: Invocation, source: str, *places: str) -> "Optional[Refusal]":
    """Whether the user wants this source left out. places: the directories that patterns may be relative to."""
    pattern = globs.excluded(call.settings, roots.absolute(source, call.cwd), (call.cwd, *places), call.environ)
    return Refusal("excluded", pattern) if pattern else None


def look_up(
    call: Invocation,
    action_key: str,
    difference: "Callable[[Candidate], str]",
    restore: "Callable[[Candidate, Store], bool]",
) -> bool:
    """Restore the first candidate whose inputs all match; else say in the event why there was none.

    difference: what is not as it was, in words, "" for nothing; restore: whether the outputs could be put back.
    """
    event = call.event
    event.reason = "no earlier compile of this action"
    for store in call.stores:
        entry = store.read_entry(action_key)
        if entry is None:
            continue
        for candidate in entry.candidates():
            why = difference(candidate)
            if not why and _restored(candidate, store, restore):
                store.touch_entry(action_key)
                note_hit(call, candidate, store)
                return True
            if event.reason.startswith("no earlier"):
                event.reason = why or "a blob is missing"
    return False


def _restored(candidate: "Candidate", store: Store, restore: "Callable[[Candidate, Store], bool]") -> bool:
    try:
        return restore(candidate, store)
    except OSError:
        # The output cannot be written; the compiler will say so better.
        return False


def note_hit(call: Invocation, candidate: "Candidate", store: Store) -> None:
    """Note in the event that ``candidate``, found in ``store``, was put back: from here, or brought by the uploader."""
    event = call.event
    event.result = outcome.LOCAL_HIT
    if call.settings.has_remote:
        prefetched = store.was_prefetched(candidate.cache_key)
        if candidate.cache_key == call.fetched:
            event.result = outcome.REMOTE_HIT
        elif prefetched:
            event.result = outcome.PREFETCH_HIT
    event.reason = ""
    event.cache_key = candidate.cache_key
    event.compile_time_ms = candidate.compile_ms
    event.size = candidate.size()


def record(call: Invocation, transcript: "Transcript") -> None:
    """The finished event: the line in events.jsonl, the log, the line of progress. transcript: of the action's key."""
    event = call.event
    event.finish()
    events.append(call.settings.cache_dir, event)
    voice = say(call)
    if voice.wants(log.TRACE):
        from kachelib import redact

        for tag, value in transcript.fields:
            voice.trace("%s: %s = %s" % (event.crate_name, tag, redact.shown(tag, value)))


def say(call: Invocation) -> log.Log:
    """The event in words: a progress line, and a line of the log at the level that its result deserves."""
    event = call.event
    words = f"{event.result} {event.crate_name} {event.elapsed_ms:.0f} ms"
    if event.reason:
        words += f" ({event.reason})"
    log.progress(call.settings, "kache: " + words)
    voice = call.voice()
    if event.result in outcome.HITS:
        voice.debug(words)
    else:
        voice.info(words)
    return voice


def complain(call: Invocation, text: str) -> None:
    """Tell people once a build what they have to mend."""
    memo_dir = call.settings.cache_dir + "/memo" if call.settings.cache_dir else ""
    call.voice().warn_once(text, memo_dir)


def note_trouble(error: Exception) -> None:
    """Log a failure of kache's own. It is not shown: the build goes on without the cache."""
    try:
        voice = log.for_wrapper(config.load(config.environment(), ()))
        voice.info("internal error: %s: %s" % (type(error).__name__, error))
        if voice.wants(log.DEBUG):
            from traceback import format_exc

            voice.debug(format_exc())
    except Exception:
        pass


def execute(argv: "List[str]", action: "Optional[Action]" = None) -> int:
    """Become the compiler, for ``action``; 127 when there is no such program, as a shell would say."""
    from kachelib.compile import environment

    program = toolchain.resolve(argv[0], config.environment()) or argv[0]
    for number in (SIGPIPE, SIGXFSZ):
        # Python ignores these, and a program inherits what is ignored.
        signal(number, SIG_DFL)
    try:
        posix.execve(program, argv, environment(action))
    except OSError as error:
        posix.write(2, ("kache: cannot run %s: %s\n" % (argv[0], error.strerror)).encode("utf-8", "surrogateescape"))
    return 127


def end_like(status: int) -> int:
    """The exit status for waitpid's ``status``; where a signal ended the compiler, it ends us as well."""
    if posix.WIFSIGNALED(status):
        number = posix.WTERMSIG(status)
        if number != SIGKILL:
            signal(number, SIG_DFL)
        posix.kill(posix.getpid(), number)
        return 128 + number
    return posix.WEXITSTATUS(status)
