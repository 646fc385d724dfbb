"""The page in a real browser: nothing is complained of, nothing is asked for, and what it offers works."""

import os
import re
import shutil
import struct
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import pytest

from kachelib import report_timeline
from tests.calls import HOSTILE
from tests.conftest import missing
from tests.e2e.browser import Browser
from tests.e2e.shop import SHOP
from tests.stock import log
from tests.world import REPOSITORY, Cargo, Kache, World

WIDTH, HEIGHT = 1280, 900

# Ctrl in DevTools' input events
CTRL = 2


@pytest.fixture
def browser(require_tool: Callable[[str], str]) -> Iterator[Browser]:
    found = Browser(require_tool("chromium"))
    found.look(WIDTH, HEIGHT, "light")
    yield found
    found.close()


@pytest.fixture
def built(workspace: Callable[..., Path], world: World, kache_file: Kache, rust: Mapping[str, str]) -> Path:
    """A page of three builds: all compiled; warmed units and what a change brought with it; hits and the same."""
    if not rust:
        missing("Rust")
    ws = workspace(SHOP, name="webshop")
    cargo = Cargo(world, kache_file)
    jobs = {"CARGO_BUILD_JOBS": "4"}
    cargo("build", cwd=ws, env=jobs).ok()
    for changed, warm in (("cart", "1"), ("store", "0")):
        apart(world)
        kache_file.run("save", cwd=ws).ok()
        shutil.rmtree(ws / "target")
        with (ws / changed / "src/lib.rs").open("a") as source:
            source.write("pub fn more() {}\n")
        cargo("build", cwd=ws, env={**jobs, "KACHE_WARM_TARGETS": warm}).ok()
    return page(world, kache_file, "--top", "20")


def apart(world: World) -> None:
    """Make the log twenty seconds older: what comes now is another build, and nobody has to wait for that."""
    path = world.cache_dir / "events.jsonl"

    def earlier(match: "re.Match[str]") -> str:
        return f'"{match[1]}_time":{float(match[2]) - 20:.6f}'

    path.write_text(re.sub(r'"(start|end)_time":([\d.]+)', earlier, path.read_text()))


def page(world: World, kache: Kache, *arguments: str) -> Path:
    kache.run("report", "--html", "--output", "report.html", *arguments).ok()
    return world.root / "report.html"


def opened(browser: Browser, file: Path, fragment: str = "") -> Browser:
    browser.open(file.as_uri() + fragment)
    return browser


def count(browser: Browser, css: str) -> int:
    found = browser.evaluate(f"document.querySelectorAll({css!r}).length")
    assert isinstance(found, int)
    return found


def place(browser: Browser, css: str) -> Mapping[str, float]:
    """The middle of the first such element, in the window."""
    return dict(
        browser.evaluate(
            f"(() => {{ const e = document.querySelector({css!r}); e.scrollIntoView({{block: 'center'}});"
            " const box = e.getBoundingClientRect();"
            " return {x: box.x + box.width / 2, y: box.y + box.height / 2}; })()"
        )
    )


def text(browser: Browser, css: str) -> str:
    return str(browser.evaluate(f"document.querySelector({css!r}).textContent"))


def test_the_page_of_real_builds_opens_silently_and_shows_every_call(
    built: Path, browser: Browser, world: World
) -> None:
    opened(browser, built)
    assert browser.complaints == []
    assert browser.asked == [built.as_uri()]
    assert count(browser, ".time rect") == len(world.events())
    assert count(browser, "details.build") == 3
    # each is drawn: it has a place and a size of its own on the screen
    browser.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    drawn = browser.evaluate(
        "Array.from(document.querySelectorAll('.time rect'), bar => bar.getBoundingClientRect())"
        ".filter(box => box.height > 3 && box.x >= 0 && box.right <= innerWidth).length"
    )
    assert drawn == len(world.events())
    said = text(browser, "main")
    assert "changed: <workspace>/store/src/lib.rs" in said
    assert "linked outputs are not cached" in said
    captions = browser.evaluate("Array.from(document.querySelectorAll('.build > summary'), each => each.textContent)")
    told = [re.sub(r"^webshop, 20.*: .*, [234] jobs at once; ", "", caption) for caption in captions]
    assert told == [
        "8 hits, 8 misses, 1 not cached",
        "13 warmed, 3 misses, 1 not cached",
        "16 misses, 1 not cached",
    ]
    picture(browser, built)


