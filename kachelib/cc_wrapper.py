"""The story of one C or C++ compile.

Owns the order of things: parse, plan, key, candidates, hit or miss. Every failure of kache's own ends in the real
compiler, run as it was asked for.
"""

import posix

from kachelib import cc, cc_action, cc_replay, cc_toolchain, config, inputs, invocation, log, outcome, roots
from kachelib.cc_action import Action
from kachelib.invocation import (
    PATIENCE,
    Invocation,
    answer,
    end_like,
    exclude,
    execute,
    note_trouble,
    record,
    refuse,
)
from kachelib.key import Transcript, digest_bytes
from kachelib.outcome import NotACompile, Refusal
from kachelib.store import Store, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

    from kachelib.compile import Finished
    from kachelib.entry import Candidate
    from kachelib.preprocessed import Text

# Drivers hand all options on in one variable, and Linux takes no longer one than 128 KiB.
LONGEST_COMMAND = 80_000

# Where the terminal is that the compiler would speak to.
STDERR = 2

# What the cc crate asks a compiler that it takes kache for: no name stands before it.
FAMILY_PROBE = "-E"


def main(argv: "List[str]") -> int:
    """Run one compile. argv: the compiler and its arguments. Returns the exit status, or becomes the compiler."""
    if argv[0] == FAMILY_PROBE:
        argv = ["cc", *argv]
    call = Invocation(argv[:1], argv[1:], config.environment())
    call.by_cargo = False
    return answer(argv, lambda: run(call))


def run(call: Invocation) -> int:
    """The story: what cannot be cached becomes the compiler, what is known comes back, the rest is compiled."""
    call.settings = config.load(call.environ, (call.cwd,))
    if call.settings.disabled:
        return become(call)
    asked = _parse(call)
    if isinstance(asked, NotACompile):
        return become(call)
    refusal = _refuse(call, asked)
    if refusal is not None:
        return pass_through(call, refusal, asked if isinstance(asked, cc.Plan) else None)
    assert isinstance(asked, cc.Plan)
    found = _action(call, asked)
    if isinstance(found, Refusal):
        return pass_through(call, found, asked)
    if look_up(call, found) or (call.settings.has_remote and look_up_remote(call, found)):
        return 0
    return miss(call, found)


def _parse(call: Invocation) -> "cc.Plan | Refusal | NotACompile":
    allowed = call.settings.cc_extra_allowlist_flags
    if "cl" in call.command[0] or "--driver-mode=cl" in call.arguments:
        from kachelib import clang_cl

        if clang_cl.is_asked_for(call.command[0], call.arguments):
            return clang_cl.parse(call.arguments, allowed)
    return cc.parse(call.arguments, allowed)


def become(call: Invocation) -> int:
    """Become the compiler; past every shim that is called by its name."""
    program = cc_toolchain.resolve(call.command[0], call.environ)
    return execute([program or call.command[0], *call.arguments])


def _refuse(call: Invocation, asked: "cc.Plan | Refusal") -> "Optional[Refusal]":
    """Why this call is not for the cache, as far as arguments and settings tell; opens the stores otherwise."""
    refusal = refuse(call, asked)
    if refusal is not None or not call.settings.exclude:
        return refusal
    assert isinstance(asked, cc.Plan)
    return exclude(call, asked.source)


def _action(call: Invocation, plan: "cc.Plan") -> "Action | Refusal":
    if sum([len(word) + 3 for word in call.arguments]) > LONGEST_COMMAND:
        return Refusal("long_command")
    compiler = cc_toolchain.identify(
        call.command[0], call.environ, call.store.memo_dir(), call.settings.cc_identity == "content"
    )
    if compiler is None:
        return Refusal("compiler", call.command[0])
    call.event.probe_runs = compiler.probes
    places = roots.find_for_c(plan.source, call.cwd, call.environ, call.settings.base_dirs)
    found = Action(plan, compiler, places, call.cwd, call.environ)
    found.coloured = _wants_colour(call, plan)
    for path in (found.output(), found.depfile()):
        if path and not cc_replay.is_plain(path):
            return Refusal("output_file", path)
    refusal = cc_action.build(found, call.settings)
    return found if refusal is None else refusal


def _wants_colour(call: Invocation, plan: "cc.Plan") -> bool:
    """Whether diagnostics are wanted in colour: as asked for, else as the terminal is."""
    if plan.colour:
        return plan.colour == "on"
    return posix.isatty(STDERR) and call.environ.get("TERM", "dumb") != "dumb" and not call.environ.get("NO_COLOR")


def look_up(call: Invocation, action: Action) -> bool:
    """Restore the first candidate whose inputs all match; else say in the event why there was none."""

    def restore(candidate: "Candidate", store: Store) -> bool:
        return cc_replay.restore(candidate, action, store, call.event) and cc_replay.say(candidate, action, store)

    found = invocation.look_up(call, action.key, lambda candidate: difference(candidate, action, call.store), restore)
    if found:
        close(call, action)
    return found


def difference(candidate: "Candidate", action: Action, store: Store) -> str:
    """The first recorded input that is not as it was, in words; "" when all are: then the candidate is a hit."""
    for item in candidate.inputs:
        if item.path[:1] != "<" and action.roots.is_ambiguous(item.path):
            return "%s begins like a directory that is mapped" % item.path
    return inputs.difference(candidate, action, "", store)


def look_up_remote(call: Invocation, action: Action) -> bool:
    """Restore what the uploader brings from the remote, in time; what it brings is judged as anything in the store."""
    from kachelib import demand

    def suits(candidate: "Candidate") -> bool:
        return not difference(candidate, action, call.store)

    call.fetched = demand.bring(call.settings, action.plan.crate_name, action.key, (call.cwd,), suits)
    return bool(call.fetched) and look_up(call, action)


