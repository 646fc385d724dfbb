"""Tests of C and C++ compiles, with the compilers that are here."""
