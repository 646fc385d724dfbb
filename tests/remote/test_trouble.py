"""What is wrong with a remote is said plainly, by doctor and by sync, without a secret; builds go on.

Each trouble is real: SeaweedFS refuses, a port is closed, a name is not known. Only the expired token comes from the
proxy, for this server issues none.
"""

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Set

import pytest

from tests.remote.machines import SAYS, Machine, machine
from tests.servers.clock import shifted
from tests.servers.proxy import Proxy, black_hole, drop_reply, flip_bit, hang, limit_rate, refused, s3_error
from tests.servers.seaweed import SeaweedFS
from tests.world import Kache, Run, World

Find = Callable[[str], str]

# A person waits for doctor. What hangs does so for ever, so nothing hangs on this number.
DOCTOR_SECONDS = 100

WRONG_SECRET = "hunter2hunter2hunter2"
TOKEN = "hunter3hunter3hunter3"


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """As it ships."""
    return kache_file


@dataclass
class Trouble:
    """variables: what the machine is told. doctor: check -> status, words. sync: exit status, words."""

    variables: Dict[str, str]
    doctor: Dict[str, "tuple[str, str]"]
    sync: "tuple[int, str]"


def good_keys(server: SeaweedFS, prefix: str, endpoint: str = "") -> Dict[str, str]:
    return {
        "KACHE_S3_BUCKET": server.bucket,
        "KACHE_S3_ENDPOINT": endpoint or server.endpoint,
        "KACHE_S3_PREFIX": prefix,
        "KACHE_S3_ACCESS_KEY": server.access_key,
        "KACHE_S3_SECRET_KEY": server.secret_key,
        # names that nobody knows shall be unknown at once
        "RES_OPTIONS": "timeout:1 attempts:1",
    }


def reader_keys(server: SeaweedFS) -> Dict[str, str]:
    return {
        "KACHE_S3_ACCESS_KEY": server.read_only_access_key,
        "KACHE_S3_SECRET_KEY": server.read_only_secret_key,
    }


def fails(words: str, **variables: str) -> Trouble:
    """What every operation meets: doctor stops at the first one."""
    return Trouble(variables, {"remote": ("ok", ""), "remote list": ("problem", words)}, (1, words))


ALL_WELL = {f"remote {name}": ("ok", "allowed") for name in ("list", "put", "get", "delete")}
NO_PUT = ("problem", "do not allow s3:PutObject (AccessDenied)")

TROUBLES: Dict[str, Callable[[SeaweedFS], Trouble]] = {
    "good keys": lambda server: Trouble(
        {}, {"remote": ("ok", "credentials: KACHE_S3_ACCESS_KEY"), **ALL_WELL}, (0, "pushed")
    ),
    "read-only keys": lambda server: Trouble(
        reader_keys(server),
        {"remote": ("ok", ""), "remote list": ("ok", ""), "remote put": NO_PUT, "remote get": ("ok", "allowed")},
        (1, "do not allow s3:PutObject (AccessDenied)"),
    ),
    "read-only keys, and readonly": lambda server: Trouble(
        {**reader_keys(server), "KACHE_REMOTE_READONLY": "1"},
        {
            "remote": ("ok", ""),
            "remote list": ("ok", ""),
            "remote put": ("warning", "this machine pulls and does not push"),
            "remote get": ("ok", "allowed"),
        },
        (0, "only read here"),
    ),
    "wrong secret": lambda server: fails(
        "the secret key does not belong to the access key (SignatureDoesNotMatch)", KACHE_S3_SECRET_KEY=WRONG_SECRET
    ),
    "unknown key": lambda server: fails(
        "the access key is not known there (InvalidAccessKeyId)", KACHE_S3_ACCESS_KEY="nobody"
    ),
    "half a pair": lambda server: Trouble(
        {"KACHE_S3_SECRET_KEY": ""},
        {"remote": ("problem", "KACHE_S3_ACCESS_KEY is set without KACHE_S3_SECRET_KEY")},
        (1, "KACHE_S3_ACCESS_KEY is set without KACHE_S3_SECRET_KEY: set both, or neither"),
    ),
    "no such bucket": lambda server: fails("there is no such bucket\n", KACHE_S3_BUCKET="no-such-bucket"),
    "no such host": lambda server: fails("its name is not found", KACHE_S3_ENDPOINT="http://s3.nowhere.invalid"),
    "TLS where there is none": lambda server: fails(
        "it does not speak TLS as it should", KACHE_S3_ENDPOINT=server.endpoint.replace("http:", "https:")
    ),
}


