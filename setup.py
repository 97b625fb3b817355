"""Lets `--setup_file` build the package for Beam workers; what a static file cannot say is here."""

import os
import pathlib
import re
import shutil
import tomllib

import setuptools
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).parent
# Of the repository, such as a release sets it; links of the long description lead there.
ADDRESS = os.environ.get("RECSYS_TFT_ADDRESS", "").rstrip("/")


class BuildWithConfigs(build_py):
    """Puts configs/ into the package, for `--config movielens` where there is no checkout."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode and pathlib.Path("configs").is_dir():
            shutil.copytree("configs", pathlib.Path(self.build_lib, "recsys_tft", "configs"), dirs_exist_ok=True)


def long_description(readme: str, address: str, version: str) -> str:
    """The README for a package index, on which relative links lead nowhere: absolute ones, or their texts alone."""
    picture, link = re.compile(r"!\[([^\]]*)\]\((?!\w+:)([^)]+)\)\n*"), re.compile(r"\[([^\]]+)\]\((?!\w+:|#)([^)]+)\)")
    if not address:
        return link.sub(r"\1", picture.sub("", readme))
    readme = picture.sub(rf"![\1]({address}/raw/v{version}/\2)\n\n", readme)
    return link.sub(rf"[\1]({address}/blob/v{version}/\2)", readme)


VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
PAGES = {"Changelog": "CHANGELOG.md", "Documentation": "README.md"}

setuptools.setup(
    license="MIT",
    long_description=long_description((ROOT / "README.md").read_text("utf-8"), ADDRESS, VERSION),
    long_description_content_type="text/markdown",
    project_urls={"Source": ADDRESS} | {name: f"{ADDRESS}/blob/v{VERSION}/{page}" for name, page in PAGES.items()}
    if ADDRESS
    else {},
    cmdclass={"build_py": BuildWithConfigs},
)
