"""Results that are kept and used again."""

import sys
from datetime import timedelta

from prefect import flow, task
from prefect.cache_policies import INPUTS, NO_CACHE, TASK_SOURCE
from prefect.tasks import exponential_backoff, task_input_hash

calls: list[str] = []
tries: list[str] = []


@task(cache_policy=INPUTS + TASK_SOURCE - "verbose", cache_expiration=timedelta(hours=1), persist_result=True)
def by_inputs(key: str, verbose: bool) -> str:
    calls.append(key)
    return key.upper()


@task(cache_key_fn=task_input_hash, cache_expiration=timedelta(hours=1), result_serializer="json")
def by_hash(key: str) -> dict:
    calls.append(key)
    return {"key": key}


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=exponential_backoff(backoff_factor=0.01))
def never(key: str) -> None:
    tries.append(key)
    if len(tries) < 3:
        raise ValueError("not yet")


@flow
def main(key: str) -> None:
    print(by_inputs(key, verbose=True), by_inputs(key, verbose=False), len(calls))
    print(by_hash(key), by_hash.submit(key).result(), len(calls))
    by_inputs.with_options(refresh_cache=True)(key, verbose=True)
    print(by_hash(key, return_state=True).result(), len(calls))
    never(key)
    print(len(tries))
    apart = by_inputs.with_options(cache_policy=INPUTS.configure(key_storage="/caches/apart") - "verbose")
    before = len(calls)
    print(apart(key, verbose=True), apart(key, verbose=False), len(calls) - before)
    try:
        INPUTS.configure(isolation_level="SERIALIZABLE")
    except NotImplementedError as error:
        print(error)


if __name__ == "__main__":
    main(sys.argv[1])
