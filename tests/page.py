"""A page as a browser reads it, as far as the standard library can: its elements, its texts, its style and script."""

from html.parser import HTMLParser
from typing import Dict, List, NamedTuple, Optional, Tuple

VOID = ("meta", "input")


class Element(NamedTuple):
    """One start tag, with what stands directly in the element."""

    tag: str
    attributes: Dict[str, str]
    texts: List[str]

    @property
    def text(self) -> str:
        return "".join(self.texts)


class Page(HTMLParser):
    """elements: in the page's order. Fails where a tag is closed that is not the innermost one, or none is."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: List[Element] = []
        self.open: List[Element] = []
        self.doctype = ""
        self.feed(text)
        self.close()
        assert self.open == [], "not closed"

    def all(self, tag: str, mark: str = "") -> List[Element]:
        """The elements of a tag, with a class where ``mark`` names one."""
        named = [element for element in self.elements if element.tag == tag]
        return [element for element in named if not mark or mark in element.attributes.get("class", "").split()]

    def handle_decl(self, decl: str) -> None:
        self.doctype = decl

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs}, [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1].texts.append(data)
