"""Print the software bill of materials of the image, as CycloneDX 1.6: ``python -m ops.image.sbom``.

Its components are the installed Python packages and the packages of Debian. The image contains the result as
/usr/share/sbom/coursebus.cdx.json; a release publishes it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from typing import Any

_DEBIAN = ["dpkg-query", "--show", "--showformat", "${binary:Package}\t${Version}\t${Architecture}\n"]


def bill_of_materials() -> dict[str, Any]:
    """Return the document for this environment."""
    version = os.environ.get("COURSEBUS_VERSION") or "development"
    product = {"type": "application", "name": "coursebus", "version": version, "bom-ref": "coursebus"}
    components = sorted([*_python_packages(), *_debian_packages()], key=lambda each: str(each["purl"]))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": product},
        "components": [{"type": "library", "bom-ref": each["purl"], **each} for each in components],
    }


def _python_packages() -> Iterator[dict[str, Any]]:
    for each in distributions():
        name = each.metadata["Name"].lower().replace("_", "-")
        component: dict[str, Any] = {"name": name, "version": each.version, "purl": f"pkg:pypi/{name}@{each.version}"}
        if expression := each.metadata.get("License-Expression"):
            component["licenses"] = [{"expression": expression}]
        elif (text := each.metadata.get("License", "")) and "\n" not in text:
            component["licenses"] = [{"license": {"name": text}}]
        yield component


def _debian_packages() -> Iterator[dict[str, Any]]:
    listed = subprocess.run(_DEBIAN, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        name, version, architecture = line.split("\t")
        name = name.partition(":")[0]
        escaped = version.replace("+", "%2B").replace(":", "%3A")
        purl = f"pkg:deb/debian/{name}@{escaped}?arch={architecture}"
        yield {"name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    json.dump(bill_of_materials(), sys.stdout, indent=1)
