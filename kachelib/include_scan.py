"""What a C source's text says of other files: the headers it names, and what no depfile tells.

Owns the reading of directives, without evaluating one: whatever a line might include counts. Knows nothing of where
headers are. Cold.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kachelib import memo
from kachelib.store import Store, read_file

# How a header is named: "name", <name>; the same by __has_include; by #include_next or __has_include_next. And no
# header, but a macro that hands its parameter to __has_include.
QUOTED, ANGLED, HAS_QUOTED, HAS_ANGLED, NEXT_QUOTED, NEXT_ANGLED, WRAPPER = "q", "a", "Q", "A", "n", "N", "w"

# What a text may hold besides. COMPUTED: a directive whose header a macro names. The others keep it from being cached.
COMPUTED = "computed"
COMPUTED_NEXT = "computed #include_next"
UNCLEAR_TEST = "__has_include of a macro"
TIME = "__DATE__ or __TIME__"
TIMESTAMP = "__TIMESTAMP__"
EMBED = "#embed"
INCBIN = ".incbin"
ASM_INCLUDE = ".include"
PRAGMA = "#pragma GCC dependency, pch_preprocess or include_alias"
# ONCE: a file that is included once; IMPORT: those that it names are; ONCE_BY_MACRO: any may be.
ONCE = "#pragma once"
ONCE_BY_MACRO = "#pragma once by a macro"
IMPORT = "#import"
TRIGRAPH = "a trigraph"
PASTED = "__TIME__ or __has_include in two pieces"
# What GCC 12 obeys when it compiles, and not when it preprocesses: macros tell of it.
OPTIONS = "#pragma GCC target or optimize"
# A line that says it is one of another file, which a warning then shows.
LINE = "#line"

MEMO_VERSION = "10"

_BLANK = rb"(?:[ \t\v\f]|/\*.*?\*/)*"
_HASH = rb"(?:#|%:|\?\?=)"
_DIRECTIVE = re.compile(_HASH + _BLANK + rb"(include_next|include|import)\b" + _BLANK + rb"([^\n]*)", re.DOTALL)
_NAME = re.compile(rb'"([^"\n]+)"|<([^>\n]+)>')
_TEST = re.compile(rb"\b__has_include(?:_next)?(?:__)?\s*\(\s*(?=([^\n]*))")
_PARAMETER = re.compile(rb"(\w+)\s*\)")
_DEFINITION = re.compile(_BLANK + _HASH + _BLANK + rb"define\s+(\w+)\(\s*(\w+)\s*\)")
_EMBED = re.compile(_HASH + _BLANK + rb"embed\b|\b__has_embed\b", re.DOTALL)
_TIME = re.compile(rb"\b__(?:DATE|TIME)__\b")
# In lower case, for the assembler does not mind. In C it stands in a string, or where a macro makes one: a member of
# that name has no operand behind it.
_ASM_INCLUDE = re.compile(rb"\"[^\"\n]*\.include\b|\.include(?:\s*[\"\\]|\s+\w|\s*/\*)|\(\s*\.include\s*\)")
# __has_include itself, what it is a macro for before GCC 10, and another name of it.
_TESTS = rb"__has_include(?:_next)?(?:__)?"
_ALIAS = re.compile(_HASH + rb"[ \t]*define[ \t]+([^\s()]+)[ \t]+__has_include(?:_next)?(?:__)?[ \t]*$", re.MULTILINE)
_ONCE = re.compile(rb"\bpragma\s+once\b|\b_Pragma\s*\(\s*\w*\"\s*once\b|\b__pragma\s*\(\s*once\b")
# A macro that may say so, wherever it stands.
_ONCE_BY_MACRO = re.compile(
    rb"define\b[^\n]*\bonce\b|[(,]\s*once\s*[,)]|\b(?:o\s*(?:,|##)\s*nce|on\s*(?:,|##)\s*ce|onc\s*(?:,|##)\s*e)\b"
)
_PRAGMA = re.compile(rb"\bpragma\s+GCC\s+pch_preprocess\b|\bGCC(?:\s|/\*.*?\*/)+dependency\b|\binclude_alias\b")
_OPTIONS = re.compile(rb"\bGCC(?:\s|/\*.*?\*/)+(?:target|optimize|push_options|pop_options|reset_options)\b")
_LINE = re.compile(rb"^[^\w\n\"#%]*(?:#|%:)[^\w\n\"]*(?:line\b|\d[^\n\"]*\")", re.MULTILINE)
# What stands between two strings that are one, and in a word that an assembler reads without it.
_BETWEEN = re.compile(rb"(?:\)[^\s()\"]{0,16})?\"\s*(?:/\*[^*]*\*/\s*)*(?:u8|u|l)?(?:r\"[^\s()\"]{0,16}\(|\")")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|(?:x|u00|u000000)0*([0-9a-f]{1,2})(?![0-9a-f]))")
_IGNORED = re.compile(rb"/\*.*?\*/|[{|}]", re.DOTALL)
# The beginning of .incbin or .include where a macro of the assembler's, or of C, has the rest; or they need no dot.
_PIECE = re.compile(
    rb"(?:(?<![\w)\]])|(?<=\\[nt]))\.(?:in?c?b?i?\\+|\\\\)[a-z(@]|^\s*\.\\[a-z]"
    rb"|\.(?:altmacro|mri)\b|\"(?:[^\"\n]*[^\w\"\n])?\.inc(?:b|bi|l|lu|lud)?\\?\"",
    re.MULTILINE,
)
# Words that move the object, in two pieces that a macro may paste.
_SPECIAL = (b"__TIME__", b"__DATE__", b"__TIMESTAMP__", b"__has_include")
_HALVES = [(word[:end], word[end:]) for word in _SPECIAL for end in range(1, len(word))]
_PASTED = re.compile(rb"\b(?:" + b"|".join(one + rb"\s*(?:,|##)\s*" + rest for one, rest in _HALVES) + rb")\b")
_UNDERSCORES = re.compile(rb"\b__\s*##")
_TIME_ALONE = re.compile(rb"[(,]\s*(?:TIME|DATE|TIMESTAMP)\s*[,)]")
# Two pieces where a parameter is one: of words and names of pseudo-ops, what cannot be mistaken for much else.
_BEGINNINGS = b"|".join(sorted({word[:end] for word in _SPECIAL[:3] for end in range(4, len(word))}))
_ENDS = b"|".join(sorted({word[end:] for word in _SPECIAL for end in range(2, len(word) - 3)}))
_HALF = re.compile(rb"\b(?:" + _BEGINNINGS + rb")\s*##|##\s*(?:" + _ENDS + rb")\b")
# __has_##x asks for attributes and types elsewhere: here it is given the rest of the word.
_HAS = re.compile(rb"\b__has?_?(?:i|in|inc|incl|inclu|includ)?\s*##")
_HAS_REST = re.compile(rb"[(,]\s*\w{0,8}clude(?:_next)?\s*[,)]")
_INCLUDE_OR_INCBIN = re.compile(rb"\binc\s*(?:,|##)\s*(?:bin|lude)\b|\.\"\s*\"inc(?:lude|bin)\b")
# GCC and Clang take blanks between the two, and lines that end in either way.
_SPLICE = re.compile(rb"\\[ \t\v\f\0]*(?:\r\n|\n\r|\n|\r)")
# Strings stay, comments go.
_TOKEN = re.compile(rb"(\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')|//[^\n]*|/\*.*?\*/", re.DOTALL)
_RAW = re.compile(rb"(?<!\w)(?:u8|[uUL])?R\"[^\s()\\]{0,16}\(")
# What many comments mention.
SPELLED = {ONCE, ONCE_BY_MACRO}
_PLAIN = bytes.maketrans(b"\0\v\f\r", b"   \n")
# A macro of the assembler whose statement begins with a parameter, and what would make one that reads a file.
_STATEMENT = re.compile(rb"(?:^|;|\\n)[ \t]*(?:\w+:[ \t]*)?\.?[ \t]*\\[a-z]", re.MULTILINE)
_OPERATION = re.compile(rb"(?:^|[\s,(.])(?:inc|include|incbin)(?=[\s,);]|$)(?![ \t]+[%(])", re.MULTILINE)


class Text(NamedTuple):
    """headers: (how, name), each once; traits: of the constants above."""

    headers: tuple[tuple[str, str], ...]
    traits: frozenset[str]


def scan(path: str, digest: str, store: Store) -> Text:
    """What a file says; from a memo where its content was read before. digest: of its content. Raises OSError."""
    memo_path = memo.path_of(store.memo_dir(), "includes", MEMO_VERSION + digest)
    body = memo.read(memo_path)
    if body is None:
        data = read_file(path)
        if data is None:
            raise OSError("%s cannot be read" % path)
        found = read(data)
        memo.write(memo_path, _freeze(found))
        return found
    traits, *lines = body.decode("utf-8", "surrogateescape").split("\n")
    return Text(tuple((line[0], line[1:]) for line in lines if line), frozenset(filter(None, traits.split("\t"))))


def _freeze(found: Text) -> bytes:
    lines = ["\t".join(sorted(found.traits)), *[how + name for how, name in found.headers]]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def read(data: bytes) -> Text:
    """The same for a text."""
    if b"\\" in data:
        # A line may go on in the next one, in the middle of a word.
        data = _SPLICE.sub(b"", data)
    found, plain = _read(data), _without_comments(data)
    # Where it is hard to tell what a comment is, either reading counts.
    other = _read(plain) if plain != data else found
    traits = found.traits | other.traits | _of_assembly(data)
    if not _RAW.search(data):
        traits = (traits - SPELLED) | (other.traits & SPELLED)
    return Text(tuple(dict.fromkeys(found.headers + other.headers)), traits)


def _without_comments(data: bytes) -> bytes:
    """A text with a blank for each comment, and in the spelling that most files have."""
    data = data.replace(b"%:", b"#").translate(_PLAIN)
    return _TOKEN.sub(lambda token: token[1] or b" ", data) if b"/" in data else data


def _read(data: bytes) -> Text:
    headers: dict[tuple[str, str], None] = {}
    traits = set()
    if b"??/" in data or b"??=" in data:
        traits.add(TRIGRAPH)
    for match in _DIRECTIVE.finditer(data):
        name = _NAME.match(match[2])
        if match[1] == b"import":
            traits.add(IMPORT)
        if name is None:
            traits.update((COMPUTED, COMPUTED_NEXT) if match[1] == b"include_next" else (COMPUTED,))
            continue
        ways = (NEXT_QUOTED, NEXT_ANGLED) if match[1] == b"include_next" else (QUOTED, ANGLED)
        headers[ways[not name[1]], _text(name)] = None
    if b"__has_include" in data:
        for match in _TEST.finditer(data):
            name = _NAME.match(match[1])
            wrapper = _wrapper(data, match)
            if name is None and wrapper:
                headers[WRAPPER, wrapper] = None
            elif name is None:
                traits.add(UNCLEAR_TEST)
            else:
                ways = (NEXT_QUOTED, NEXT_ANGLED) if b"_next" in match[0] else (HAS_QUOTED, HAS_ANGLED)
                headers[ways[not name[1]], _text(name)] = None
        for match in _ALIAS.finditer(data):
            if re.fullmatch(rb"[A-Za-z_]\w*", match[1]):
                headers[WRAPPER, match[1].decode("ascii")] = None
            else:
                traits.add(UNCLEAR_TEST)
        if _is_handed_on(_ALIAS.sub(b"", data), _TESTS):
            traits.add(UNCLEAR_TEST)
    if _TIME.search(data):
        traits.add(TIME)
    if b"__TIMESTAMP__" in data:
        traits.add(TIMESTAMP)
    if _ONCE.search(data):
        traits.add(ONCE)
    if _ONCE_BY_MACRO.search(data):
        traits.add(ONCE_BY_MACRO)
    if b"embed" in data and _EMBED.search(data):
        traits.add(EMBED)
    if (b"GCC" in data or b"include_alias" in data) and _PRAGMA.search(data):
        traits.add(PRAGMA)
    if b"__" in data and _is_pasted(data):
        traits.add(PASTED)
    if b"GCC" in data and _OPTIONS.search(data):
        traits.add(OPTIONS)
    if _LINE.search(data):
        traits.add(LINE)
    return Text(tuple(headers), frozenset(traits))


def _is_pasted(data: bytes) -> bool:
    """Whether a macro may make one of the special words of two pieces."""
    halves = _PASTED.search(data) or _HALF.search(data)
    asked = _HAS.search(data) is not None and _HAS_REST.search(data) is not None
    alone = _UNDERSCORES.search(data) is not None and _TIME_ALONE.search(data) is not None
    return halves is not None or asked or alone


def _of_assembly(data: bytes) -> set[str]:
    """What an assembler is told to read, spelled out or in pieces: adjacent strings, escapes, a macro's parameter."""
    low = data.lower()
    found = set()
    # HAVE_INCBIN is none
    if b"incbin" in data or b".incbin" in low:
        found.add(INCBIN)
    if b".include" in low and _ASM_INCLUDE.search(low):
        found.add(ASM_INCLUDE)
    if (b".macro" in low or b".irp" in low) and _STATEMENT.search(low) and _OPERATION.search(low):
        found.add(INCBIN)
    if b"inc" in low and _INCLUDE_OR_INCBIN.search(low):
        found.add(INCBIN)
    if any(word in low for word in (b"asm", b".i", b".altmacro", b".mri")):
        if _PIECE.search(low):
            found.add(INCBIN)
        whole = _IGNORED.sub(b"", _ESCAPE.sub(_unescaped, _BETWEEN.sub(b"", low)))
        if b".incbin" in whole:
            found.add(INCBIN)
        if b"asm" in low and _ASM_INCLUDE.search(whole):
            found.add(ASM_INCLUDE)
    return found


