"""The wrapper: the story of one Rust compile.

Owns the order of things: parse, plan, key, candidates, hit or miss. Every
failure of kache's own ends in the real compiler, run as Cargo asked.
"""

import posix
import sys

from kachelib import action as actions
from kachelib import config, events, extra_inputs, inputs, invocation, outcome, replay, roots, rustc, toolchain
from kachelib.invocation import (
    PATIENCE,
    SHELL_VARIABLES,
    Invocation,
    answer,
    complain,
    end_like,
    exclude,
    execute,
    note_trouble,
    refuse,
    say,
)
from kachelib.key import digest_bytes
from kachelib.outcome import NotACompile, Refusal
from kachelib.rustc import Plan
from kachelib.store import Store, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterator, List, Optional

    from kachelib.action import Action
    from kachelib.compile import Finished
    from kachelib.config import Settings
    from kachelib.entry import Candidate

# How Cargo asks about a target, before it opens the target's directory.
TARGET_PROBE = ["-", "--crate-name", "___"]

# Above this, arguments go to the compiler in a file: no Unix allows less.
LONG_COMMAND = 100_000


def main(argv: "List[str]") -> int:
    """Run one compile. argv: the compiler and its arguments. Returns the exit status, or becomes the compiler."""
    command, arguments = rustc.split_command(argv)
    return answer(argv, lambda: run(Invocation(command, arguments, config.environment())))


def run(call: Invocation) -> int:
    """The story: what cannot be cached becomes the compiler, what is known comes back, the rest is compiled."""
    asked = rustc.parse(call.arguments)
    if isinstance(asked, NotACompile):
        if call.arguments[:3] == TARGET_PROBE:
            from kachelib import target_probe

            return target_probe.answer(call, _search(call, None))
        return execute([*call.command, *call.arguments])
    call.settings = config.load(call.environ, _search(call, asked))
    if call.settings.disabled:
        return execute([*call.command, *call.arguments])
    refusal = _refuse(call, asked)
    if refusal is not None:
        return pass_through(call, refusal, asked)
    assert isinstance(asked, Plan)
    found = _action(call, asked)
    if isinstance(found, Refusal):
        return pass_through(call, found, asked)
    remove_incremental(asked, call.settings)
    found.extra = extra_inputs.read(found.manifest_dir(), call.store.memo_dir())
    for text in found.extra.warnings if found.extra else ():
        complain(call, text)
    if asked.linked and not call.settings.cache_executables:
        return run_uncached(call, found, Refusal("executable"))
    refusal = actions.build(found, call.settings, call.store)
    if refusal is not None:
        return run_uncached(call, found, refusal)
    if look_up(call, found) or (call.settings.has_remote and look_up_remote(call, found)):
        return 0
    return miss(call, found)


def _search(call: Invocation, asked: "Optional[Plan | Refusal]") -> "tuple[str, ...]":
    """Where the project's configuration may lie above: Cargo's directory, the outputs', the compiler's."""
    places = []
    if sys.platform == "linux":
        try:
            places.append(posix.readlink("/proc/%d/cwd" % posix.getppid()))
        except OSError:
            pass
    if isinstance(asked, Plan):
        places.append(roots.absolute(asked.out_dir, call.cwd))
    places.append(call.cwd)
    return tuple(places)


def _refuse(call: Invocation, asked: "Plan | Refusal") -> "Optional[Refusal]":
    """Why this call is not for the cache, as far as arguments and settings tell; opens the stores otherwise."""
    refusal = refuse(call, asked)
    if refusal is not None or not call.settings.exclude:
        return refusal
    assert isinstance(asked, Plan)
    return exclude(call, asked.source, *_workspace(asked, call))


def _workspace(asked: Plan, call: Invocation) -> "tuple[str, ...]":
    """The workspace's root where it can be inferred: above a target directory that lies in its usual place."""
    target = roots.target_directory(roots.absolute(asked.out_dir, call.cwd))
    return (target.rpartition("/")[0],) if target.endswith("/target") else ()


