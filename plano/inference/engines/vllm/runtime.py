"""One model in vLLM: a thread with an event loop of its own, the `AsyncLLM` on it, and who uses it.

`AsyncLLM` is made by a call that blocks until the weights are loaded, and it tokenizes and detokenizes on its loop. On
a thread of its own neither stands in the way of the server's answers. The model itself computes in a process that vLLM
starts (the engine core). Its parent, for Linux' parent-death signal, is the thread here: it lives as long as the model.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import signal
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from plano.inference.engines.engine import EngineError
from plano.inference.engines.vllm.arguments import ModelKey, build_arguments, prepare_environment
from plano.inference.engines.vllm.figures import Figures, make_stat_logger
from plano.inference.engines.vllm.lifeline import LAST_WORDS_VARIABLE

log = logging.getLogger(__name__)

T = TypeVar("T")

_WATCH_S: Final = 0.2  # how often a dead engine core is looked for
_GRACE_S: Final = 8.0  # for the engine core to end, before it is killed
_CREATED = threading.Lock()  # vLLM keeps its settings in globals while it starts: one model at a time


class Runtime:
    """A loaded model. `acquire` and `release` are for the server's thread; coroutines run by `begin` and `run`, and
    what they call here (`generate`, `classify`), are on the model's own loop."""

    def __init__(self, key: ModelKey) -> None:
        self.key = key
        self.figures = Figures()
        self.core_pids: tuple[int, ...] = ()
        self.max_tokens = 0  # of prompt and answer together
        self.tokenizer: Any = None
        self.model_config: Any = None
        self.failure: str | None = None  # why the model is no longer there
        self._users = 0
        self._ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._llm: Any = None
        self._lora: Any = None
        self._sequence = itertools.count(1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._live, name=f"vllm {key.model}", daemon=True)

    # -- on the server's thread ---------------------------------------------------------------------------------------

    @classmethod
    async def acquire(cls, key: ModelKey) -> Runtime:
        """The runtime of a model, loaded if nobody has it yet. Raises EngineError when it cannot be loaded."""
        runtime = _RUNTIMES.get(key)
        if runtime is None or runtime.failure is not None:
            runtime = _RUNTIMES[key] = cls(key)
            runtime._thread.start()
        runtime._users += 1
        try:
            await asyncio.shield(asyncio.wrap_future(runtime._ready))
        except BaseException:
            await runtime.release()
            raise
        return runtime

    async def release(self) -> None:
        """One user less; the last one ends the model and waits until its processes are gone."""
        self._users -= 1
        if self._users > 0:
            return
        if _RUNTIMES.get(self.key) is self:
            del _RUNTIMES[self.key]
        if self._closing is not None:
            self.call(self._closing.set)
        if self._ready.done():  # while vLLM loads it cannot be interrupted; the thread then ends by itself
            await asyncio.to_thread(self._thread.join, _GRACE_S + 4.0)

    def begin(self, work: Coroutine[Any, Any, None]) -> bool:
        """Starts a coroutine on the model's loop. False, and the coroutine is closed, when the loop has ended."""
        begun = self.call(partial(self._keep, work))
        if not begun:
            work.close()
        return begun

    def call(self, function: Callable[[], None]) -> bool:
        """Calls a function on the model's loop. False when the loop has ended."""
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            log.debug("%s: its loop has ended", self.key.model)
            return False
        return True

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that runs on the model's loop. Raises what it raises, and EngineError when the
        model goes meanwhile."""
        loop = self._loop
        if loop is None or self.failure is not None:
            work.close()
            raise EngineError(self.failure or "the model is not loaded")
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._tracked(work), loop))
        except asyncio.CancelledError:
            if self.failure is not None:
                raise EngineError(self.failure) from None
            raise

    # -- on the model's loop ------------------------------------------------------------------------------------------

    async def generate(
        self, prompt_ids: Sequence[int], params: Any, traceparent: bytes = b""
    ) -> AsyncGenerator[Any, None]:
        """vLLM's outputs for a prompt. Leaving early, or being cancelled, aborts the request in the engine."""
        outputs = self._llm.generate(
            {"type": "token", "prompt_token_ids": list(prompt_ids)},
            params,
            f"g{next(self._sequence)}",
            lora_request=self._lora,
            trace_headers=self._trace(traceparent),
        )
        try:
            async for output in outputs:
                yield output
        finally:
            await outputs.aclose()

    async def classify(self, prompt_ids: Sequence[int], params: Any, traceparent: bytes = b"") -> Any:
        """vLLM's pooling output for a prompt. Being cancelled aborts the request in the engine."""
        outputs = self._llm.encode(
            {"type": "token", "prompt_token_ids": list(prompt_ids)},
            params,
            f"c{next(self._sequence)}",
            lora_request=self._lora,
            trace_headers=self._trace(traceparent),
        )
        last: Any = None
        async for output in outputs:
            last = output
        return last

    def _trace(self, traceparent: bytes) -> dict[str, str] | None:
        """vLLM's own spans hang on the caller's, where `engine_args` name an `otlp_traces_endpoint`."""
        if not traceparent or self._llm.observability_config.otlp_traces_endpoint is None:
            return None
        return {"traceparent": traceparent.decode("ascii", "replace")}

    def unfinished(self) -> int:
        """How many requests the engine has, as vLLM counts them on this side."""
        return int(self._llm.get_num_unfinished_requests())

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        with tempfile.TemporaryDirectory(prefix="plano-vllm-") as folder:
            self._last_words = Path(folder) / "last-words"
            self._live_in_loop()

    def _live_in_loop(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except Exception as error:  # the thread's last words, for whoever waits for the model
            self._fail(f"vLLM failed: {explain(error)}")
            if self._ready.done():
                log.exception("the thread of %s failed", self.key.model)
            else:
                self._ready.set_exception(error if isinstance(error, EngineError) else EngineError(str(self.failure)))

    async def _serve(self) -> None:
        self._closing = asyncio.Event()
        with _CREATED:
            self._load()
        self._loop = asyncio.get_running_loop()
        self._ready.set_result(None)
        watch = asyncio.create_task(self._watch(), name="watch")
        if self._users > 0:
            await self._closing.wait()
        watch.cancel()
        self._fail("the model has been closed")
        self._end_tasks()
        await asyncio.gather(watch, *self._tasks, return_exceptions=True)
        llm, self._llm = self._llm, None
        if llm.output_handler is not None:
            llm.output_handler.cancel()  # else it takes the end for a failure
        await asyncio.to_thread(llm.shutdown, _GRACE_S)
        del llm
        gc.collect()  # it has a finalizer, and is part of a cycle: at the interpreter's end it would complain

    def _load(self) -> None:
        prepare_environment()
        os.environ[LAST_WORDS_VARIABLE] = str(self._last_words)
        try:
            arguments = build_arguments(self.key)
            from vllm.v1.engine.async_llm import AsyncLLM

            self._llm = AsyncLLM.from_engine_args(arguments.engine, stat_loggers=[make_stat_logger(self.figures)])
        except EngineError:
            raise
        except Exception as error:
            cause = self._heard() or explain(error)
            raise EngineError(f"vLLM could not load {self.key.model}: {cause} (its log, above, says more)") from error
        finally:
            del os.environ[LAST_WORDS_VARIABLE]
        self.tokenizer = self._llm.get_tokenizer()
        self.model_config = self._llm.model_config
        self.max_tokens = int(self._llm.model_config.max_model_len)
        self.core_pids = tuple(process.pid for process in self._cores())
        if arguments.lora_path is not None:
            from vllm.lora.request import LoRARequest

            self._lora = LoRARequest("adapter", 1, arguments.lora_path)

    async def _watch(self) -> None:
        """Notices a dead engine core, and ends what waits for it: vLLM does not promise that it will."""
        while not self._llm.errored:  # noqa: ASYNC110 - vLLM has a flag to look at and no event to wait for
            await asyncio.sleep(_WATCH_S)
        self._fail(self._describe_death())
        self._end_tasks()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tracked(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await work

    def _end_tasks(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    def _fail(self, cause: str) -> None:
        self.failure = self.failure or cause

    def _cores(self) -> list[Any]:
        manager = getattr(self._llm.engine_core.resources, "engine_manager", None)
        return list(getattr(manager, "processes", ()))

    def _heard(self) -> str | None:
        """The first exception that the engine core has logged."""
        try:
            return _first_line(self._last_words.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return None

    def _describe_death(self) -> str:
        words = self._heard()
        if words is not None:
            return f"vLLM's engine core has failed: {words}"
        for process in self._cores():
            status = process.exitcode
            if status is not None and status < 0:
                return f"vLLM's engine core (pid {process.pid}) was killed by {_signal_name(-status)}"
            if status:
                return f"vLLM's engine core (pid {process.pid}) ended with exit status {status}; its log says why"
        return "vLLM's engine core has failed; its log says why"


_RUNTIMES: Final[dict[ModelKey, Runtime]] = {}


def explain(error: BaseException) -> str:
    """The first line that says something, of an exception of vLLM's; at most 300 characters."""
    return f"{type(error).__name__}: {_first_line(str(error))}".rstrip(": ")


def _first_line(text: str) -> str:
    """Pydantic puts a heading before what it has to say."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and "validation error" not in line), "")[:300]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
