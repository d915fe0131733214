"""Transactions."""

from prefect import flow, task
from prefect.transactions import get_transaction, transaction


@task
def write(name: str) -> None:
    get_transaction().set("name", name)
    print("write", name)


@write.on_rollback
def remove(txn) -> None:
    print("remove", txn.get("name"))


@write.on_commit
def confirm(txn) -> None:
    print("keep", txn.get("name"))


@task
def check(is_good: bool) -> None:
    if not is_good:
        raise ValueError("bad")


@flow
def pipeline(is_good: bool) -> None:
    with transaction() as txn:
        write("a")
        write.submit("b").result()
        check(is_good)
    print("committed", txn.is_committed())


if __name__ == "__main__":
    pipeline(True)
    print(pipeline(False, return_state=True).name)
