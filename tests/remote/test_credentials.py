"""Whose keys sign, who is believed at the other end, and which way requests take: seen on the wire before SeaweedFS."""

import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence

import pytest

from tests.remote.machines import Machine, machine
from tests.servers.certificates import Authority
from tests.servers.clock import shifted
from tests.servers.proxy import Proxy, refused
from tests.servers.seaweed import DOMAIN, SeaweedFS
from tests.servers.tunnel import Tunnel
from tests.world import Kache, World

Find = Callable[[str], str]
Answer = Dict[str, Dict[str, str]]

PASSWORD = "hunter2hunter2"
TOKEN = "hunter3hunter3"


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """As it ships."""
    return kache_file


@pytest.fixture
def place(world: World, kache: Kache, seaweed: SeaweedFS, prefix: str, proxy: Proxy) -> Machine:
    """A machine that reaches the server through ``proxy`` and has no keys; only doctor and sync are run there."""
    remote = {
        "KACHE_S3_BUCKET": seaweed.bucket,
        "KACHE_S3_ENDPOINT": proxy.endpoint,
        "KACHE_S3_PREFIX": prefix,
        # no machine of a cloud: its address is asked for nothing
        "AWS_EC2_METADATA_DISABLED": "true",
        "RES_OPTIONS": "timeout:1 attempts:1",
    }
    remote.update(proxies())
    return machine(world, kache, "a", remote, RUSTC_WRAPPER=str(kache.path))


def proxies(https: str = "", none: str = "") -> Dict[str, str]:
    """Variables for one way to the world, whatever the caller's own are."""
    return {"HTTPS_PROXY": https, "https_proxy": https, "NO_PROXY": none, "no_proxy": none}


def explicit(access: str, secret: str) -> Dict[str, str]:
    return {"KACHE_S3_ACCESS_KEY": access, "KACHE_S3_SECRET_KEY": secret}


def from_aws(access: str, secret: str) -> Dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}


def write_profiles(place: Machine, profiles: Dict[str, Dict[str, str]], name: str = "credentials") -> None:
    path = Path(str(place.env["HOME"])) / ".aws" / name
    path.parent.mkdir(exist_ok=True)
    sections = [
        f"[{profile}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for profile, values in profiles.items()
    ]
    path.write_text("\n".join(sections))


def keys(access: str, secret: str) -> Dict[str, str]:
    return {"aws_access_key_id": access, "aws_secret_access_key": secret}


def doctor(place: Machine) -> Answer:
    """What doctor finds about the remote, by check."""
    run = place.run("doctor", "--json")
    assert PASSWORD not in run.stdout + run.stderr
    assert TOKEN not in run.stdout + run.stderr
    found = json.loads(run.stdout)["findings"]
    return {each["check"]: each for each in found if each["check"].startswith("remote")}


def works(found: Answer) -> bool:
    wanted = ["remote", "remote list", "remote put", "remote get", "remote delete"]
    return list(found) == wanted and {each["status"] for each in found.values()} == {"ok"}


def fails(place: Machine, words: str) -> None:
    """doctor and sync say it, each in one line."""
    found = list(doctor(place).values())[-1]
    assert found["status"] == "problem"
    assert words in found["message"], found
    place.cargo("generate-lockfile").ok()
    run = place.run("sync")
    assert run.returncode == 1
    assert words in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert PASSWORD not in run.stderr


def signed_by(proxy: Proxy) -> List[str]:
    """The access keys that requests were signed with."""
    heads = [head.get("authorization", "") for head in proxy.heads]
    return sorted({match.group(1) for match in (re.search("Credential=([^/]+)/", head) for head in heads) if match})


# The order of credentials


def test_explicit_keys_come_first(place: Machine, seaweed: SeaweedFS, proxy: Proxy) -> None:
    write_profiles(place, {"ceph": keys("of-the-profile", "x"), "default": keys("of-the-file", "x")})
    place.env.update(explicit(seaweed.access_key, seaweed.secret_key), KACHE_S3_PROFILE="ceph")
    place.env.update(from_aws("of-the-environment", "x"), AWS_SESSION_TOKEN=TOKEN)
    found = doctor(place)
    assert works(found), found
    assert "credentials: KACHE_S3_ACCESS_KEY" in found["remote"]["message"]
    assert signed_by(proxy) == [seaweed.access_key]
    # the token belongs to the other keys
    assert not any("x-amz-security-token" in head for head in proxy.heads)


def test_a_profile_that_is_not_there_does_not_spoil_explicit_keys(place: Machine, seaweed: SeaweedFS) -> None:
    place.env.update(explicit(seaweed.access_key, seaweed.secret_key), AWS_PROFILE="nobody", KACHE_S3_PROFILE="nobody")
    assert works(doctor(place))


