"""An inventory of a folder: how many files, bytes and lines, what they contain, and which words are frequent.

A flow with a subflow for each top-level folder, all at once; each of them starts a background task for each of its
files, and sums up what they found. Start a worker, in one terminal or in many, also on other machines that see the
same files:

    python inventory.py --serve

and take an inventory:

    python inventory.py DIR

The result is JSON on standard output. Workers may be killed at any time: the work of a dead one is delivered again.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import re
import string
import sys
from typing import Any

from tidegate import RunError, ServerUnavailable, flow, gather, get_run_logger, serve, task

#: Folders of these names are not looked into: they hold what machines made.
SKIPPED = frozenset({".git", ".venv", "node_modules", "target"})
#: The most frequent words of a file, and of the whole.
N_WORDS = 50
LETTERS = string.ascii_letters.encode() + b"_"
WORD = re.compile(rb"[A-Za-z_]+")
CHUNK = 1 << 20


@task(retries=2, retry_delay_seconds=[1, 5], max_crashes=10)
def file_facts(root: str, path: str) -> dict[str, Any]:
    """Reads one file. One that cannot be read is a finding, not a failure."""
    size = lines = 0
    sha256 = hashlib.sha256()
    words: collections.Counter[bytes] = collections.Counter()
    is_binary = False
    rest = b""
    try:
        with open(os.path.join(root, path), "rb") as file:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                lines += chunk.count(b"\n")
                sha256.update(chunk)
                is_binary = is_binary or b"\0" in chunk
                if not is_binary:
                    text = rest + chunk
                    end = len(text.rstrip(LETTERS))  # a word may go on in the next chunk
                    words.update(word.lower() for word in WORD.findall(text[:end]) if 3 <= len(word) <= 32)
                    rest = text[end:]
    except OSError as error:
        get_run_logger().warning("%s: %s", path, error)
        return {"path": path, "error": str(error)}
    words.update(word.lower() for word in WORD.findall(rest) if 3 <= len(word) <= 32)
    get_run_logger().info("%s: %d bytes, %d lines", path, size, lines)
    return {
        "path": path,
        "bytes": size,
        "lines": lines,
        "sha256": sha256.hexdigest(),
        "words": [] if is_binary else [[word.decode(), n] for word, n in most_frequent(words)],
    }


@flow(run_name="{folder}", max_crashes=10)
def inventory_folder(root: str, folder: str) -> dict[str, Any]:
    """A task for each file of a top-level folder, all at once; the sum of what they find."""
    paths = files_below(root, folder)
    get_run_logger().info("%s has %d files", folder, len(paths))
    handles = file_facts.delay_map([root] * len(paths), paths)
    facts = gather(handles)
    listing = "".join(f"{file['sha256']}  {file['path']}\n" for file in facts if "error" not in file)
    return {"folder": folder, **sum_up(facts), "fingerprint": sha256_of(listing)}


@flow(max_crashes=10)
def inventory(root: str) -> dict[str, Any]:
    """A subflow for each top-level folder, all at once; the sum of what they find."""
    with os.scandir(root) as entries:
        names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name not in SKIPPED)
    names = [".", *names]
    handles = inventory_folder.delay_map([root] * len(names), names)
    folders = gather(handles)
    for folder, handle in zip(folders, handles):
        get_run_logger().info("%s: %d files (run %s)", folder["folder"], folder["files"], handle.id)
    listing = "".join(f"{folder['fingerprint']}  {folder['folder']}\n" for folder in folders)
    return {"root": root, **sum_up(folders), "fingerprint": sha256_of(listing), "folders": folders}


def files_below(root: str, folder: str) -> list[str]:
    """The regular files of a top-level folder, relative to the root; for `.` those that are in no folder."""
    paths = []
    for here, folders, names in os.walk(os.path.join(root, folder)):
        folders[:] = [] if folder == "." else [name for name in folders if name not in SKIPPED]
        for name in names:
            path = os.path.join(here, name)
            if os.path.isfile(path) and not os.path.islink(path):
                paths.append(os.path.relpath(path, root))
    return sorted(paths)


def sum_up(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over files, or over folders."""
    words: collections.Counter[str] = collections.Counter()
    for part in parts:
        words.update(dict(part.get("words", [])))
    n_unreadable = sum(part.get("unreadable", 1 if "error" in part else 0) for part in parts)
    return {
        "files": sum(part.get("files", 0 if "error" in part else 1) for part in parts),
        "unreadable": n_unreadable,
        "bytes": sum(part.get("bytes", 0) for part in parts),
        "lines": sum(part.get("lines", 0) for part in parts),
        "words": [[word, n] for word, n in most_frequent(words)],
    }


def most_frequent(words: Any) -> list[Any]:
    """By number, then by the alphabet."""
    return sorted(words.items(), key=lambda item: (-item[1], item[0]))[:N_WORDS]


def sha256_of(text: str) -> str:
    """Of paths that may be no UTF-8, as the operating system gave them."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="An inventory of a folder, by flows and background tasks.")
    parser.add_argument("folder", nargs="?", metavar="DIR", help="what to take the inventory of")
    parser.add_argument("--serve", action="store_true", help="be a worker instead")
    parser.add_argument("--limit", type=int, default=10, help="files at once (default: %(default)s)")
    options = parser.parse_args()
    if options.serve:
        serve(inventory, inventory_folder, file_facts, limit=options.limit)
        return 0
    if options.folder is None:
        parser.error("say which folder, or --serve")
    root = os.path.realpath(options.folder)
    if not os.path.isdir(root):
        parser.error(f"{options.folder} is no folder")
    try:
        handle = inventory.with_options(run_name=f"inventory of {root}").delay(root)
        print(f"run {handle.id}", file=sys.stderr)
        print(json.dumps(handle.result(), indent=2))
    except (RunError, ServerUnavailable) as error:
        print(f"inventory.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
