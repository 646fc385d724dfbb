"""What a C source's text says of other files: the headers it names, and what no depfile tells.

Owns the reading of directives, without evaluating one: whatever a line might include counts. Knows nothing of where
headers are. Cold.
"""

from __future__ import annotations

import re

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

# Patterns are compiled when a text asks for them, which few do for most of these. Each is asked for behind a plain test
# for what it must hold, or begins with what is rare: texts of megabytes are read with them.
_BLANK = rb"(?:[ \t\v\f]|/\*.*?\*/)*"
_HASH = rb"(?:#|%:|\?\?=)"
_DIRECTIVE = rb"(?s)" + _HASH + _BLANK + rb"(include_next|include|import)\b" + _BLANK + rb"([^\n]*)"
_NAME = re.compile(rb'"([^"\n]+)"|<([^>\n]+)>')
_TEST = rb"\b__has_include(?:_next)?(?:__)?\s*\(\s*(?=([^\n]*))"
_PARAMETER = rb"(\w+)\s*\)"
_DEFINITION = _BLANK + _HASH + _BLANK + rb"define\s+(\w+)\(\s*(\w+)\s*\)"
_EMBED = rb"(?s)" + _HASH + _BLANK + rb"embed\b|\b__has_embed\b"
_TIME = rb"\b__(?:DATE|TIME)__\b"
# In lower case, for the assembler does not mind. In C it stands in a string, or where a macro makes one: a member of
# that name has no operand behind it.
_ASM_INCLUDE = rb"\"[^\"\n]*\.include\b|\.include(?:\s*[\"\\]|\s+\w|\s*/\*)|\(\s*\.include\s*\)"
# __has_include itself, what it is a macro for before GCC 10, and another name of it.
_TESTS = rb"__has_include(?:_next)?(?:__)?"
_ALIAS = rb"(?m)" + _HASH + rb"[ \t]*define[ \t]+([^\s()]+)[ \t]+__has_include(?:_next)?(?:__)?[ \t]*$"
_ONCE = rb"\bpragma\s+once\b|\b_Pragma\s*\(\s*\w*\"\s*once\b|\b__pragma\s*\(\s*once\b"
# A macro that may say so, wherever it stands, or make the word of two pieces.
_ONCE_BY_MACRO = rb"define\b[^\n]*\bonce\b|[(,]\s*once\s*[,)]"
_ONCE_PASTED = rb"o(?<!\wo)(?:\s*(?:,|##)\s*nce|n\s*(?:,|##)\s*ce|nc\s*(?:,|##)\s*e)\b"
_PRAGMA = rb"\bpragma\s+GCC\s+pch_preprocess\b|\bGCC(?:\s|/\*.*?\*/)+dependency\b|\binclude_alias\b"
_OPTIONS = rb"\bGCC(?:\s|/\*.*?\*/)+(?:target|optimize|push_options|pop_options|reset_options)\b"
_BEFORE_HASH = re.compile(rb"[^\w\n\"#%]*")
_LINE = re.compile(rb"[^\w\n\"]*(?:line\b|\d[^\n\"]*\")")
# What stands between two strings that are one, and in a word that an assembler reads without it.
_BETWEEN = rb"(?:\)[^\s()\"]{0,16})?\"\s*(?:/\*[^*]*\*/\s*)*(?:u8|u|l)?(?:r\"[^\s()\"]{0,16}\(|\")"
_ESCAPE = rb"\\(?:([0-7]{1,3})|(?:x|u00|u000000)0*([0-9a-f]{1,2})(?![0-9a-f]))"
_IGNORED = rb"(?s)/\*.*?\*/|[{|}]"
# The beginning of .incbin or .include where a macro of the assembler's, or of C, has the rest; or they need no dot.
_BEGINNING = rb"\.(?:(?<![\w)\]]\.)|(?<=\\[nt]\.))(?:in?c?b?i?\\+|\\\\)[a-z(@]"
_BEGINNING_OF_LINE = rb"(?m)^\s*\.\\[a-z]"
_BEGINNING_ALONE = rb"\"(?:[^\"\n]*[^\w\"\n])?\.inc(?:b|bi|l|lu|lud)?\\?\""
_OTHER_MACROS = rb"\.(?:altmacro|mri)\b"
# Words that move the object, in two pieces that a macro may paste.
_SPECIAL = (b"__TIME__", b"__DATE__", b"__TIMESTAMP__", b"__has_include")
_HALVES = [(word[1:end], word[end:]) for word in _SPECIAL for end in range(1, len(word))]
_PASTED = rb"_(?<!\w_)(?:" + b"|".join(one + rb"\s*(?:,|##)\s*" + rest for one, rest in _HALVES) + rb")\b"
_UNDERSCORES = rb"\b__\s*##"
_TIME_ALONE = rb"[(,]\s*(?:TIME|DATE|TIMESTAMP)\s*[,)]"
# Two pieces where a parameter is one: of words and names of pseudo-ops, what cannot be mistaken for much else.
_BEGINNINGS = b"|".join(sorted({word[:end] for word in _SPECIAL[:3] for end in range(4, len(word))}))
_ENDS = b"|".join(sorted({word[end:] for word in _SPECIAL for end in range(2, len(word) - 3)}))
_HALF = rb"\b(?:" + _BEGINNINGS + rb")\s*##|##\s*(?:" + _ENDS + rb")\b"
# __has_##x asks for attributes and types elsewhere: here it is given the rest of the word.
_HAS = rb"\b__has?_?(?:i|in|inc|incl|inclu|includ)?\s*##"
_HAS_REST = rb"[(,]\s*\w{0,8}clude(?:_next)?\s*[,)]"
_INCLUDE_PASTED = rb"inc(?<!\winc)\s*(?:,|##)\s*(?:bin|lude)\b"
_INCLUDE_JOINED = rb"\.\"\s*\"inc(?:lude|bin)\b"
# GCC and Clang take blanks between the two, and lines that end in either way.
_SPLICE = rb"\\[ \t\v\f\0]*(?:\r\n|\n\r|\n|\r)"
# Strings stay, comments go.
_TOKEN = rb"(?s)(\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')|//[^\n]*|/\*.*?\*/"
_RAW = rb"(?<!\w)(?:u8|[uUL])?R\"[^\s()\\]{0,16}\("
# What many comments mention.
SPELLED = {ONCE, ONCE_BY_MACRO}
_PLAIN = bytes.maketrans(b"\0\v\f\r", b"   \n")
# A macro of the assembler whose statement begins with a parameter, and what would make one that reads a file.
_STATEMENT = rb"(?m)(?:^|;|\\n)[ \t]*(?:\w+:[ \t]*)?\.?[ \t]*\\[a-z]"
_OPERATION = rb"(?m)(?:^|[\s,(.])(?:inc|include|incbin)(?=[\s,);]|$)(?![ \t]+[%(])"