def _action(call: Invocation, plan: Plan) -> "Action | Refusal":
    if len(call.command) > 1 and not call.command[0].rpartition("/")[2].startswith("clippy-driver"):
        return Refusal("workspace_wrapper", call.command[0])
    tools = toolchain.identify(call.command, call.environ, call.store.memo_dir())
    if tools is None:
        return Refusal("compiler", call.command[0])
    call.event.probe_runs = tools.probes
    places = roots.find(plan.source, call.cwd, roots.absolute(plan.out_dir, call.cwd), call.environ)
    found = actions.Action(plan, tools, roots.with_sysroot(places, tools.sysroot), call.cwd, call.environ)
    actions.decide_remapping(found, call.settings)
    return found


def look_up(call: Invocation, action: "Action") -> bool:
    """Restore the first candidate whose inputs all match; else say in the event why there was none."""

    def restore(candidate: "Candidate", store: Store) -> bool:
        return replay.restore(candidate, action, store, call.event) and replay.say(candidate, action, store)

    if not invocation.look_up(call, action.key, _difference(call, action), restore):
        return False
    close(call, action)
    return True


def look_up_remote(call: Invocation, action: "Action") -> bool:
    """Restore what the uploader brings from the remote, in time; what it brings is judged as anything in the store."""
    from kachelib import demand

    difference = _difference(call, action)
    call.fetched = demand.bring(
        call.settings,
        action.plan.crate_name,
        action.key,
        _search(call, action.plan),
        lambda candidate: not difference(candidate),
    )
    return bool(call.fetched) and look_up(call, action)


def _difference(call: Invocation, action: "Action") -> "Callable[[Candidate], str]":
    """What tells, in words, which input of a candidate is not as it was."""
    fingerprint = inputs.package_fingerprint(action, call.store)

    def tell(candidate: "Candidate") -> str:
        if any(not dep.name.isidentifier() or dep.name in SHELL_VARIABLES for dep in candidate.env_deps):
            # What the compiler is given, the shell before us took or changed.
            from kachelib.compile import environment

            action.environ = dict(_texts(environment(action)))
        return inputs.difference(candidate, action, fingerprint, call.store)

    return tell


def _texts(environ: "Dict[bytes, bytes]") -> "Iterator[tuple[str, str]]":
    for name, value in environ.items():
        yield name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")


def miss(call: Invocation, action: "Action") -> int:
    """Compile once, whoever else wants the same now, and store what came of it."""
    from kachelib import compile
    from kachelib.heartbeat import Heartbeat

    heartbeat = Heartbeat(call.settings, "waiting for another compile of " + action.plan.crate_name)
    claim = None
    try:
        claim = call.store.claim(action.key, PATIENCE, _purpose(call, action))
        heartbeat.doing = "compiling " + action.plan.crate_name
        # Whoever held the claim may have compiled what we need.
        known = claim is not None and call.store.has_entry(action.key) and not actions.changed_input(action)
        if known and look_up(call, action):
            return 0
        fingerprint = inputs.package_fingerprint(action, call.store)
        command = compile.command_line(action, call.command)
        if action.plan.linked:
            # before a "--"
            command.insert(len(call.command), compile.PRINT_LINKER)
        finished = compile.run(command, call.store, action)
        call.event.compiler_runs = 1
        call.event.compile_time_ms = finished.ms
        call.event.result = outcome.MISS
        if finished.status == 0:
            keep(call, action, finished, fingerprint)
        else:
            # Also what build scripts try out: nothing that a cache could have had.
            call.event.result = outcome.PASSTHROUGH
            call.event.reason = "the compiler failed"
    finally:
        heartbeat.stop()
        if claim is not None:
            call.store.release(action.key, claim)
    close(call, action)
    return end_like(finished.status)


def _purpose(call: Invocation, action: "Action") -> str:
    """What tells two compiles of one action apart before their inputs are known: the crate's first source file.

    Another worktree's, with other sources, is not worth waiting for.
    """
    return digest_bytes(read_file(roots.absolute(action.plan.source, call.cwd)) or b"")


