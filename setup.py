"""Lets `--setup_file` build the package for Beam workers; all but the licence is declared in pyproject.toml."""

import setuptools

setuptools.setup(license="MIT")
