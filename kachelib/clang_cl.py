"""A command line of clang-cl, or of clang --driver-mode=cl: what it asks for.

Owns the option tables of this dialect and the parse into cc.Plan, Refusal or NotACompile. An option begins with ``/``
or ``-``; a word that begins so and is no option is a path. -MD and -MT choose the C runtime here, and no depfile: there
is none in this dialect.

Source: Clang 14's "clang-cl" chapter and ``clang --driver-mode=cl -help``. Debug information (-Z7, -Zi, -g), -bigobj
and -showIncludes are refused, as the settings' contract says.
"""

from kachelib import cc
from kachelib.cc import KEY, PREPROCESSOR, Plan
from kachelib.outcome import NotACompile, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Sequence, Tuple, Union

DIALECT = "cl"

# In the key as they stand, without the dash or slash.
KEYED = (
    " Brepro Brepro- FC FS GA GF GF- GR GR- GS GS- GX GX- Gd Gr Gregcall Gv Gw Gw- Gy Gy- Gz J LD LDd MD MDd MT MTd "
    "O1 O2 Ob0 Ob1 Ob2 Ob3 Od Og Oi Oi- Os Ot Ox Oy Oy- QIntel-jcc-erratum Qvec Qvec- TC TP W0 W1 W2 W3 W4 WX WX- Wall "
    "X Zl Zp bigobj- hotpatch nologo openmp- permissive permissive- sdl sdl- utf-8 validate-charset validate-charset- "
    "vmb vmg vmm vms vmv volatile:iso volatile:ms w "
)
# The same, for all that begins like this.
KEYED_LIKE = ("EH", "Gs", "O", "Zc:", "Zp", "arch:", "diagnostics:", "errorReport:", "execution-charset:", "external:W",
              "fp:", "guard:", "source-charset:", "std:", "tune:", "vd", "wd", "we", "wo", "w1", "w2", "w3",
              "w4")  # fmt: skip

# (reason, options without dash or slash that are this, or begin like it).
REFUSED = (
    ("debug_format", " Z7 Zi ZI Zd "),
    ("shown_includes", " showIncludes showIncludes:user "),
    ("big_object", " bigobj "),
    ("precompiled_header", " Y- "),
    ("extra_output", " FA FAc FAs FAcs FAu doc showFilenames showFilenames- analyze d1reportAllClassLayout "),
    ("no_object", " C Zs "),
    ("other_programs", " link "),
)
REFUSED_LIKE = (
    ("precompiled_header", ("Yc", "Yu", "Fp")),
    ("extra_output", ("Fa", "FR", "Fr", "Fd", "Fi", "Fm", "d1", "d2")),
    ("link", ("Fe",)),
    ("search_path", ("external:env:", "external:anglebrackets", "vctoolsdir", "vctoolsversion", "winsdkdir",
                     "winsdkversion", "winsysroot", "diasdkdir")),
    ("modules", ("interface", "module", "headerUnit", "exportHeader", "ifc")),
)  # fmt: skip

QUESTIONS = frozenset(("E", "EP", "P", "?", "help", "###", "-version", "-help", "v"))

LANGUAGES = {"c": "c", "cc": "c++", "cpp": "c++", "cxx": "c++", "C": "c++", "c++": "c++"}


class _Reader:
    """The words of a command line, and what was found so far."""

    __slots__ = ("allowed", "at", "compile", "language", "only_sources", "plan", "refusal", "sources", "unknown",
                 "words")  # fmt: skip

    def __init__(self, words: "List[str]", allowed: "Sequence[str]") -> None:
        self.words = words
        self.allowed = allowed
        self.at = 0
        self.plan = Plan(words)
        self.plan.dialect = DIALECT
        # (path, language)
        self.sources: "List[Tuple[str, str]]" = []
        self.unknown: "List[str]" = []
        self.language = ""
        self.compile = False
        self.only_sources = False
        self.refusal: "Optional[Refusal]" = None

    def next(self) -> str:
        self.at += 1
        return self.words[self.at - 1] if self.at <= len(self.words) else ""

    def keep(self, kind: str, *words: str) -> None:
        for word in words:
            self.plan.words.append((kind, word))

    def refuse(self, reason: str, detail: str) -> None:
        if self.refusal is None:
            self.refusal = Refusal(reason, detail)


def is_asked_for(command: str, arguments: "Sequence[str]") -> bool:
    """Whether a call is of this dialect: by the driver's name, or by its mode."""
    name = command.rpartition("/")[2].rstrip("-.0123456789")
    return name.endswith("clang-cl") or "--driver-mode=cl" in arguments


def parse(arguments: "List[str]", allowed: "Sequence[str]" = ()) -> "Union[Plan, Refusal, NotACompile]":
    """Understand what follows the compiler's name. allowed: cc.extra_allowlist_flags."""
    reader = _Reader(arguments, allowed)
    while reader.at < len(arguments):
        word = reader.next()
        if word == "--" and not reader.only_sources:
            reader.only_sources = True
        elif reader.only_sources or word[:1] not in ("-", "/") or len(word) == 1:
            reader.sources.append((word, reader.language))
        elif word[1:] in QUESTIONS:
            return NotACompile()
        elif not (_note_special(reader, word) or _note(reader, word)):
            if word[0] == "/" and "/" in word[1:]:
                reader.sources.append((word, reader.language))
            elif word in allowed:
                reader.plan.user_allowed.append(word)
                reader.keep(KEY, word)
            else:
                reader.unknown.append(word)
    return _judge(reader)


