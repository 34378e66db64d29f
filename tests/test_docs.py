"""What the pages point at is there, and the commands they show exist."""

import re
from pathlib import Path

import pytest

from flows.cli import app
from flows.recipes import recipe_values

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "artifacts" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    for link in links:
        assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name} points at {link}"


def test_commands_and_recipes_that_pages_show_exist():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for command in re.findall(r"(?:`|bin/|\s)textmill ([a-z]+)\b", text):
            assert command in commands or command == "is", f"{page.name}: textmill {command}"
        for recipe in re.findall(r"textmill run ([a-z][a-z-]+)", text) + re.findall(r"pipeline/([a-z][a-z-]+)", text):
            assert recipe in recipe_values(), f"{page.name}: recipe {recipe}"