def test_a_profile_comes_before_aws_s_own_chain(place: Machine, seaweed: SeaweedFS, proxy: Proxy) -> None:
    write_profiles(place, {"ceph": keys(seaweed.access_key, seaweed.secret_key), "default": keys("of-the-file", "x")})
    place.env.update(from_aws("of-the-environment", "x"), AWS_SESSION_TOKEN=TOKEN, KACHE_S3_PROFILE="ceph")
    found = doctor(place)
    assert works(found), found
    assert "credentials: profile ceph (shared-credentials-file)" in found["remote"]["message"]
    assert signed_by(proxy) == [seaweed.access_key]
    assert not any("x-amz-security-token" in head for head in proxy.heads)


def test_of_the_chain_the_environment_comes_first(place: Machine, seaweed: SeaweedFS, proxy: Proxy) -> None:
    write_profiles(place, {"default": keys("of-the-file", "x")})
    place.env.update(from_aws(seaweed.access_key, seaweed.secret_key))
    found = doctor(place)
    assert works(found), found
    assert "credentials: AWS: env" in found["remote"]["message"]
    assert signed_by(proxy) == [seaweed.access_key]


def test_of_the_chain_the_shared_file_comes_next(
    place: Machine, seaweed: SeaweedFS, proxy: Proxy, container: str
) -> None:
    write_profiles(place, {"default": keys(seaweed.access_key, seaweed.secret_key)})
    place.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = container
    found = doctor(place)
    assert works(found), found
    assert "credentials: AWS: shared-credentials-file" in found["remote"]["message"]
    assert signed_by(proxy) == [seaweed.access_key]


@pytest.fixture
def container() -> Iterator[str]:
    """Where a container gets its credentials: a JSON document over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fields = {"AccessKeyId": "of-the-container", "SecretAccessKey": PASSWORD, "Token": TOKEN}
            data = json.dumps({**fields, "Expiration": "2999-01-01T00:00:00Z"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield "http://127.0.0.1:%d/credentials" % server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_of_the_chain_the_container_comes_last(place: Machine, proxy: Proxy, container: str) -> None:
    place.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = container
    found = doctor(place)
    assert "credentials: AWS: container-role" in found["remote"]["message"]
    assert signed_by(proxy) == ["of-the-container"]
    assert [head.get("x-amz-security-token") for head in proxy.heads] == [TOKEN]


def test_a_token_of_the_environment_is_sent(place: Machine, seaweed: SeaweedFS, proxy: Proxy) -> None:
    place.env.update(from_aws(seaweed.access_key, seaweed.secret_key), AWS_SESSION_TOKEN=TOKEN)
    doctor(place)
    assert {head.get("x-amz-security-token") for head in proxy.heads} == {TOKEN}


def test_a_profile_may_ask_a_program(place: Machine, seaweed: SeaweedFS) -> None:
    answer = {"Version": 1, "AccessKeyId": seaweed.access_key, "SecretAccessKey": seaweed.secret_key}
    file = place.world.root / "answer"
    file.write_text(json.dumps(answer))
    write_profiles(place, {"profile asking": {"credential_process": f"cat {file}"}}, "config")
    place.env["KACHE_S3_PROFILE"] = "asking"
    found = doctor(place)
    assert works(found), found
    assert "credentials: profile asking (custom-process)" in found["remote"]["message"]


NO_KEYS = {
    "nothing": ({}, "no credentials were found: set KACHE_S3_ACCESS_KEY"),
    "access key alone": (explicit("x", ""), "KACHE_S3_ACCESS_KEY is set without KACHE_S3_SECRET_KEY"),
    "secret key alone": (explicit("", PASSWORD), "KACHE_S3_SECRET_KEY is set without KACHE_S3_ACCESS_KEY"),
    "half of AWS's": ({"AWS_ACCESS_KEY_ID": "x"}, "missing: AWS_SECRET_ACCESS_KEY"),
    "no such profile": ({"KACHE_S3_PROFILE": "nobody"}, "The config profile (nobody) could not be found"),
    "a profile without keys": ({"KACHE_S3_PROFILE": "empty"}, "the profile empty has no credentials"),
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_what_is_missing_of_the_credentials_is_said(place: Machine, proxy: Proxy, name: str) -> None:
    variables, words = NO_KEYS[name]
    write_profiles(place, {"profile empty": {"region": "us-east-1"}}, "config")
    place.env.update(variables)
    fails(place, words)
    assert proxy.heads == []


# TLS


@pytest.fixture
def authority(tmp_path: Path, require_tool: Find) -> Authority:
    return Authority(tmp_path / "authority", require_tool("openssl"))


Front = Callable[[Sequence[str]], Proxy]


@pytest.fixture
def front(seaweed: SeaweedFS, authority: Authority) -> Iterator[Front]:
    """TLS before the server, with a certificate of ``authority`` for these names."""
    made: List[Proxy] = []

    def make(names: Sequence[str]) -> Proxy:
        made.append(Proxy(seaweed.endpoint, authority.server(names)))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def uses(place: Machine, server: SeaweedFS, endpoint: str, **more: object) -> None:
    place.env.update(explicit(server.access_key, server.secret_key), KACHE_S3_ENDPOINT=endpoint)
    place.env.update({name: str(value) for name, value in more.items()})


def test_a_certificate_of_one_s_own_is_believed_where_it_is_named(
    place: Machine, seaweed: SeaweedFS, authority: Authority, front: Front
) -> None:
    there = front(["IP:127.0.0.1"])
    uses(place, seaweed, there.endpoint, KACHE_S3_CA_BUNDLE=authority.ca_bundle)
    assert works(doctor(place))
    place.cargo("build").ok()
    place.run("save", "--push").ok()
    place.run("sync").ok()
    assert "PUT" in {request.method for request in there.requests}


def test_a_certificate_that_nobody_knows_is_not_believed(place: Machine, seaweed: SeaweedFS, front: Front) -> None:
    there = front(["IP:127.0.0.1"])
    uses(place, seaweed, there.endpoint)
    fails(place, f"{there.endpoint}: its certificate is not trusted here: unable to get local issuer certificate")
    assert there.requests == []


def test_a_certificate_of_another_is_not_believed(
    place: Machine, seaweed: SeaweedFS, authority: Authority, front: Front
) -> None:
    there = front(["DNS:elsewhere.example.com"])
    uses(place, seaweed, there.endpoint, KACHE_S3_CA_BUNDLE=authority.ca_bundle)
    fails(place, "its certificate is not trusted here: hostname '127.0.0.1' doesn't match 'elsewhere.example.com'")
    assert there.requests == []


@pytest.mark.parametrize("days", [-20, 20])
def test_a_clock_that_spoils_certificates_is_suspected(
    place: Machine, seaweed: SeaweedFS, front: Front, require_tool: Find, days: int
) -> None:
    uses(place, seaweed, front(["IP:127.0.0.1"]).endpoint, KACHE_S3_CA_BUNDLE=place.world.root / "authority/ca.pem")
    place.env.update(shifted(place.world.root, require_tool("cc"), days * 86400))
    fails(place, "(is this machine's clock right?)")


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), ("rubbish", "holds no certificates")])
def test_a_file_of_certificates_that_is_none_is_said(
    place: Machine, seaweed: SeaweedFS, front: Front, content: "str | None", words: str
) -> None:
    path = place.world.root / "our-ca.pem"
    if content:
        path.write_text(content)
    uses(place, seaweed, front(["IP:127.0.0.1"]).endpoint, KACHE_S3_CA_BUNDLE=path)
    fails(place, f"cache.remote.ca_bundle: {path}: ")
    assert words in doctor(place)["remote"]["message"]


# The way there


@dataclass
class Company:
    """A proxy, and the server behind it, there known as ``https://s3.kache.invalid`` and by names before that."""

    tunnel: Tunnel
    server: Proxy
    ca_bundle: Path