class Text:
    """headers: (how, name), each once; traits: of the constants above."""

    __slots__ = ("headers", "traits")

    def __init__(self, headers: tuple[tuple[str, str], ...], traits: frozenset[str]) -> None:
        self.headers = headers
        self.traits = traits


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
        data = re.sub(_SPLICE, b"", data)
    found, plain = _read(data), _without_comments(data)
    # Where it is hard to tell what a comment is, either reading counts.
    other = _read(plain) if plain != data else found
    traits = found.traits | other.traits | _of_assembly(data)
    if b'R"' not in data or not re.search(_RAW, data):
        traits = (traits - SPELLED) | (other.traits & SPELLED)
    return Text(tuple(dict.fromkeys(found.headers + other.headers)), traits)


def _without_comments(data: bytes) -> bytes:
    """A text with a blank for each comment, and in the spelling that most files have."""
    data = data.replace(b"%:", b"#").translate(_PLAIN)
    return re.sub(_TOKEN, lambda token: token[1] or b" ", data) if b"/" in data else data


def _read(data: bytes) -> Text:
    headers: dict[tuple[str, str], None] = {}
    traits = set()
    if b"??/" in data or b"??=" in data:
        traits.add(TRIGRAPH)
    for match in re.finditer(_DIRECTIVE, data):
        name = _NAME.match(match[2])
        if match[1] == b"import":
            traits.add(IMPORT)
        if name is None:
            traits.update((COMPUTED, COMPUTED_NEXT) if match[1] == b"include_next" else (COMPUTED,))
            continue
        ways = (NEXT_QUOTED, NEXT_ANGLED) if match[1] == b"include_next" else (QUOTED, ANGLED)
        headers[ways[not name[1]], _text(name)] = None
    if b"__has_include" in data:
        for match in re.finditer(_TEST, data):
            name = _NAME.match(match[1])
            wrapper = _wrapper(data, match)
            if name is None and wrapper:
                headers[WRAPPER, wrapper] = None
            elif name is None:
                traits.add(UNCLEAR_TEST)
            else:
                ways = (NEXT_QUOTED, NEXT_ANGLED) if b"_next" in match[0] else (HAS_QUOTED, HAS_ANGLED)
                headers[ways[not name[1]], _text(name)] = None
        for match in re.finditer(_ALIAS, data):
            if re.fullmatch(rb"[A-Za-z_]\w*", match[1]):
                headers[WRAPPER, match[1].decode("ascii")] = None
            else:
                traits.add(UNCLEAR_TEST)
        if _is_handed_on(re.sub(_ALIAS, b"", data), _TESTS):
            traits.add(UNCLEAR_TEST)
    if (b"__DATE__" in data or b"__TIME__" in data) and re.search(_TIME, data):
        traits.add(TIME)
    if b"__TIMESTAMP__" in data:
        traits.add(TIMESTAMP)
    if b"once" in data and re.search(_ONCE, data):
        traits.add(ONCE)
    if (b"once" in data and re.search(_ONCE_BY_MACRO, data)) or re.search(_ONCE_PASTED, data):
        traits.add(ONCE_BY_MACRO)
    if b"embed" in data and re.search(_EMBED, data):
        traits.add(EMBED)
    if (b"GCC" in data or b"include_alias" in data) and re.search(_PRAGMA, data):
        traits.add(PRAGMA)
    if b"__" in data and _is_pasted(data):
        traits.add(PASTED)
    if b"GCC" in data and re.search(_OPTIONS, data):
        traits.add(OPTIONS)
    if _has_line(data):
        traits.add(LINE)
    return Text(tuple(headers), frozenset(traits))