def _note_special(reader: _Reader, word: str) -> bool:
    """An option with a meaning of its own; False for any other."""
    name = word[1:]
    plan = reader.plan
    if name == "c":
        reader.compile = True
    elif name[:1] in ("D", "U"):
        reader.keep(PREPROCESSOR, "/" + name[0] + (name[1:] or reader.next()))
    elif name[:1] == "I":
        plan.search.append(("include", name[1:] or reader.next()))
    elif name.startswith(("imsvc", "external:I")):
        option = "imsvc" if name[0] == "i" else "external:I"
        plan.search.append(("system", name[len(option) :] or reader.next()))
    elif name.startswith("FI"):
        path = name[2:] or reader.next()
        plan.forced.append(path)
        reader.keep(PREPROCESSOR, "/FI", path)
    elif name.startswith("Fo"):
        plan.output = name[2:].lstrip(":")
    elif name == "o":
        plan.output = reader.next()
    elif name[:2] in ("Tc", "Tp"):
        reader.sources.append((name[2:] or reader.next(), "c" if name[1] == "c" else "c++"))
    elif name in ("TC", "TP"):
        reader.language = "c" if name == "TC" else "c++"
        reader.keep(KEY, "/" + name)
    elif name.startswith("clang:"):
        _note_inner(reader, word, name[len("clang:") :])
    elif word in cc.PAIRS:
        _note_inner(reader, word, reader.next())
    elif word == "--driver-mode=cl":
        reader.keep(KEY, word)
    else:
        return False
    return True


def _note_inner(reader: _Reader, word: str, inner: str) -> None:
    """An option of the other dialect, behind /clang: or -Xclang; what makes a depfile is none that is known."""
    shown = word if word.startswith("/clang:") or word.startswith("-clang:") else word + " " + inner
    reason = cc.refused_for(inner)
    if reason:
        reader.refuse(reason, shown)
    elif inner.startswith("-g"):
        reader.refuse("debug_format", shown)
    elif cc.is_keyed(inner) or (inner.startswith("-W") and not inner.startswith(("-Wa,", "-Wp,", "-Wl,"))):
        reader.keep(KEY, *([word] if word not in cc.PAIRS else [word, inner]))
        cc.note_nature(reader.plan, inner)
    elif word in reader.allowed and (word not in cc.PAIRS or inner in reader.allowed):
        reader.plan.user_allowed += [word] if word not in cc.PAIRS else [word, inner]
        reader.keep(KEY, *([word] if word not in cc.PAIRS else [word, inner]))
    else:
        reader.unknown.append(shown)


def _note(reader: _Reader, word: str) -> bool:
    """An option that its name says all of; False where it is not known."""
    name = word[1:]
    question = " " + name + " "
    for reason, names in REFUSED:
        if question in names:
            reader.refuse(reason, word)
            return True
    if question in KEYED:
        reader.keep(KEY, "/" + name)
        return True
    if word.startswith("-g"):
        reader.refuse("debug_format", word)
        return True
    if word[0] == "-" and _note_shared(reader, word):
        return True
    for reason, beginnings in REFUSED_LIKE:
        if name.startswith(beginnings):
            reader.refuse(reason, word)
            return True
    if name.startswith(("openmp", "fsanitize=")):
        reader.plan.places = True
    elif not name.startswith(KEYED_LIKE) or "/" in name:
        return False
    reader.keep(KEY, "/" + name)
    return True


def _note_shared(reader: _Reader, word: str) -> bool:
    """An option of Clang's own, spelled as in the other dialect; False where it is none."""
    plan = reader.plan
    reason = cc.refused_for(word)
    if reason:
        reader.refuse(reason, word)
    elif word in cc.COLOUR_ON or word in cc.COLOUR_OFF:
        plan.colour = "on" if word in cc.COLOUR_ON else "off"
    elif word == "-target":
        reader.keep(KEY, word, reader.next())
    elif cc.is_keyed(word) or (word.startswith("-W") and not word.startswith(("-Wa,", "-Wp,", "-Wl,"))):
        reader.keep(KEY, word)
        cc.note_nature(plan, word)
    else:
        return False
    return True


def _judge(reader: _Reader) -> "Union[Plan, Refusal, NotACompile]":
    plan = reader.plan
    if not reader.sources:
        return NotACompile()
    plan.source, given = reader.sources[0]
    refusal = _refusal(reader)
    if refusal is not None:
        refusal.plan = plan
        return refusal
    plan.language = given or LANGUAGES.get(plan.source.rpartition(".")[2], "")
    if not plan.language:
        return Refusal("language", plan.source.rpartition("/")[2], plan)
    stem = plan.source.rpartition("/")[2].rpartition(".")[0]
    if not plan.output or plan.output.endswith("/"):
        plan.output += stem + ".obj"
    return plan


def _refusal(reader: _Reader) -> "Optional[Refusal]":
    plan = reader.plan
    if any(path.startswith("@") for path, _ in reader.sources):
        return Refusal("argument_file", plan.source)
    if reader.refusal is not None and reader.refusal.reason in ("no_object", "link"):
        return reader.refusal
    if not reader.compile:
        return Refusal("link")
    if len(reader.sources) > 1:
        return Refusal("several_sources", " ".join([path for path, _ in reader.sources[:3]]))
    if plan.source == "-":
        return Refusal("stdin")
    if reader.refusal is not None:
        return reader.refusal
    if reader.unknown:
        return Refusal("unsupported_flag", " ".join(reader.unknown))
    return None