def picture(browser: Browser, file: Path) -> None:
    """One of each scheme for the documentation; taken anew with PYTEST_KACHE_PICTURES=1."""
    grounds = set()
    for scheme in ("light", "dark"):
        browser.look(WIDTH, HEIGHT, scheme)
        opened(browser, file)
        grounds.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        data = browser.picture()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24]) == (WIDTH, HEIGHT)
        assert 20_000 < len(data) < 200_000
        kept = REPOSITORY / "docs" / "pictures" / f"report-{scheme}.png"
        if os.environ.get("PYTEST_KACHE_PICTURES"):
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(data)
        assert kept.exists(), f"{kept.name} is missing: run this test with PYTEST_KACHE_PICTURES=1"
        assert kept.stat().st_size < 200_000
    assert grounds == {"rgb(255, 255, 255)", "rgb(18, 22, 27)"}


@pytest.fixture
def small(world: World, kache_file: Kache) -> Path:
    """A page of four calls."""
    world.env["TZ"] = "UTC"
    now = 1_700_000_000.0
    for at, (name, result) in enumerate(
        [("serde_json", "miss"), ("serde", "local_hit"), ("tokio", "miss"), ("app", "passthrough")]
    ):
        times = {"start_time": now + at, "end_time": now + at + 0.9, "elapsed_ms": 900.0}
        log(world.cache_dir, {"crate_name": name, "crate_types": "lib", "result": result, "root": "/src/ws", **times})
    return page(world, kache_file)


def rows(browser: Browser) -> int:
    return count(browser, "table.list tbody tr:not([hidden])")


def test_the_filter_leaves_what_was_typed(small: Path, browser: Browser) -> None:
    opened(browser, small)
    everything = rows(browser)
    browser.evaluate("document.getElementById('filter').focus()")
    for typed in "serde-J":
        browser.key(typed, text=typed)
    # one row of the calls, one of the misses
    assert rows(browser) == 2
    assert count(browser, ".time rect:not(.off)") == 1
    assert text(browser, "#told") == f"2 of {everything} rows, 1 of 4 bars"
    assert "serde_json" in text(browser, ".time rect:not(.off)")
    browser.evaluate("document.getElementById('filter').select()")
    browser.key("Backspace", 8)
    assert (rows(browser), count(browser, ".time rect.off"), text(browser, "#told")) == (everything, 0, "")
    assert browser.complaints == []


def test_a_link_may_bring_its_filter(small: Path, browser: Browser) -> None:
    opened(browser, small, "#filter=tokio%20miss")
    assert browser.evaluate("document.getElementById('filter').value") == "tokio miss"
    assert count(browser, ".time rect:not(.off)") == 1
    opened(browser, small, "#filter=%E0%A4%A")
    assert browser.complaints == []


def view(browser: Browser) -> "list[float]":
    return [float(word) for word in browser.evaluate("document.querySelector('.time').getAttribute('viewBox')").split()]


