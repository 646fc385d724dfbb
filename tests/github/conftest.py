"""Fixtures of the tests of actions: those of the remote, for jobs that share one."""

from tests.remote.conftest import prefix, seaweed, server_directory

__all__ = ("prefix", "seaweed", "server_directory")