@pytest.fixture
def place(world: World, kache: Kache, seaweed: SeaweedFS, prefix: str) -> Machine:
    """A machine with good keys that has built nothing yet."""
    return machine(world, kache, "a", good_keys(seaweed, prefix), RUSTC_WRAPPER=str(kache.path))


@pytest.fixture(autouse=True)
def uploader_off(world: World) -> None:
    """A build asks the remote where a test says so."""
    world.env["KACHE_UPLOADER"] = "off"


def secrets(server: SeaweedFS) -> List[str]:
    return [server.access_key, server.secret_key, server.read_only_secret_key, WRONG_SECRET, TOKEN]


def judge(place: Machine, server: SeaweedFS, trouble: Trouble) -> None:
    """Build, sync and doctor in that trouble."""
    place.env.update(trouble.variables)
    built = build_goes_on(place)
    code, words = trouble.sync
    run = place.run("sync")
    assert run.returncode == code, run.stderr
    if code:
        assert said(words, run.stderr), run.stderr
        assert len(run.stderr.splitlines()) == 1, run.stderr
        assert run.stdout == ""
    else:
        assert words in run.stdout
    doctor_says(place, trouble.doctor)
    loud = {"KACHE_LOG": "trace", "KACHE_LOG_FILE": "trace"}
    runs = [built, run, place.run("sync", env=loud), place.run("doctor", env=loud, timeout=DOCTOR_SECONDS)]
    assert not leaks(place, secrets(server), runs)


def build_goes_on(place: Machine) -> Run:
    """A cold build in that trouble is a build, whether it asks the remote or not."""
    env = {"KACHE_LOG": "trace", "KACHE_LOG_FILE": "trace"}
    asking = {**env, "KACHE_UPLOADER": "auto", "KACHE_REMOTE_READONLY": "1"}
    run = place.cargo("build", env=asking).ok()
    assert place.program() == SAYS
    place.run("daemon", "stop", env=asking).ok()
    assert (place.cache_dir / "daemon.log").exists()
    place.remove_target()
    shutil.rmtree(place.cache_dir / "entries", ignore_errors=True)
    place.cargo("build", env=env).ok()
    assert place.program() == SAYS
    return run


def doctor_says(place: Machine, wanted: "Dict[str, tuple[str, str]]") -> None:
    run = place.run("doctor", "--json", timeout=DOCTOR_SECONDS)
    document = json.loads(run.stdout)
    found = [each for each in document["findings"] if each["check"].startswith("remote")]
    assert [each["check"] for each in found] == list(wanted), found
    for each in found:
        status, words = wanted[each["check"]]
        assert each["status"] == status, each
        assert said(words, each["message"]), each
        assert "\n" not in each["message"] + each["hint"]
    others = [each for each in document["findings"] if each not in found and each["status"] == "problem"]
    assert others == []
    bad = any(status == "problem" for status, _ in wanted.values())
    assert run.returncode == (1 if bad else 0)
    assert run.stderr == ""


def said(words: str, text: str) -> bool:
    # where there is no name server at all, a name is not unknown but cannot be asked for
    return words in text.rstrip("\n") + "\n" or (words == "its name is not found" and "there is no such host" in text)


