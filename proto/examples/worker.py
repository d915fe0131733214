"""A worker written from the proto alone: grpcio and generated stubs. `../README.md` walks through it."""

import asyncio
import json
import os
import signal
import uuid

import grpc
from tidegate.v1 import system_service_pb2_grpc, worker_service_pb2_grpc
from tidegate.v1.payload_pb2 import Failure, Payload
from tidegate.v1.run_pb2 import Report
from tidegate.v1.system_service_pb2 import GetEndpointsRequest
from tidegate.v1.worker_service_pb2 import Credits, Function, Heartbeat, HeldRun, Hello, Reports, WorkRequest

SLOTS = 4
TARGET = os.environ.get("TIDEGATE_ADDRESS", "http://127.0.0.1:4400").removeprefix("http://")
REPEATED = ("DEPENDENCY_UNAVAILABLE", "OVERLOADED", "DRAINING", "INTERNAL")


async def greet(name):
    return f"hello {name}"


async def count(to):
    for _ in range(to):
        await asyncio.sleep(0.05)  # where a cancel or a timeout gets in
    return to


TASKS = {"greet": greet, "count": count}


class Worker:
    def __init__(self):
        self.id = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.held = {}  # (run id, epoch) -> the asyncio task that executes it, None once it has ended
        self.unanswered = {}  # (run id, epoch) -> its reports that no outcome has come for, in order
        self.stopping, self.interval, self.out = False, 1.0, asyncio.Queue()

    async def run(self):
        self.loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.drain)
        while self.held or not self.stopping:
            try:
                await self.stream()
            except grpc.aio.AioRpcError as error:
                if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
                    raise  # what this worker says is wrong, and will be at the next try
                print(f"connecting again: {error.details()}", flush=True)
                await asyncio.sleep(1)  # what it holds goes on meanwhile, and keeps its lease for some seconds

    async def stream(self):
        async with grpc.aio.insecure_channel(TARGET) as channel:
            endpoints = await system_service_pb2_grpc.SystemServiceStub(channel).GetEndpoints(GetEndpointsRequest())
        self.out, heartbeats = asyncio.Queue(), asyncio.create_task(self.heartbeats())
        async with grpc.aio.insecure_channel(endpoints.task_queue_address.removeprefix("http://") or TARGET) as channel:
            try:
                async for message in worker_service_pb2_grpc.WorkerServiceStub(channel).Work(self.messages()):
                    kind = message.WhichOneof("message")
                    if kind == "welcome":
                        self.interval = message.welcome.heartbeat_interval.ToTimedelta().total_seconds()
                        print(f"serving {', '.join(TASKS)}", flush=True)
                    elif kind == "reconnect":
                        return await asyncio.sleep(message.reconnect.delay.ToTimedelta().total_seconds())
                    elif kind == "drain":
                        self.drain()
                    for assign in message.assignments.assigns:  # empty in a message of another kind
                        self.take(assign)
                    for outcome in message.outcomes.outcomes:
                        self.answered(outcome)
                    for cancel in message.cancels.cancels:
                        self.stop((cancel.run_id, cancel.epoch))
            finally:
                heartbeats.cancel()

    async def messages(self):
        functions = [Function(kind="RUN_KIND_TASK", name=name) for name in TASKS]
        yield WorkRequest(hello=Hello(protocol_version=1, worker_id=self.id, queues=["default"], functions=functions))
        yield WorkRequest(reports=Reports(reports=sum(self.unanswered.values(), [])))
        self.room(SLOTS - len(self.held))
        while (message := await self.out.get()) is not None:
            yield message

    async def heartbeats(self):  # the first tells a new stream what is held from an earlier one
        while True:
            held = [HeldRun(run_id=run_id, epoch=epoch) for run_id, epoch in self.held]
            self.out.put_nowait(WorkRequest(heartbeat=Heartbeat(runs=held, is_draining=self.stopping)))
            await asyncio.sleep(self.interval)

    def drain(self):
        self.stopping = True
        self.room(0)

    def room(self, slots):
        if not self.stopping:
            self.out.put_nowait(WorkRequest(credits=Credits(tasks=slots)))
        elif not self.held:
            self.out.put_nowait(None)  # half-closes the stream, which the service then ends

    def take(self, assign):
        key = (assign.run_id, assign.epoch)
        self.held[key] = None if self.stopping else asyncio.create_task(self.execute(key, assign))
        if self.stopping:
            self.report(key, released=Report.Released())

    def report(self, key, **event):
        report = Report(run_id=key[0], epoch=key[1], **event)
        self.unanswered.setdefault(key, []).append(report)
        self.out.put_nowait(WorkRequest(reports=Reports(reports=[report])))

    async def execute(self, key, assign):
        self.report(key, started=Report.Started())
        timeout = assign.run_timeout.ToTimedelta().total_seconds() or None
        try:
            value = await asyncio.wait_for(TASKS[assign.name](**json.loads(assign.parameters.data)), timeout)
            result = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())
            end = {"completed": Report.Completed(result=result)}
        except asyncio.TimeoutError:
            end = {"timed_out": Report.TimedOut()}
        except asyncio.CancelledError:
            end = {"cancelled": Report.Cancelled()}
        except Exception as error:
            end = {"failed": Failure(error_type=type(error).__name__, message=str(error))}
        self.held[key] = None
        self.report(key, **end)

    def answered(self, outcome):
        key = (outcome.run_id, outcome.epoch)
        if not (waiting := self.unanswered.get(key)):
            return  # the answer to a repeat
        if not outcome.accepted and outcome.reason in REPEATED:
            again = WorkRequest(reports=Reports(reports=waiting))
            return self.loop.call_later(0.5, self.out.put_nowait, again)
        waiting.pop(0)
        if not outcome.accepted:
            self.stop(key)  # the run is not this worker's any more
        if not waiting and self.held[key] is None:  # its end is answered: the slot is free
            del self.held[key], self.unanswered[key]
            self.room(1)

    def stop(self, key):
        if running := self.held.get(key):  # raises CancelledError in the code, which has begun by then
            self.loop.call_soon(running.cancel)


if __name__ == "__main__":
    asyncio.run(Worker().run())
