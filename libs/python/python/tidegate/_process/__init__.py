"""Executing runs in processes of their own.

The process that was given a run (a worker, or a flow with a process pool) keeps its stream, its lease and its reports.
A child executes the code, and tells its parent the end over a pipe. A child that dies is therefore one run that has
crashed, with its cause, and nothing else.

- `protocol`: the words that go over the pipe.
- `child`: the life of the child.
- `process`: the parent's side of one child, and `death`: what its exit code means.
- `pool`: children that are kept warm, and `warden`: what ends them when their parent has been killed.
- `execution`: one run in a child; `attempt`: one that a worker was given, and `local`: one that this process has called.
- `reference`: how a function travels.
"""

from __future__ import annotations

#: True in a child, while it imports the script that its parent was started with.
is_importing = False
#: `module:function` of what every child calls before it imports that script.
before_main: list[str] = []