def leaks(place: Machine, secret: List[str], runs: List[Run]) -> Set[str]:
    """Secrets in what was printed, or in any file that kache wrote."""
    texts = [run.stdout + run.stderr for run in runs]
    for top in (place.cache_dir, Path(place.world.env["XDG_CACHE_HOME"]) / "kache"):
        for base, directories, files in os.walk(top):
            directories[:] = [name for name in directories if not name.startswith("boto3-")]
            texts += [(Path(base) / name).read_bytes().decode("latin-1") for name in files]
    return {each for each in secret for text in texts if each in text}


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_is_said_and_builds_go_on(place: Machine, seaweed: SeaweedFS, prefix: str, name: str) -> None:
    judge(place, seaweed, TROUBLES[name](seaweed))
    left = [each["Key"] for each in listing(seaweed, prefix) if "probe" in each["Key"]]
    assert left == []


def listing(server: SeaweedFS, prefix: str) -> "List[Dict[str, str]]":
    found = server.client().list_objects_v2(Bucket=server.bucket, Prefix=prefix)
    return list(found.get("Contents", ()))


def test_an_endpoint_that_is_no_s3_server_is_suspected(place: Machine, proxy: Proxy) -> None:
    proxy.rule(action=s3_error(404, "NotFound"))
    place.env["KACHE_S3_ENDPOINT"] = proxy.endpoint
    words = "there is no such bucket, or the endpoint is no S3 server (NotFound)"
    doctor_says(place, {"remote": ("ok", ""), "remote list": ("problem", words)})


def test_a_closed_port_is_said(place: Machine, seaweed: SeaweedFS) -> None:
    with refused() as endpoint:
        judge(place, seaweed, fails("nobody answers there (Connection refused)", KACHE_S3_ENDPOINT=endpoint))


@pytest.mark.parametrize("seconds", [-7200, 7200])
def test_a_wrong_clock_is_said(place: Machine, seaweed: SeaweedFS, require_tool: Find, seconds: int) -> None:
    variables = shifted(place.world.root, require_tool("cc"), seconds)
    trouble = fails("this machine's clock is not the server's: set it (RequestTimeTooSkewed)", **variables)
    judge(place, seaweed, trouble)


def test_an_expired_token_is_said(place: Machine, seaweed: SeaweedFS, proxy: Proxy) -> None:
    proxy.rule(action=s3_error(400, "ExpiredToken"))
    variables = {
        "KACHE_S3_ENDPOINT": proxy.endpoint,
        "KACHE_S3_ACCESS_KEY": "",
        "KACHE_S3_SECRET_KEY": "",
        "AWS_ACCESS_KEY_ID": seaweed.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweed.secret_key,
        "AWS_SESSION_TOKEN": TOKEN,
    }
    trouble = fails("the session's token has expired: sign in again (ExpiredToken)", **variables)
    trouble.doctor["remote"] = ("ok", "credentials: AWS: env")
    judge(place, seaweed, trouble)
    assert {head.get("x-amz-security-token") for head in proxy.heads} == {TOKEN}


