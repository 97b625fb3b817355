"""Hooks of MkDocs: adds the generated pages, and lets links that leave docs/ lead to copies on the site."""

import pathlib

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs_hooks import commands_page, decisions_page, links, settings_page
from recsys_tft.commands.feature_table import as_markdown
from recsys_tft.default_table import DEFAULT

ROOT = pathlib.Path(__file__).parent.parent
FEATURES = """# All features

The default feature table, as `recsys-tft features` prints it; [features](../features.md) explains the columns.

"""


def generated() -> dict[str, str]:
    """The Markdown of each page that is not in docs/, by its path there."""
    pages = {page: links.relinked((ROOT / name).read_text("utf-8"), name) for name, page in links.ROOT_PAGES.items()}
    return pages | {
        "reference/commands.md": commands_page.text(),
        "reference/settings.md": settings_page.text(),
        "reference/features.md": FEATURES + as_markdown(DEFAULT),
        "decisions/index.md": decisions_page.text(),
    }


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is generated, and the files of the repository that pages link to."""
    for path, text in generated().items():
        files.append(File.generated(config, path, content=text))
    for path in sorted(links.outside()):
        files.append(File.generated(config, f"{links.FILES}/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mends the links of a page of docs/."""
    is_generated = page.file.generated_by is not None
    return markdown if is_generated else links.relinked(markdown, f"docs/{page.file.src_uri}")
