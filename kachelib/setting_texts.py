"""What each setting is for, in a sentence or two, for people who are about to change it.

Owns these texts; docs/configuration.md tells more. Loaded by the editor alone.
"""

from kachelib.settings import Setting

TEXTS = {
    "cache_dir": "The local cache directory. A relative path in the file is relative to the file's directory.",
    "local_max_size": "The largest size of the local store. Beyond it, what was not used for longest goes first.",
    "readonly_store": "A second cache directory, looked into after your own and never written: "
    "the one baked into a CI image.",
    "cache_executables": "Cache programs, dylibs, cdylibs and proc macros too. Without it each new target directory "
    "links them anew.",
    "clean_incremental": "Remove incremental directories: those of the crate that is built, and all during gc.",
    "exclude": "Globs of sources that are compiled without kache. Relative ones count from the build's directory and "
    "the workspace's root.",
    "compression_level": "Zstandard level of what is kept compressed. Higher is smaller and slower.",
    "key_salt": "Opaque text in every cache key. Give it something that changes with a toolchain whose change no "
    "version tells.",
    "nix_salt": "Fold what `kache salt` prints into every cache key: it changes with the Nix toolchain of this shell.",
    "key_env_vars": "Names of environment variables whose values are in every cache key: what procedural macros ask "
    "for unseen.",
    "path_normalize": "Map local paths to neutral ones, so that entries are good in another checkout. Off: every "
    "entry is bound to its place.",
    "warm_targets": "Put whole units back into a new target directory before Cargo looks.",
    "warm_deadline_ms": "How long putting units back may take, in milliseconds; the rest is compiled or restored one "
    "by one.",
    "take_units": "Keep what Cargo built, for putting it back, once Cargo has ended.",
    "s3_concurrency": "How many S3 operations may run at a time.",
    "s3_pool_idle_secs": "How long an idle S3 connection is kept. Less behind a load balancer that drops them.",
    "daemon_idle_timeout_secs": "Idle time after which the daemon leaves; 0: it never does.",
    "uploader": "auto: builds start a process that pushes to the remote and fetches from it. off: only commands talk "
    "to the remote.",
    "remote_type": "The kind of remote: an S3 bucket, or a directory that several machines see.",
    "remote_path": "The directory of a filesystem remote; it has to be there.",
    "remote_readonly": "Only read from the remote: nothing that is built here is pushed.",
    "remote_bucket": "The S3 bucket. With one, builds fetch from it and push to it.",
    "remote_endpoint": "The S3 endpoint's URL, for Ceph, MinIO or R2; none for AWS.",
    "remote_region": "The AWS region of the bucket.",
    "remote_prefix": "The prefix of all keys in the bucket.",
    "remote_profile": "The profile of AWS's files that has the credentials; none for AWS's default chain.",
    "remote_addressing": "Where the bucket's name goes: path, virtual (before the host), or auto: into the path where "
    "an endpoint is set.",
    "remote_ca_bundle": "A file of certificates that are trusted for the endpoint.",
    "remote_signing_key": "The secret key NAME:BASE64, or the path of a file that holds it, to sign what is pushed.",
    "remote_trusted_keys": "Public keys NAME:BASE64. With any, what none of them signed is a miss.",
    "s3_access_key": "The S3 access key; never in a file. Without it: the profile, or AWS's default chain.",
    "s3_secret_key": "The secret key that belongs to the access key; never in a file.",
    "cc_extra_allowlist_flags": "C and C++ flags to cache beyond those that are known, each exactly as it is written "
    "in a call.",
    "cc_path_normalize": "Map local paths in C and C++ objects to neutral ones. Off: entries are bound to their place.",
    "cc_identity": "What tells C compilers apart: banner, what they say of themselves; content, their programs' "
    "content as well.",
    "base_dirs": "Directories that lie elsewhere on other machines, besides a project's sources and the build "
    "directory, for C and C++.",
    "disabled": "Switch caching off: compilers are called as they are.",
    "log": "The log filter of standard error, such as kache=debug.",
    "log_file": "The log filter of the file log.",
    "pager": "The program that long output on a terminal goes through; cat: none. Without it PAGER, else less.",
    "progress": "A line for each crate: always, never, or auto: where Cargo's standard error is no terminal.",
}


def of(row: Setting) -> str:
    """The text of ``row``."""
    return TEXTS.get(row.name, row.help)
