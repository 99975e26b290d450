"""Known vulnerabilities of installed packages, by pip-audit: `make vulnerabilities`, and the last step of `.ci/check`.

Fails on one that is not listed in `.ci/known_vulnerabilities_ignored.txt`. Where the service does not answer, nothing
is known: that is said, and is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

IGNORED = Path(__file__).with_name("known_vulnerabilities_ignored.txt")
MOST_SECONDS = 180
COMMAND = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--timeout", "15", "--format", "json"]


def read_ignored(text: str) -> dict[str, str]:
    """Return reasons by the id of a vulnerability; a line is the id, then the reason, `#` starts a comment.

    Raises:
        SystemExit: an id without a reason.
    """
    reasons = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            identity, _, reason = line.strip().partition(" ")
            if not reason.strip():
                raise SystemExit(f"{IGNORED.name}: {identity}: expected a reason behind it, found none")
            reasons[identity] = reason.strip()
    return reasons


def judge(report: dict[str, Any], ignored: dict[str, str]) -> tuple[bool, list[str]]:
    """Return whether the check passes, and what to print.

    Args:
        report: what pip-audit printed as JSON.
        ignored: of `read_ignored`.
    """
    packages = report["dependencies"]
    unknown = [package["name"] for package in packages if "vulns" not in package]
    lines, passed, met = [], True, set()
    for package in packages:
        for found in package.get("vulns", ()):
            names = {found["id"], *found.get("aliases", ())}
            known = sorted(names & set(ignored))
            met.update(known)
            what = f"{package['name']} {package['version']}: {found['id']}"
            if known:
                lines.append(f"ignored: {what}: {ignored[known[0]]}")
            else:
                passed = False
                fixed = ", ".join(found.get("fix_versions", ())) or "none yet"
                lines.append(f"vulnerable: {what}; fixed in {fixed}")
    checked = len(packages) - len(unknown)
    if not checked:
        return passed, [*lines, f"not audited: the service knows none of {len(unknown)} packages; try with a network"]
    lines += [f"{IGNORED.name}: {identity} is no longer found; take it out" for identity in sorted(set(ignored) - met)]
    missed = f"; not known to the service: {', '.join(unknown)}" if unknown else ""
    return passed, [*lines, f"audited {checked} of {len(packages)} packages{missed}"]


def main() -> int:
    """Run pip-audit and print the verdict."""
    ignored = read_ignored(IGNORED.read_text(encoding="utf-8"))
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        print("not audited: the service did not answer in time")
        return 0
    if "No module named pip_audit" in done.stderr:
        print("pip-audit is not installed; pip install 'amodalpl[dev]'", file=sys.stderr)
        return 1
    try:
        report = json.loads(done.stdout)
    except ValueError:  # it prints a trace when there is no network
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        print(f"not audited: the service does not answer ({last[:160]})")
        return 0
    passed, lines = judge(report, ignored)
    print("\n".join(lines))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
