"""The command `doctor`: looks at everything that runs rest on, and says what is wrong and what to do about it."""

import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from data.errors import TextmillError
from flows.doctor import disk, environment, gpu, secrets, server
from flows.doctor.finding import Finding, fail, ok, warn
from flows.recipes import load_deployments, load_recipe, recipe_values
from flows.settings import home_of, prepare_prefect
from tasks.runtime import open_store

JUMP = 0.5  # seconds by which the wall clock may differ from the one that never jumps, while we look


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="All findings as one line of JSON.")] = False,
) -> int:
    """Look whether everything is in order: environment, server, GPU, disk, clock, permissions; exit code 1 if not."""
    findings = examine()
    failed = any(finding.level == "fail" for finding in findings)
    if as_json:
        print(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}), flush=True)
        return int(failed)
    for finding in findings:
        print(f"{finding.level:<4}  {finding.check}: {finding.what}")
        if finding.remedy:
            print(f"        do: {finding.remedy}")
    counts = {level: sum(finding.level == level for finding in findings) for level in ("ok", "warn", "fail")}
    print(f"\n{counts['ok']} in order, {counts['warn']} to look at, {counts['fail']} wrong")
    return int(failed)


def examine() -> list[Finding]:
    """Every finding, in the order in which people read them. The GPU is tried while all else is looked at."""
    probe = gpu.start_probe()
    wall, steady = time.time(), time.monotonic()
    told = dict(os.environ)
    prepare_prefect(told)
    findings = [environment.check_python(), environment.check_venv(), *environment.check_pins()]
    findings += _store_findings(home_of(told))
    findings += _recipe_findings(told)
    findings.append(gpu.check_gpu(probe))
    findings.append(check_jump(time.time() - wall, time.monotonic() - steady))
    return findings


def _store_findings(home: Path) -> list[Finding]:
    places = {"scratch files": Path(tempfile.gettempdir()), "Prefect's home": home}
    findings = []
    try:
        store = open_store()
        places = {"store": store.root, **places}
        findings = [disk.check_leftovers(store), disk.check_dates(store)]
        last_run = disk.last_run_bytes(store)
    except TextmillError as error:
        findings.append(fail("store", str(error), "mend what it names"))
        last_run = 0
    written = [disk.check_writable(name, path) for name, path in places.items()]
    return [*disk.check_disks(places, last_run), *written, *findings]


def _recipe_findings(told: dict[str, str]) -> list[Finding]:
    try:
        pools = sorted({str(one["work_pool"]["name"]) for one in load_deployments() if one.get("work_pool")})
        recipes = [load_recipe(name) for name in recipe_values()]
    except TextmillError as error:
        return [*server.check_server(told, []), fail("recipes", str(error), "mend prefect.yaml")]
    return [*server.check_server(told, pools), *secrets.check_secrets(recipes, told)]


def check_jump(wall: float, steady: float) -> Finding:
    """Whether the clock was set while we looked; `wall` and `steady` are seconds by the two clocks."""
    if abs(wall - steady) > JUMP:
        return warn(
            "clock steadiness",
            f"the clock jumped by {wall - steady:+.1f} s within {steady:.1f} s",
            "let one service keep the time (timedatectl); two of them pull it to and fro",
        )
    return ok("clock steadiness", f"no jump within {steady:.1f} s")
