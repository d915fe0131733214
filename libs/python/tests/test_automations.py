"""Automations: what the server does when something happens to a run, against a real server and a real web server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import pytest

import process_work
import work_authoring
from conftest import PATIENCE, Processes, until
from test_end_to_end import lines_of
from test_processes import is_alive
from tidegate import AlreadyExists, InvalidArgument, NotFound, RunCrashed, flow, tags
from tidegate.automations import Automation, Webhook, webhook

pytestmark = pytest.mark.usefixtures("server")

KEY = b"a key of thirty-two bytes, or so"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
#: Other tests have runs in the same namespace.
OF_NOBODY = 'tags:"a tag that no run has"'


class Told(NamedTuple):
    """A request that the web server got."""

    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def run_id(self) -> str:
        run_id: str = self.content["data"]["run"]["id"]
        return run_id


class Web(ThreadingHTTPServer):
    """A web server that keeps what it is told, and answers with `status`."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.status = 204
        super().__init__(("127.0.0.1", 0), _Page)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/page"


class _Page(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append(Told({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.shutdown()
    web.server_close()


@pytest.fixture
def name() -> Iterator[str]:
    """An automation of this test alone; it is gone afterwards."""
    name = f"a-{uuid.uuid4().hex[:12]}"
    yield name
    Automation.delete(name)


@pytest.fixture
def queue() -> str:
    """A queue of this test alone."""
    return f"q-{uuid.uuid4().hex[:12]}"


def test_a_run_that_died_with_its_worker_is_told_to_a_webhook(
    processes: Processes, queue: str, name: str, web: Web, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    page = webhook(web.url, headers={"Authorization": "Bearer abc"}, signing_secret=SECRET)
    Automation.set(name, page, state="CRASHED", filter=f'queue = "{queue}"')
    worker = processes.worker("work_authoring.py", queue, own_group=True)
    handle = work_authoring.hooked_flow.with_options(queue=queue, max_crashes=0).delay(str(path), "hang")
    begun = json.loads(until(lambda: lines_of(path))[0])
    until(lambda: handle.state.is_running())
    os.killpg(worker.pid, signal.SIGKILL)
    until(lambda: not is_alive(begun["pid"]))

    told = until(lambda: web.told)[0]
    content, run = told.content, told.content["data"]["run"]
    assert (content["type"], content["data"]["automation"]) == ("tidegate.run.state", name)
    assert (content["data"]["event"]["state"], content["data"]["event"]["ended"]) == ("CRASHED", True)
    assert (run["id"], run["kind"], run["name"]) == (handle.id, "flow", work_authoring.hooked_flow.name)
    assert (run["state"], run["queue"], run["crashes"]) == ("CRASHED", queue, 1)
    assert handle.id in content["text"] and "CRASHED" in content["text"]
    assert told.headers["authorization"] == "Bearer abc"
    signed = f"{told.headers['webhook-id']}.{told.headers['webhook-timestamp']}.".encode() + told.body
    signature = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert f"v1,{signature}" in told.headers["webhook-signature"].split()
    assert {told.run_id for told in web.told} == {handle.id}

    until(lambda: Automation.get(name).n_succeeded == 1)
    assert Automation.firings(name) == []
    assert [json.loads(line)["state"] for line in lines_of(path)] == ["RUNNING"], "no hook was called of its crash"


def test_of_runs_that_crash_those_with_the_tag_are_told(
    processes: Processes, queue: str, name: str, web: Web
) -> None:
    tag = f"nightly-{queue}"
    Automation.set(name, webhook(web.url), state="CRASHED", filter=f'tags:"{tag}"')
    processes.worker("process_work.py", queue)
    dies = process_work.dies.with_options(queue=queue)
    with_tag = dies.with_options(tags=[tag, "other"]).delay("SIGKILL")
    without_tag = dies.with_options(tags=["other"]).delay("SIGKILL")
    for handle in (with_tag, without_tag):
        with pytest.raises(RunCrashed):
            handle.result(timeout=PATIENCE)
    # Both have set it off, as the filter is asked later: once there is nothing left, both were decided on.
    until(lambda: web.told and not Automation.firings(name))
    assert {told.run_id for told in web.told} == {with_tag.id}
    assert tag in web.told[0].content["data"]["run"]["tags"]
    assert "webhook-signature" not in web.told[0].headers
    assert Automation.get(name).n_succeeded == 1


def test_what_a_web_server_refuses_is_given_up_and_shown(name: str, web: Web) -> None:
    web.status = 400
    Automation.set(name, webhook(web.url), state="FAILED", filter=f'tags:"{name}"')

    @flow
    def nightly() -> None:
        raise ValueError("no")

    with tags(name), pytest.raises(ValueError, match="no"):
        nightly()
    until(lambda: Automation.get(name).n_given_up == 1)
    (firing,) = Automation.firings(name)
    assert (firing.run_id, firing.state.type, firing.n_tries) == (web.told[0].run_id, "FAILED", 1)
    assert firing.due_at is None and firing.given_up_at is not None and firing.entered_at <= firing.given_up_at
    automation = Automation.get(name)
    assert "400" in firing.last_error and automation.last_error == firing.last_error
    assert (automation.n_succeeded, automation.last_succeeded_at) == (0, None)
    assert asyncio.run(_firings(name)) == [firing]


async def _firings(name: str) -> Any:
    found = await Automation.afirings(name, limit=1)
    assert await Automation.firings(name) == found
    return found


def test_automations_are_made_read_changed_and_deleted(name: str) -> None:
    with pytest.raises(NotFound, match=f"`{name}`"):
        Automation.get(name)
    page = webhook("https://hooks.example.com/page", headers={"Authorization": "Bearer abc"}, signing_secret=SECRET)
    made = Automation.set(
        name, page, state=["failed", "CRASHED"], state_name="Late", filter=OF_NOBODY, description="for Ada"
    )
    assert (made.name, made.description, made.filter, made.each_attempt) == (name, "for Ada", OF_NOBODY, False)
    assert (sorted(made.states), made.state_names) == (["CRASHED", "FAILED"], ["Late"])
    assert (made.is_paused, made.n_succeeded, made.n_given_up, made.last_error) == (False, 0, 0, "")
    assert made.action.url == page.url
    assert {header.lower(): value for header, value in made.action.headers.items()} == {"authorization": ""}
    assert made.action.signing_secret == "whsec_", "it keeps its secrets"
    assert Automation.get(name) == made
    assert made in Automation.ls()

    with pytest.raises(AlreadyExists, match=f"`{name}`"):
        Automation.set(name, page, state="CRASHED", filter=OF_NOBODY)
    assert Automation.pause(name).is_paused
    plain = webhook("http://hooks.example.com/other", timeout_seconds=2.5)
    changed = Automation.set(
        name, plain, state_name=["TimedOut"], filter=OF_NOBODY, each_attempt=True, overwrite=True
    )
    assert (changed.states, changed.state_names, changed.filter) == ([], ["TimedOut"], OF_NOBODY)
    assert changed.action == plain and changed.each_attempt and changed.description == ""
    assert changed.is_paused, "that stays"
    assert (changed.created_at, changed.updated_at > made.updated_at) == (made.created_at, True)
    assert not Automation.resume(name).is_paused
    assert Automation.delete(name) is True
    assert Automation.delete(name) is False


def test_automations_from_async_code(name: str) -> None:
    async def use() -> None:
        page = webhook("https://hooks.example.com/page")
        made = await Automation.aset(name, page, state="CRASHED", filter=OF_NOBODY)
        assert made == await Automation.aget(name) == await Automation.get(name)
        assert made in await Automation.als() and made in await Automation.ls()
        assert (await Automation.apause(name)).is_paused
        assert (await Automation.pause(name)).is_paused, "it is already"
        assert not (await Automation.aresume(name)).is_paused
        assert not (await Automation.resume(name)).is_paused
        await Automation.set(name, page, state="FAILED", filter=OF_NOBODY, overwrite=True)
        assert await Automation.adelete(name) is True
        assert await Automation.delete(name) is False

    asyncio.run(use())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"action": webhook("ftp://example.com")}, "url"),
        ({"action": webhook("https://")}, "url"),
        ({"action": webhook("https://a.example", headers={"Host": "b.example"})}, "headers"),
        ({"action": webhook("https://a.example", headers={"X-Team": "a\nb"})}, "headers"),
        ({"action": webhook("https://a.example", signing_secret="whsec_YWJj")}, "signing_secret"),
        ({"action": webhook("https://a.example", timeout_seconds=31)}, "timeout"),
        ({"action": "https://a.example"}, r"webhook\('https://…'\)"),
        ({"state": "CRASHD"}, "there is no state 'CRASHD'; the states are SCHEDULED"),
        ({"state": ()}, "trigger"),
        ({"state_name": ["Late", "Late"]}, "state_names"),
        ({"filter": 'nmae = "nightly"'}, "filter.*nmae"),
        ({"filter": "kind = "}, "filter"),
        ({"name": "not a name"}, "name"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(name: str, options: dict[str, Any], told: str) -> None:
    right: dict[str, Any] = {"name": name, "action": webhook("https://a.example"), "state": "CRASHED"}
    with pytest.raises(InvalidArgument, match=told):
        Automation.set(**{**right, **options})
    with pytest.raises(NotFound):
        Automation.get(name)


def test_what_is_no_webhook_is_told_where_it_is_made() -> None:
    for options, told in [
        ({"url": 7}, "webhook.url=7"),
        ({"headers": {"Authorization": 7}}, "the value of 'Authorization' is a int"),
        ({"signing_secret": b"abc"}, "signing_secret=….*bytes"),
        ({"timeout_seconds": "10s"}, "timeout_seconds='10s'"),
    ]:
        with pytest.raises(InvalidArgument, match=told):
            webhook(**{"url": "https://a.example", **options})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="limit=0"):
        Automation.firings("a", limit=0)


def test_secrets_are_neither_printed_nor_told_in_errors(name: str) -> None:
    page = webhook("https://a.example", headers={"Authorization": "Bearer abc"}, signing_secret=SECRET)
    assert repr(page) == "Webhook(url='https://a.example', headers=['Authorization'], timeout_seconds=None)"
    for wrong, secret in [
        (Webhook("https://ada:hunter2@a.example", {}, "", None), "hunter2"),
        (Webhook("https://a.example", {"X-Team": "hunter2\n"}, "", None), "hunter2"),
        (Webhook("https://a.example", {}, "whsec_hunter2", None), "hunter2"),
    ]:
        with pytest.raises(InvalidArgument) as refused:
            Automation.set(name, wrong, state="CRASHED")
        assert secret not in str(refused.value)