@pytest.fixture(params=["never accepts", "never answers"])
def silent(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "never accepts":
        with black_hole() as endpoint:
            yield endpoint
        return
    proxy: Proxy = request.getfixturevalue("proxy")
    proxy.rule(action=hang())
    yield proxy.endpoint


def test_doctor_does_not_wait_for_the_silent(place: Machine, silent: str) -> None:
    place.env["KACHE_S3_ENDPOINT"] = silent
    build_goes_on(place)
    doctor_says(place, {"remote": ("ok", ""), "remote list": ("problem", "in time")})


@pytest.mark.soak
def test_sync_gives_the_silent_up(place: Machine, silent: str) -> None:
    place.env["KACHE_S3_ENDPOINT"] = silent
    place.cargo("generate-lockfile").ok()
    run = place.run("sync", timeout=600)
    assert run.returncode == 1
    assert "in time" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_doctor_does_not_wait_for_one_that_drips(place: Machine, seaweed: SeaweedFS, prefix: str, proxy: Proxy) -> None:
    """No request may take longer than a person waits, though something comes now and then."""
    # more to list than comes in the time: some 300 bytes an object, at 20 bytes a second
    client = seaweed.client()
    for number in range(20):
        client.put_object(Bucket=seaweed.bucket, Key=prefix + f"crate/{number}", Body=b"x")
    proxy.rule(action=limit_rate(20))
    place.env["KACHE_S3_ENDPOINT"] = proxy.endpoint
    began = time.monotonic()
    doctor_says(place, {"remote": ("ok", ""), "remote list": ("problem", "no answer within")})
    assert time.monotonic() - began < DOCTOR_SECONDS


def test_a_reader_s_doctor_writes_nothing(place: Machine, seaweed: SeaweedFS, prefix: str, proxy: Proxy) -> None:
    place.env.update(reader_keys(seaweed), KACHE_REMOTE_READONLY="1", KACHE_S3_ENDPOINT=proxy.endpoint)
    place.run("doctor").ok()
    # with something there its first byte is asked for
    seaweed.client().put_object(Bucket=seaweed.bucket, Key=prefix + "serde/x.tar.zst", Body=b"content")
    place.run("doctor").ok()
    assert [request.method for request in proxy.requests] == ["GET"] * 4
    assert [head.get("range") for head in proxy.heads if "range" in head] == ["bytes=0-0"] * 2
    assert [request.status for request in proxy.requests] == [200, 404, 200, 206]


def test_who_may_not_delete_is_told_what_stays(place: Machine, seaweed: SeaweedFS, proxy: Proxy) -> None:
    """Nobody needs the right to delete."""
    proxy.rule(action=s3_error(403, "AccessDenied"), method="DELETE")
    place.env["KACHE_S3_ENDPOINT"] = proxy.endpoint
    wanted = {**ALL_WELL, "remote delete": ("warning", "do not allow s3:DeleteObject (AccessDenied); .units/probe-")}
    doctor_says(place, {"remote": ("ok", ""), **wanted})


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_the_operation_that_is_not_allowed_is_named(place: Machine, proxy: Proxy, method: str) -> None:
    right = {"PUT": "s3:PutObject", "GET": "s3:GetObject"}[method]
    proxy.rule(action=s3_error(403, "AccessDenied"), method=method, path_contains="probe-")
    place.env["KACHE_S3_ENDPOINT"] = proxy.endpoint
    run = place.run("doctor")
    assert run.returncode == 1
    [line] = [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
    assert f"remote {method.lower()} " in line
    assert f"the credentials do not allow {right} (AccessDenied)" in line
    assert f"allow {right}" in run.stdout.partition(line)[2].splitlines()[1]


def test_a_lost_reply_leaves_no_probe(place: Machine, seaweed: SeaweedFS, prefix: str, proxy: Proxy) -> None:
    proxy.rule(action=drop_reply(), method="PUT")
    place.env["KACHE_S3_ENDPOINT"] = proxy.endpoint
    doctor_says(
        place,
        {"remote": ("ok", ""), "remote list": ("ok", ""), "remote put": ("problem", "closes the connection")},
    )
    assert [request.method for request in proxy.requests] == ["GET", "PUT", "DELETE"]
    assert listing(seaweed, prefix) == []


def test_what_comes_back_changed_is_said(place: Machine, proxy: Proxy) -> None:
    proxy.rule(action=flip_bit(3), method="GET", path_contains="probe-")
    place.env["KACHE_S3_ENDPOINT"] = proxy.endpoint
    wanted = {**ALL_WELL, "remote get": ("problem", "what came back is not what was put")}
    doctor_says(place, {"remote": ("ok", ""), **wanted})


def test_a_password_in_the_endpoint_is_not_shown(place: Machine) -> None:
    """Some put it there for a gateway in between."""
    with refused() as endpoint:
        place.env["KACHE_S3_ENDPOINT"] = endpoint.replace("http://", f"http://me:{WRONG_SECRET}@")
        place.cargo("generate-lockfile").ok()
        runs = [place.run("doctor"), place.run("sync", env={"KACHE_LOG": "trace"})]
    assert [run.returncode for run in runs] == [1, 1]
    assert not leaks(place, [WRONG_SECRET], runs)
    assert all("***@127.0.0.1" in run.stdout + run.stderr for run in runs)
