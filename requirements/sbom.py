#!/usr/bin/env python3
"""Print what dist/kache carries besides kache, as CycloneDX 1.5 JSON: the packages of bundle.lock and their hashes.

The same lock gives the same text.
"""

import json
import re
import sys
from pathlib import Path
from typing import Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from requirements.wheels import ROOT, read_lock


def document() -> Dict[str, object]:
    """The bill of materials (https://cyclonedx.org/docs/1.5/json/)."""
    text = (ROOT / "kachelib" / "__init__.py").read_text("utf-8")
    found = re.search(r'(?m)^VERSION = "(.+)"', text)
    version = found[1] if found else "0"
    components: List[Dict[str, object]] = []
    for pin in sorted(read_lock(), key=lambda pin: (pin.name, pin.version)):
        url = f"pkg:pypi/{pin.name.lower()}@{pin.version}"
        hashes = [{"alg": "SHA-256", "content": digest} for digest in sorted(pin.hashes)]
        components.append(
            {
                "type": "library",
                "bom-ref": url,
                "name": pin.name,
                "version": pin.version,
                "purl": url,
                # one for each wheel that a build may take
                "externalReferences": [{"type": "distribution", "url": url, "hashes": hashes}],
            }
        )
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "kache", "version": version}},
        "components": components,
    }


if __name__ == "__main__":
    print(json.dumps(document(), indent=2))
