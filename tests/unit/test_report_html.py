"""The page: complete, small, in one file; it asks nobody for anything, and what a build named stays text."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest
from hypothesis import HealthCheck, given, settings

from kachelib import cli, report, report_html, report_page, report_timeline
from kachelib.history import History
from kachelib.outcome import RESULTS
from kachelib.report import Report, Scope
from tests import calls
from tests.calls import HOSTILE, MOMENT, Event
from tests.page import Page
from tests.stock import log
from tests.world import World

# what the page is made of, whatever stands in it
TAGS = set(
    "html head meta title style body script header main section h1 h2 p dl div dt dd svg rect ul li span label input "
    "details summary b figure output button table caption thead tbody tr th td".split()
)
ATTRIBUTES = set(
    "lang charset http-equiv content name class hidden id role for type autocomplete spellcheck aria-labelledby "
    "aria-label aria-live aria-hidden title open tabindex height width x y viewbox preserveaspectratio data-ms "
    "data-key scope".split()
)


def event(result: str, at: float = 0.0, **fields: Any) -> Event:
    times = {"start_time": MOMENT + at, "end_time": MOMENT + at + 1, "elapsed_ms": 1000.0}
    return {"result": result, "crate_name": "alpha", "crate_types": "lib", "root": "/src/ws", **times, **fields}


def page_of(*events: Event, reasons: "List[str] | None" = None) -> str:
    """The page of these events alone."""
    meta = {"since_secs": None, "event_count": len(events), "broken_lines": 0, "generated_at": "", "kache_version": "1"}
    document = {"meta": meta, **report.aggregate(History(list(events), 0)), "network": None, "gc": None}
    told = [miss["reason"] for miss in document["top_misses"]] if reasons is None else reasons
    return report_html.page(Report(document, list(events)), told)


def check(text: str) -> Page:
    """The page, if it is one that asks nobody and holds nothing but its own elements."""
    assert text.isascii()
    page = Page(text)
    assert page.doctype.lower() == "doctype html"
    assert {element.tag for element in page.elements} <= TAGS
    assert {name for element in page.elements for name in element.attributes} <= ATTRIBUTES
    [style], [script] = page.all("style"), page.all("script")
    assert (style.text, script.text) == (report_page.STYLE, report_page.SCRIPT)
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    return page


def cells(page: Page) -> List[str]:
    return [element.text for element in page.all("td")]


def test_the_page_asks_nobody_for_anything() -> None:
    page = check(page_of(*[event(result) for result in RESULTS]))
    # no attribute that loads is among ATTRIBUTES: src, href, srcset, action, data, poster, style, on…
    for own in (report_page.STYLE, report_page.SCRIPT):
        assert not re.search(r"url\(|@import|https?:|fetch|XMLHttpRequest|WebSocket|sendBeacon|\bimport\b", own)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", own)
    for element in page.elements:
        assert not any(re.search(r"https?:|//", value) for value in element.attributes.values()), element


def test_the_policy_allows_this_style_and_this_script_and_nothing_else() -> None:
    page = check(page_of())
    [policy] = [meta.attributes["content"] for meta in page.all("meta") if "http-equiv" in meta.attributes]

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src " + digest(page.all("style")[0].text),
        "script-src " + digest(page.all("script")[0].text),
        "base-uri 'none'",
        "form-action 'none'",
    ]


@pytest.mark.parametrize("result", RESULTS)
def test_what_a_build_named_stays_text(result: str) -> None:
    names = ("crate_name", "crate_types", "reason", "root", "target_dir", "left_out", "profile", "cache_key", "route")
    text = page_of({**event(result), **dict.fromkeys(names, HOSTILE)}, reasons=[HOSTILE])
    page = check(text)
    assert "<img" not in text and "\u202e" not in text
    plain = "</script></title><img src=x onerror=alert(1)>\"'`& \\u202e\\x00"
    titles = [element.text for element in page.all("title")[1:]]
    assert any(plain in shown for shown in [*titles, *cells(page)])


@given(calls.events())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_log_makes_a_page(tmp_path: Path, events: List[Event]) -> None:
    calls.written(tmp_path / "cache", events)
    found = report.collect(str(tmp_path / "cache"), Scope())
    page = check(report_html.page(found, [miss["reason"] for miss in found.document["top_misses"]]))
    bars = sum(element.tag == "rect" and "y" in element.attributes for element in page.elements)
    assert bars == len(found.events) or any(element.attributes.get("id") == "left-out" for element in page.elements)


def bars_of(page: Page) -> List[Dict[str, str]]:
    return [element.attributes for element in page.all("rect") if "y" in element.attributes]


def test_a_bar_stands_where_and_as_long_as_its_call_ran() -> None:
    log = [event("miss"), event("local_hit", 1, elapsed_ms=500.0), event("passthrough", 1.5, elapsed_ms=500.0)]
    page = check(page_of(*log, event("dup", 1, elapsed_ms=1000.0)))
    bars = bars_of(page)
    assert [(bar["class"], float(bar["x"]), float(bar["width"])) for bar in bars] == [
        ("m", 0, 50_000),
        ("h", 50_000, 25_000),
        ("d", 50_000, 50_000),
        ("p", 75_000, 25_000),
    ]
    lanes = [int(float(bar["y"]) // report_timeline.LANE) for bar in bars]
    assert lanes == [0, 0, 1, 0]
    titles = [element.text for element in page.all("title")[1:]]
    assert "alpha (lib), miss, at 0 ms, took 1.0 s" in titles
    assert "alpha (lib), passthrough, at 1.5 s, handed over after 500 ms" in titles


def test_all_that_the_timeline_shows_is_in_a_table_too() -> None:
    page = check(page_of(event("miss", reason="src/lib.rs differs", compile_time_ms=900, size=2048)))
    row = ["alpha (lib)", "miss", "0 ms", "1.0 s", "900 ms", "2.0 KiB", "src/lib.rs differs"]
    assert [row[0], *row[1:]] == cells(page)[:7]


def test_the_parts_say_what_the_document_says() -> None:
    log = [
        event("warmed", warmed=9, files=20, profile="debug", left_out="2 no snapshot"),
        event("local_hit", 1, compile_time_ms=3000, elapsed_ms=10.0),
        event("miss", 2, crate_name="beta", compile_time_ms=1000),
        event("passthrough", 3, reason="unsupported_flag: -fnew"),
        event("error", 4, crate_name="bad", reason="no space left"),
    ]
    page = check(page_of(*log, reasons=["changed: src/lib.rs"]))
    assert page.all("h1")[0].text == "kache: 90.9 % from the cache"
    figures = dict(zip((each.text for each in page.all("dt")), (each.text for each in page.all("dd"))))
    assert figures["hits, by compile time"] == "75.0 %"
    assert (figures["units warmed"], figures["hits"], figures["compiled"]) == ("9", "1", "1")
    assert "10 of 11 units came from the cache" in " ".join(each.text for each in page.all("p"))
    shown = cells(page)
    for text in ("2 no snapshot", "changed: src/lib.rs", "beta", "-fnew", "no space left", "90.9 %", "20"):
        assert text in shown, text


def test_without_the_script_nothing_is_hidden_but_its_tools() -> None:
    page = check(page_of(event("miss")))
    hidden = [element for element in page.elements if "hidden" in element.attributes]
    assert hidden
    assert all("script" in element.attributes["class"].split() for element in hidden)
    assert [element.tag for element in page.all("details", "build") if "open" in element.attributes] == ["details"]


def test_an_empty_log_is_a_page_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--html"]) == 0
    page = check(capsys.readouterr().out.rstrip("\n"))
    assert page.all("h1")[0].text == "kache: no compile was seen"


def test_html_and_format_html_are_one(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    log(world.cache_dir, event("miss", crate_name="there"))
    for arguments in (["--html"], ["--format", "html"]):
        assert cli.main(["report", *arguments]) == 0
        assert "there (lib)" in cells(check(capsys.readouterr().out.rstrip("\n")))


def test_a_hundred_thousand_calls_make_no_huge_page_and_it_says_so() -> None:
    reason = "r" * 5000
    log = [event("miss", at / 100, elapsed_ms=float(at % 977), reason=reason) for at in range(100_000)]
    text = page_of(*log)
    assert len(text) < 8_000_000
    page = check(text)
    bars = bars_of(page)
    assert len(bars) == report_timeline.MOST_BARS
    [said] = [each.text for each in page.all("p") if each.attributes.get("id") == "left-out"]
    assert "4,000 of their 100,000 calls have a bar" in said
    # the longest stay
    longest = sorted((each["elapsed_ms"] for each in log), reverse=True)[report_timeline.MOST_BARS - 1]
    assert min(float(bar["width"]) for bar in bars) >= report_timeline.WIDTH * longest / 1e6 * 0.99


def test_many_builds_are_cut_to_the_newest() -> None:
    log = [event("miss", at * 100, crate_name=f"build{at}") for at in range(60)]
    page = check(page_of(*log))
    assert len(page.all("details", "build")) == report_timeline.MOST_TIMELINES
    told = " ".join(each.text for each in [*page.all("p"), *page.all("caption")])
    assert "The newest 12 of 60 builds are drawn." in told
    assert "The newest 50 of 60." in told
    assert any(cell == "build59 (lib)" for cell in cells(page))


def luminance(colour: str) -> float:
    """Of #rrggbb, as the Web Content Accessibility Guidelines define it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_bars_stand_out(scheme: str) -> None:
    light, _, dark = report_page.STYLE.partition("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", light if scheme == "light" else dark))
    assert len(colours) == 12
    for ground in ("page", "card"):
        for text in ("text", "quiet"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for mark in ("focus", "hit", "warmed", "miss", "dup", "pass", "error"):
            assert contrast(colours[mark], colours[ground]) >= 3, (mark, ground)


def test_the_template_is_small() -> None:
    assert len(page_of()) < 25_000
    source = Path(str(report_page.__file__)).stat().st_size
    assert source < 25_000
