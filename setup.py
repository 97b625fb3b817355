"""Lets `--setup_file` build the package for Beam workers; everything is declared in pyproject.toml."""

import setuptools

setuptools.setup()