def test_keys_go_from_bar_to_bar_and_zoom(small: Path, browser: Browser) -> None:
    opened(browser, small)
    browser.evaluate("document.querySelector('.time').focus()")
    for name, expected in (
        ("ArrowRight", "serde_json (lib), miss"),
        ("ArrowRight", "serde (lib), local_hit"),
        ("ArrowLeft", "serde_json (lib), miss"),
        ("ArrowLeft", "serde_json (lib), miss"),
    ):
        browser.key(name)
        assert text(browser, "output").startswith(expected)
        assert count(browser, "rect.chosen") == 1
    whole = view(browser)
    assert whole == [0, 0, report_timeline.WIDTH, report_timeline.LANE]
    for _ in range(3):
        browser.key("+")
    assert view(browser)[2] == whole[2] / 8
    assert text(browser, ".axis span:last-child") == "390 ms"
    for _ in range(3):
        browser.key("ArrowRight")
    left, _, wide, _ = view(browser)
    assert left <= 3 / 3.9 * whole[2] <= left + wide, "the chosen bar is in sight"
    browser.key("-")
    assert view(browser)[2] == whole[2] / 4
    browser.key("0")
    assert view(browser) == whole
    assert browser.complaints == []


def test_the_mouse_reads_zooms_and_moves(small: Path, browser: Browser) -> None:
    opened(browser, small)
    at = place(browser, ".time rect:nth-child(3)")
    browser.mouse("mouseMoved", **at)
    assert text(browser, "output").startswith("tokio (lib), miss, at 2.0 s, took 900 ms")
    scrolled = browser.evaluate("scrollY")
    browser.mouse("mouseWheel", **at, deltaX=0, deltaY=-120, modifiers=CTRL)
    left, _, wide, _ = view(browser)
    assert wide == report_timeline.WIDTH * 0.8
    assert browser.evaluate("scrollY") == scrolled
    browser.mouse("mousePressed", **at, button="left", buttons=1, clickCount=1)
    browser.mouse("mouseMoved", x=at["x"] + 50, y=at["y"], button="left", buttons=1)
    browser.mouse("mouseReleased", x=at["x"] + 50, y=at["y"], button="left")
    assert view(browser)[0] < left
    button = place(browser, "button[data-key='0']")
    browser.mouse("mousePressed", **button, button="left", buttons=1, clickCount=1)
    browser.mouse("mouseReleased", **button, button="left", clickCount=1)
    assert view(browser)[2] == report_timeline.WIDTH
    assert browser.complaints == []


def test_without_scripts_the_page_can_be_read(small: Path, browser: Browser) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    opened(browser, small)
    assert count(browser, ".time rect") == 4
    assert browser.evaluate("getComputedStyle(document.getElementById('tools')).display") == "none"
    assert browser.evaluate("document.querySelector('.time').getBoundingClientRect().width") > WIDTH / 2
    assert "serde_json" in text(browser, "#h-misses + div")
    assert browser.complaints == []


def test_hostile_names_are_text(world: World, kache_file: Kache, browser: Browser) -> None:
    names = ("crate_name", "crate_types", "reason", "root", "left_out", "profile", "target_dir")
    hostile: Mapping[str, Any] = dict.fromkeys(names, HOSTILE)
    log(world.cache_dir, *({"result": result, **hostile} for result in ("miss", "warmed", "error", "passthrough")))
    opened(browser, page(world, kache_file))
    assert (browser.complaints, len(browser.asked)) == ([], 1)
    assert (count(browser, "img"), count(browser, "script")) == (0, 1)
    assert text(browser, ".time rect").startswith("</script></title><img src=x onerror=alert(1)>")
    assert "\u202e" not in text(browser, "main")


@pytest.mark.parametrize(
    "attempt",
    [
        "Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'})",
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))",
        "document.body.append(Object.assign(document.createElement('style'), {textContent: '* { color: red }'}))",
        "fetch('http://127.0.0.1:9/').catch(() => 0)",
    ],
)
def test_the_policy_is_in_force(small: Path, browser: Browser, attempt: str) -> None:
    """What the page never does would be refused if somebody made it do so."""
    opened(browser, small)
    browser.evaluate(f"void ({attempt})")
    browser.evaluate("new Promise(done => setTimeout(done, 200))")
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)
    assert browser.evaluate("window.ran") is None