def _unescaped(escape: re.Match[bytes]) -> bytes:
    """The character of an escape sequence, in lower case; of one that is none of ASCII, what cannot be in a word."""
    code = int(escape[1], 8) if escape[1] else int(escape[2], 16)
    return bytes([code]).lower() if code < 128 else b"?"


def _wrapper(data: bytes, test: re.Match[bytes]) -> str:
    """The macro whose parameter a test asks for, ``#define HAS(x) __has_include(x)``; "" for any other test."""
    parameter = _PARAMETER.match(test[1])
    line = data[data.rfind(b"\n", 0, test.start()) + 1 : test.start()]
    definition = _DEFINITION.match(line)
    if parameter is None or definition is None or definition[2] != parameter[1]:
        return ""
    return definition[1].decode("ascii", "replace")


def _is_handed_on(data: bytes, names: bytes) -> bool:
    """Whether a directive names one of these macros (alternatives of a pattern) in another way than to call it, or to
    ask whether there is one."""
    clear = re.sub(rb"\bdefined\s*\(?\s*(?:" + names + rb")\b", b"", data)
    directive = _HASH + rb"[ \t]*(?:define[ \t]+\w+|if|elif)\b[^\n]*\b(?:" + names + rb")\b(?!\s*\()"
    return re.search(rb"\b(?:" + names + rb")[ \t]*/\*|" + directive, clear) is not None


def uses(data: bytes, wrappers: set[str]) -> list[tuple[str, str]] | None:
    """The headers, (how, name), that a text asks for by any of these macros; None where that cannot be told."""
    names = b"|".join(re.escape(name.encode()) for name in sorted(wrappers))
    call = re.compile(rb"(define\s+)?\b(?:" + names + rb")\s*\(\s*(?=([^\n]*))")
    found = []
    data = _without_comments(_SPLICE.sub(b"", data))
    if _is_handed_on(_ALIAS.sub(b"", data), names):
        return None
    for match in call.finditer(data):
        name = _NAME.match(match[2])
        if match[1]:
            continue
        if name is None or not match[2][name.end() :].lstrip().startswith(b")"):
            return None
        found.append((HAS_QUOTED if name[1] else HAS_ANGLED, _text(name)))
    return found


def _text(name: re.Match[bytes]) -> str:
    return (name[1] or name[2]).decode("utf-8", "surrogateescape")