def miss(call: Invocation, action: Action) -> int:
    """Compile once, whoever else wants the same now, and store what came of it."""
    from kachelib import cc_compile

    purpose = digest_bytes(read_file(roots.absolute(action.plan.source, call.cwd)) or b"")
    claim = call.store.claim(action.key, PATIENCE, purpose)
    try:
        # Whoever held the claim may have compiled what we need.
        if claim is not None and call.store.has_entry(action.key) and look_up(call, action):
            return 0
        text = preprocess(call, action)
        if text is not None and look_up_text(call, action, text):
            return 0
        finished, deps = cc_compile.run(action, call.store)
        call.event.compiler_runs = 1
        call.event.compile_time_ms = finished.ms
        call.event.result = outcome.MISS
        if finished.status == 0:
            if text is not None:
                # What changed since the preprocessor read it makes text and object two things.
                finished.started_ns = text.started_ns
            keep(call, action, finished, deps, text)
        else:
            call.event.result = outcome.PASSTHROUGH
            call.event.reason = "the compiler failed"
    finally:
        if claim is not None:
            call.store.release(action.key, claim)
    close(call, action)
    return end_like(finished.status)


def preprocess(call: Invocation, action: Action) -> "Optional[Text]":
    """The compile's preprocessed text, where it may go by that. Whatever fails, the compiler runs."""
    from kachelib import preprocessed

    if not preprocessed.applies(action):
        return None
    call.event.preprocessor_runs += 1
    try:
        return preprocessed.read(action, call.store)
    except Exception as error:
        note_trouble(error)
        return None


def look_up_text(call: Invocation, action: Action, text: "Text") -> bool:
    """Restore what was made of this text by an earlier compile."""
    from kachelib import cc_collect, preprocessed

    event = call.event
    try:
        found = preprocessed.restore(text, action, call.store, event)
    except (OSError, cc_collect.NotStored):
        found = None
    if found is None:
        return False
    event.result = outcome.LOCAL_HIT
    event.route = "preprocessed"
    event.reason = ""
    event.cache_key = found.cache_key
    event.compile_time_ms = found.compile_ms
    event.size = found.size()
    if call.settings.has_remote and not call.settings.remote_readonly:
        from kachelib import demand

        demand.leave(call.settings, action.key, event.cache_key)
    close(call, action)
    return True


def keep(
    call: Invocation, action: Action, finished: "Finished", deps: "Optional[bytes]", text: "Optional[Text]"
) -> None:
    """Store a successful compile; where that fails, the event says why and the build goes on."""
    from kachelib import cc_collect, cc_compile, evict, preprocessed

    event = call.event
    try:
        if deps is None and action.plan.language not in cc_compile.WITHOUT_HEADERS:
            deps = cc_compile.all_headers(action, call.store)
            event.preprocessor_runs += 1
        collected = cc_collect.collect(action, finished, deps, call.store)
        event.cache_key = collected.candidate.cache_key
        event.size = collected.candidate.size()
        if not cc_collect.publish(collected, action, action.key, call.store):
            event.result = outcome.DUP
        else:
            evict.maybe_start(call.settings, event.size)
        if text is not None:
            preprocessed.keep(text, finished, collected.candidate, call.store)
        if call.settings.has_remote and not call.settings.remote_readonly:
            from kachelib import demand

            demand.leave(call.settings, action.key, event.cache_key)
    except cc_collect.NotStored as error:
        event.reason += "; not stored: %s" % error
    except Exception as error:
        # The build has what it needs; only the cache has not.
        event.reason += "; not stored: %s" % error
        note_trouble(error)


def close(call: Invocation, action: Action) -> None:
    """Record the call. Whatever fails here, the outputs are in place and their words were said."""
    try:
        event = call.event
        _describe(call, action.plan)
        event.root = action.roots.by_name.get(roots.SOURCE) or action.roots.by_name.get(roots.BUILD, "")
        event.action_key = action.key
        record(call, action.transcript)
        _log_flags(call, action.plan)
    except Exception as error:
        note_trouble(error)


def _describe(call: Invocation, plan: "cc.Plan") -> None:
    call.event.crate_name = plan.crate_name
    call.event.crate_types = plan.language


def _log_flags(call: Invocation, plan: "cc.Plan") -> None:
    """What became of the flags, for who opted one in."""
    voice = call.voice()
    if voice.wants(log.DEBUG):
        counts = ", ".join(["%d %s" % (count, kind) for kind, count in cc.describe(plan).items()])
        voice.debug("%s: cc flag-classify: %s" % (plan.crate_name, counts))
        for word in plan.user_allowed:
            voice.trace("%s: %s user-allowed (config)" % (plan.crate_name, word))
            voice.trace("%s: cc_extra_flag=%s" % (plan.crate_name, word))


def pass_through(call: Invocation, refusal: Refusal, asked: "Optional[cc.Plan]" = None) -> int:
    """Note the refusal and become the compiler."""
    event = call.event
    plan = asked or refusal.plan
    if plan is not None:
        _describe(call, plan)
    event.result = outcome.SKIPPED if refusal.reason == "excluded" else outcome.PASSTHROUGH
    event.reason = refusal.describe()
    try:
        if refusal.reason == "unsupported_flag" and plan is not None:
            call.voice().debug("%s: unsupported flag(s): %s — passthrough" % (plan.crate_name, refusal.detail))
        if call.settings.cache_dir:
            record(call, Transcript())
    except Exception as error:
        note_trouble(error)
    return become(call)