def _has_line(data: bytes) -> bool:
    """Whether a directive says which line of which file the next one is."""
    begin = 0
    for match in re.finditer(rb"#|%:", data):
        place = match.start()
        begin = data.rfind(b"\n", begin, place) + 1 or begin
        if _BEFORE_HASH.fullmatch(data, begin, place) and _LINE.match(data, match.end()):
            return True
        # What is behind it on its line is no directive.
        begin = place
    return False


def _is_pasted(data: bytes) -> bool:
    """Whether a macro may make one of the special words of two pieces."""
    if b"##" in data:
        if re.search(_HALF, data):
            return True
        if re.search(_HAS, data) and re.search(_HAS_REST, data):
            return True
        if re.search(_UNDERSCORES, data) and re.search(_TIME_ALONE, data):
            return True
    return re.search(_PASTED, data) is not None


def _of_assembly(data: bytes) -> set[str]:
    """What an assembler is told to read, spelled out or in pieces: adjacent strings, escapes, a macro's parameter."""
    low = data.lower()
    found = set()
    # HAVE_INCBIN is none
    if b"incbin" in data or b".incbin" in low:
        found.add(INCBIN)
    if b".include" in low and re.search(_ASM_INCLUDE, low):
        found.add(ASM_INCLUDE)
    if (b".macro" in low or b".irp" in low) and re.search(_STATEMENT, low) and re.search(_OPERATION, low):
        found.add(INCBIN)
    if b"inc" in low and (re.search(_INCLUDE_PASTED, low) or re.search(_INCLUDE_JOINED, low)):
        found.add(INCBIN)
    if any(word in low for word in (b"asm", b".i", b".altmacro", b".mri")):
        if _is_begun(low):
            found.add(INCBIN)
        whole = re.sub(_IGNORED, b"", re.sub(_ESCAPE, _unescaped, re.sub(_BETWEEN, b"", low)))
        if b".incbin" in whole:
            found.add(INCBIN)
        if b"asm" in low and re.search(_ASM_INCLUDE, whole):
            found.add(ASM_INCLUDE)
    return found


def _is_begun(low: bytes) -> bool:
    """Whether a macro may have the rest of what has an assembler read a file."""
    if b"\\" in low and re.search(_BEGINNING, low):
        return True
    if b".\\" in low and re.search(_BEGINNING_OF_LINE, low):
        return True
    if b".inc" in low and re.search(_BEGINNING_ALONE, low):
        return True
    return re.search(_OTHER_MACROS, low) is not None


def _unescaped(escape: re.Match[bytes]) -> bytes:
    """The character of an escape sequence, in lower case; of one that is none of ASCII, what cannot be in a word."""
    code = int(escape[1], 8) if escape[1] else int(escape[2], 16)
    return bytes([code]).lower() if code < 128 else b"?"


def _wrapper(data: bytes, test: re.Match[bytes]) -> str:
    """The macro whose parameter a test asks for, ``#define HAS(x) __has_include(x)``; "" for any other test."""
    parameter = re.match(_PARAMETER, test[1])
    line = data[data.rfind(b"\n", 0, test.start()) + 1 : test.start()]
    definition = re.match(_DEFINITION, line)
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
    data = _without_comments(re.sub(_SPLICE, b"", data))
    if _is_handed_on(re.sub(_ALIAS, b"", data), names):
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
