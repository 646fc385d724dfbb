"""Keep one comment on a pull request: the report, written anew each time. Arguments: the report's file, the number.

Owns the comment that carries MARK. The token is in INPUT_TOKEN; nothing of it is printed.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any, Optional

MARK = "<!-- the report of kache -->"
LIMIT = 30
PAGE = 100
MOST_PAGES = 30


def call(method: str, path: str, body: Optional[object] = None) -> Any:
    """One request of GitHub's REST API ("Issue comments"). Raises OSError."""
    repository = os.environ["GITHUB_REPOSITORY"]
    request = urllib.request.Request(
        f"{os.environ['GITHUB_API_URL']}/repos/{repository}/issues/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['INPUT_TOKEN']}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        return json.load(answer)


def own_comment(number: str) -> Optional[int]:
    """The comment that an earlier run wrote."""
    for page in range(1, MOST_PAGES + 1):
        comments = call("GET", f"{number}/comments?per_page={PAGE}&page={page}")
        for comment in comments:
            if str(comment["body"]).startswith(MARK):
                return int(comment["id"])
        if len(comments) < PAGE:
            break
    return None


def main(file: str, number: str) -> int:
    with open(file, encoding="utf-8") as report:
        body = {"body": MARK + "\n" + report.read()}
    try:
        known = own_comment(str(int(number)))
        if known is None:
            call("POST", f"{int(number)}/comments", body)
        else:
            call("PATCH", f"comments/{known}", body)
    except (OSError, ValueError, KeyError) as error:
        # an HTTPError is an OSError; its text is the status alone
        print(f"kache: the comment was not written: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
