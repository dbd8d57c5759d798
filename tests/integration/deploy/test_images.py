"""The Dockerfiles: hashed requirements, no root, and every module that the image's code imports."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests.integration.deploy import compose

FOLDER = compose.ROOT / "deploy" / "docker"
IMAGES = sorted(path.stem for path in FOLDER.glob("*.Dockerfile"))
# Of parts that say so where they are not: the compiler, an inverter's driver.
ON_DEMAND = {
    ("compiling.py", "mypyc"),
    ("compiling.py", "setuptools"),
    ("sunspec.py", "sunspec2"),
    ("modbus.py", "pymodbus"),
}
OWN = {"banyan", "cdc", "console", "gateway", "legacy_monolith", "load", "migration_plan", "pi_agent", "services"}
DISTRIBUTIONS = packages_distributions()

#: The whole command line is in the plan's image; these commands run the local stack and its benches, not a migration.
NOT_IN_PLAN = {
    "banyan/servers",
    "banyan/stack",
    "banyan/commands/stack.py",
    "banyan/commands/demo.py",
    "banyan/commands/bench.py",
    "banyan/commands/drill.py",
    "banyan/commands/load",
}
#: Imported only where it is there: without `rich` the stream's own image prints lines instead of bars.
OPTIONAL = {"cdc": {"cdc/snapshot/show.py"}}


def text_of(image: str) -> str:
    return (FOLDER / f"{image}.Dockerfile").read_text()


def copied(image: str) -> list[str]:
    return [
        s
        for s in re.findall(r"^COPY (?!--from)(\S+) \S+$", text_of(image), re.MULTILINE)
        if not s.startswith("requirements/")
    ]


def sources(image: str) -> Iterator[Path]:
    for entry in copied(image):
        path = compose.ROOT / entry
        for source in [path] if path.is_file() else path.rglob("*.py"):
            relative = source.relative_to(compose.ROOT).as_posix()
            skipped = (
                relative in OPTIONAL.get(image, ())
                or image == "plan"
                and any(relative.startswith(p) for p in NOT_IN_PLAN)
            )
            if source.suffix == ".py" and "/tests/" not in relative and not skipped:
                yield source


def imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_there_is_an_image_for_every_component(stack: dict[str, Any]) -> None:
    built = {service["build"]["dockerfile"] for service in compose.own(stack["services"]).values()}
    assert built == {f"deploy/docker/{image}.Dockerfile" for image in IMAGES}
    assert all(service["build"]["context"] == "." for service in compose.own(stack["services"]).values())


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_from_hashes_and_runs_as_nobody_special(image: str) -> None:
    text = text_of(image)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"python:3.11-slim"}
    requirements = re.search(r"pip install --require-hashes -r (requirements/\w+\.txt)$", text, re.MULTILINE)
    assert requirements is not None
    assert (compose.ROOT / requirements[1]).is_file()
    assert re.search(r"pip install --no-deps \.$", text, re.MULTILINE)
    final = text.split("\nFROM ")[-1]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert "COPY requirements" not in final
    assert not re.search(r"(?i)password|secret|token|^ARG|index-url", text, re.MULTILINE)


def test_the_gateway_that_is_compiled_is_the_one_that_the_image_keeps() -> None:
    """Not the copy in the folder that it was installed from, which -m alone would find first."""
    before, compiled, after = text_of("gateway").partition("/opt/banyan/bin/python -P -m gateway compile")
    assert compiled
    assert "pip install --no-deps ." in before
    assert "COPY --from=build /opt/banyan /opt/banyan" in after


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_every_module_that_its_code_imports(image: str) -> None:
    requirements = re.search(r"-r (requirements/\w+\.txt)", text_of(image))
    assert requirements is not None
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", (compose.ROOT / requirements[1]).read_text(), re.MULTILINE))
    for source in sources(image):
        for module in imported(source):
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names or (source.name, top) in ON_DEMAND:
                continue
            if top in OWN:
                assert any(carries(entry, module) for entry in copied(image)), (
                    f"{source} imports {module}, not in {image}"
                )
                continue
            names = {d.lower().replace("_", "-") for d in DISTRIBUTIONS.get(top, [top])}
            assert names & pinned, f"{source} imports {top}, not in {requirements[1]}"


def carries(entry: str, module: str) -> bool:
    path = entry.removesuffix("/__init__.py").replace("/", ".")
    return module == path or module.startswith(path + ".") or (path + ".").startswith(module + ".")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_ignores_what_it_does_not_copy(image: str) -> None:
    lines = (FOLDER / f"{image}.Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    requirements = {
        f"requirements/{name}.txt" for name in re.findall(r"requirements/(\w+)\.txt requirements/", text_of(image))
    }
    single = set(re.findall(r"^COPY (\S+) (\S+) (\S+) \./$", text_of(image), re.MULTILINE).pop())
    assert let_in == set(copied(image)) | requirements | single


def test_an_image_starts_by_itself_what_the_compose_file_starts(stack: dict[str, Any]) -> None:
    for name in ("legacy", "pricing", "devices", "notifications", "gateway", "console", "agent"):
        words = re.search(r"^CMD (\[.*\])$", text_of(name), re.MULTILINE)
        assert words is not None
        assert ast.literal_eval(words[1]) == stack["services"][name]["command"]