@pytest.fixture
def company(front: Front, authority: Authority) -> Iterator[Company]:
    server = front([f"DNS:{DOMAIN}", f"DNS:*.{DOMAIN}"])
    tunnel = Tunnel(server.port)
    yield Company(tunnel, server, authority.ca_bundle)
    tunnel.stop()


@pytest.mark.parametrize("addressing", ["virtual", "path", "auto"])
def test_the_bucket_goes_where_addressing_says(
    place: Machine, seaweed: SeaweedFS, company: Company, addressing: str
) -> None:
    uses(place, seaweed, f"https://{DOMAIN}", KACHE_S3_CA_BUNDLE=company.ca_bundle, KACHE_S3_ADDRESSING=addressing)
    place.env.update(proxies(company.tunnel.endpoint))
    found = doctor(place)
    assert works(found), found
    host = f"{seaweed.bucket}.{DOMAIN}" if addressing == "virtual" else DOMAIN
    assert set(company.tunnel.asked) == {host + ":443"}
    assert {head["host"] for head in company.server.heads} == {host}
    in_path = {request.path.startswith(f"/{seaweed.bucket}") for request in company.server.requests}
    assert in_path == {addressing != "virtual"}


def test_without_the_proxy_its_names_are_not_found(place: Machine, seaweed: SeaweedFS, company: Company) -> None:
    uses(place, seaweed, f"https://{DOMAIN}", KACHE_S3_CA_BUNDLE=company.ca_bundle)
    place.env.update(proxies(company.tunnel.endpoint, none=DOMAIN))
    found = doctor(place)["remote list"]
    assert "there is no such host" in found["message"] or "its name is not found" in found["message"]
    assert company.tunnel.asked == []


def test_what_no_proxy_names_is_asked_directly(
    place: Machine, seaweed: SeaweedFS, authority: Authority, front: Front
) -> None:
    uses(place, seaweed, front(["IP:127.0.0.1"]).endpoint, KACHE_S3_CA_BUNDLE=authority.ca_bundle)
    with refused() as nobody:
        place.env.update(proxies(nobody.replace("http://", f"http://me:{PASSWORD}@")))
        fails(place, "Failed to connect to proxy URL")
        place.env.update(proxies(nobody, none="127.0.0.1"))
        assert works(doctor(place))
