"""Names that are not there."""

import sys

import prefect
from prefect import flow

assert "prefect" in sys.modules and not hasattr(prefect, "nothing")
for statement in ("from prefect.blocks.system import Secret", "from prefect import nothing", "import prefect.nothing"):
    try:
        exec(statement)
    except ImportError as error:
        print(f"{statement}: {error}")
try:
    flow(infrastructure="k8s")(lambda: None)
except TypeError as error:
    print(error)


@flow
def nightly() -> None: ...


for call in (lambda: nightly.visualize(), lambda: nightly.from_source("x", "flows.py:nightly")):
    try:
        call()
    except (AttributeError, NotImplementedError) as error:
        print(error)
print(sys.argv[1:], __name__, prefect.futures.wait.__name__)
