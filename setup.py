"""Lets `--setup_file` build the package for Beam workers; all but the licence is declared in pyproject.toml."""

import pathlib
import shutil

import setuptools
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Puts configs/ into the package, for `--config movielens` where there is no checkout."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode and pathlib.Path("configs").is_dir():
            shutil.copytree("configs", pathlib.Path(self.build_lib, "recsys_tft", "configs"), dirs_exist_ok=True)


setuptools.setup(license="MIT", cmdclass={"build_py": BuildWithConfigs})