def keep(call: Invocation, action: "Action", finished: "Finished", fingerprint: str) -> None:
    """Store a successful compile; where that fails, the event says why and the build goes on."""
    from kachelib import collect

    event = call.event
    try:
        changed = actions.changed_input(action)
        if changed:
            raise collect.NotStored("%s changed since it was looked at" % changed)
        same = inputs.package_fingerprint(action, call.store) == fingerprint and not inputs.package_changed(action)
        if not same or not _same_extra_inputs(call, action):
            raise collect.NotStored("a file of the package changed during the compile")
        from kachelib import evict

        collected = collect.collect(action, finished, fingerprint, call.store)
        event.cache_key = collected.candidate.cache_key
        event.size = collected.candidate.size()
        if not collect.publish(collected, action, call.store):
            event.result = outcome.DUP
        else:
            evict.maybe_start(call.settings, event.size)
            if call.settings.has_remote:
                leave_for_remote(call, action)
        from kachelib import taker

        taker.maybe_start(call.command, call.environ, call.settings, call.store)
    except collect.NotStored as error:
        event.reason += "; not stored: %s" % error
    except Exception as error:
        # The build has what it needs; only the cache has not.
        event.reason += "; not stored: %s" % error
        note_trouble(error)
    extend_depinfo(action)


def leave_for_remote(call: Invocation, action: "Action") -> None:
    """Have the uploader push what was stored. Raises OSError."""
    from kachelib import demand

    if not call.settings.remote_readonly:
        demand.leave(call.settings, action.key, call.event.cache_key)


def extend_depinfo(action: "Action") -> None:
    """Tell Cargo of the declared extra inputs. Where that fails, the compile has succeeded all the same."""
    from kachelib import compile

    try:
        compile.extend_depinfo(action)
    except OSError as error:
        note_trouble(error)


def _same_extra_inputs(call: Invocation, action: "Action") -> bool:
    """Whether the declared patterns still match the same files."""
    if action.extra is None:
        return True
    now = extra_inputs.read(action.manifest_dir(), call.store.memo_dir())
    return now is not None and now.files == action.extra.files and now.patterns == action.extra.patterns


def close(call: Invocation, action: "Action") -> None:
    """Record the call. Whatever fails here, the outputs are in place and their words were said."""
    try:
        record(call, action)
    except Exception as error:
        note_trouble(error)


def record(call: Invocation, action: "Action") -> None:
    """The event's end: the line in events.jsonl, the log, the line of progress."""
    event = call.event
    event.crate_name = action.plan.crate_name
    event.crate_types = "test" if action.plan.test else ",".join(action.plan.crate_types)
    event.root = action.roots.by_name.get(roots.WORKSPACE) or action.roots.by_name.get(roots.TARGET, "")
    event.action_key = action.key
    invocation.record(call, action.transcript)


def remove_incremental(plan: Plan, settings: "Settings") -> None:
    """Remove the crate's incremental directory: the flag is stripped, and what an earlier build left is only large."""
    if not plan.incremental or not settings.clean_incremental:
        return
    try:
        names = posix.listdir(plan.incremental)
    except OSError:
        return
    for name in names:
        if name.startswith(plan.crate_name + "-"):
            from shutil import rmtree

            rmtree(plan.incremental + "/" + name, ignore_errors=True)


def run_uncached(call: Invocation, action: "Action", refusal: Refusal) -> int:
    """Compile without the cache, but with the same flags: what depends on this output must find the same bytes."""
    from kachelib import compile

    call.event.result = outcome.PASSTHROUGH
    call.event.reason = refusal.describe()
    close(call, action)
    if refusal.reason == "extra_inputs":
        complain(call, refusal.detail)
    command = compile.command_line(action, call.command)
    if action.extra is not None and not action.extra.error:
        # Somebody has to stay and tell Cargo of the extra inputs.
        status = compile.run(command, call.store, action).status
        if status == 0:
            extend_depinfo(action)
        return end_like(status)
    compile.clear_outputs(action.plan, call.cwd)
    if sum(len(word) for word in command) > LONG_COMMAND:
        command = compile.shortened(command, call.store)
    return execute(command, action)


def pass_through(call: Invocation, refusal: Refusal, asked: "Plan | Refusal") -> int:
    """Note the refusal and become the compiler."""
    from kachelib import compile

    event = call.event
    plan = asked if isinstance(asked, Plan) else asked.plan
    if plan is not None:
        event.crate_name = plan.crate_name
        event.crate_types = "test" if plan.test else ",".join(plan.crate_types)
        compile.clear_outputs(plan, call.cwd)
    event.result = outcome.SKIPPED if refusal.reason == "excluded" else outcome.PASSTHROUGH
    event.reason = refusal.describe()
    event.finish()
    if call.settings.cache_dir:
        events.append(call.settings.cache_dir, event)
    say(call)
    return execute([*call.command, *call.arguments])
