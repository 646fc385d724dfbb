#!/bin/sh
# kache: this file is a shell script, the program and a zip; `python3 kache` runs it as well.
# A compiler call: a path or a compiler first, or a RUSTC_WORKSPACE_WRAPPER before it. kache.py looks closer.
# By the name of a C compiler (kache init --shims), this is a call of the next one of that name on PATH.
case ${0##*/} in
*cc | *cc-[0-9]* | *c++ | *g++ | *++-[0-9]* | *clang | *clang-[0-9]* | *clang-cl)
  _kache_ifs=$IFS IFS=:
  for _kache_real in ${PATH-}; do
    _kache_real=${_kache_real:-.}/${0##*/}
    [ -x "$_kache_real" ] && [ ! -d "$_kache_real" ] && ! [ "$_kache_real" -ef "$0" ] && break
    _kache_real=
  done
  IFS=$_kache_ifs
  [ "$_kache_real" ] || { echo "kache: no ${0##*/} on PATH but kache itself" >&2; exit 127; }
  set -- "$_kache_real" "$@"
  ;;
esac
_kache_compiles=
case ${1-} in
# The cc crate asks for a compiler's family so, where it takes kache for the compiler.
-E) exec cc "$@" ;;
rustc* | clippy-driver* | */* | *cc | *cc-[0-9]* | *c++ | *g++ | *++-[0-9]* | *clang | *clang-[0-9]* | *clang-cl) _kache_compiles=1 ;;
*) case ${2##*/}:${3-} in rustc:-*) _kache_compiles=1 ;; esac ;;
esac
if [ "$_kache_compiles" ]; then
  # Links and questions to a C compiler, and asking rustc for its version, need no Python.
  case ${1##*/} in
  *cc | *cc-[0-9]* | *c++ | *g++ | *++-[0-9]* | *clang | *clang-[0-9]* | *clang-cl)
    case " $* " in *" -c "* | *" /c "*) ;; *) exec "$@" ;; esac
    ;;
  esac
  case ${2##*/}:${3-} in -vV: | -V: | --version: | rustc:-vV | rustc:-V | rustc:--version) exec "$@" ;; esac
  # Where Python does not even start, the compiler does: a failed exec ends this shell, bash it lets go on.
  trap 'trap - EXIT; exec "$@"' EXIT
  [ -z "${BASH_VERSION-}" ] || shopt -s execfail 2>/dev/null
fi
# Which Python: KACHE_PYTHON, else the one this file was made with (in Nix), else the one `kache init` noted, else python3.
_kache_python=${KACHE_PYTHON-@PYTHON@}
if [ -z "$_kache_python" ]; then
  _kache_python=${XDG_CONFIG_HOME:-${HOME-}/.config}/kache/python
  if [ -r "$_kache_python" ] && read -r _kache_python <"$_kache_python" && [ -x "$_kache_python" ]; then
    :
  else
    _kache_python=python3
  fi
fi
case $_kache_python in
python3 | */python3 | python3.[1-9]* | */python3.[1-9]*) command -v "$_kache_python" ;;
# Any other name may be Python 2, which would stop at the options below with its usage text.
*) "$_kache_python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ;;
esac >/dev/null 2>&1 && {
  # Python changes LC_CTYPE: the caller's value goes along ("" where unset, else "=value").
  # dash drops CARGO_BIN_EXE_my-app and the like: an integration test needs all of the environment
  # as it came ("e", then NUL as newline and newline as \001).
  _kache_environment="${LC_CTYPE+=}${LC_CTYPE-}"
  if [ -n "${CARGO_TARGET_TMPDIR-}" ] && [ -r /proc/$$/environ ]; then
    _kache_all=e$(tr '\000\012' '\012\001' </proc/$$/environ 2>/dev/null)
    case ${#_kache_all} in 1 | ??????*) ;; *) _kache_environment=$_kache_all ;; esac
  fi
  exec "$_kache_python" -I -S -X utf8 -c '@STUB@' "$0" "$_kache_environment" "$@"
}
_kache_message="kache: no Python 3.9 or newer at '$_kache_python': install one, or name one with KACHE_PYTHON"
if [ "$_kache_compiles" ]; then
  # The build goes on without a cache. Cargo's own error output hears of it once, when it asks about the target.
  case $* in *" - --crate-name ___ "*) { echo "$_kache_message" >>/proc/$PPID/fd/2; } 2>/dev/null ;; esac
  exec "$@"
fi
echo "$_kache_message" >&2
exit 1
