"""An evaluation from beginning to end: the target's interpreter is started, followed, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from patcher import __version__
from patcher.errors import CannotTell, PatcherError
from patcher.evaluation.options import EvaluateOptions
from patcher.evaluation.patched import Patched
from patcher.evaluation.progress import Progress
from patcher.evaluation.reports import write_reports
from patcher.evaluation.results import LOG, open_results, start_or_resume
from patcher.evaluation.scenarios import ScenarioFile, check_scenarios
from patcher.model import Target
from patcher.storage.lock import LockTimeout

EVALUATOR = Path(__file__).parent.parent / "evaluator" / "__main__.py"
Document = dict[str, Any]

HINTS = {
    "no-device": "Name only devices of this machine with --devices, or leave it out.",
    "no-torch": "Install torch in that environment.",
    "model-not-loaded": "Name a folder that save_pretrained() wrote, or a model of the hub, with --model; "
    "{log} has all that was said.",
    "no-tokenizer": "Save the tokenizer to the model's folder too, with tokenizer.save_pretrained().",
    "no-chat-template": "Write the scenarios with prompt instead of messages, or evaluate a chat model.",
    "chat-template-failed": "Correct the messages, or write the scenario with prompt; see {log}.",
    "no-tokens": "Change or remove the prompt of the scenario.",
    "prompt-too-long": "Shorten the prompt, or use a smaller --max-new-tokens.",
    "out-of-memory": "Start again, in another folder, with a smaller --batch-size or --max-new-tokens, or with "
    "--dtype bfloat16.",
    "generation-failed": "See {log}. Finished scenarios are kept; continue with --resume.",
}
"""What to do about each failure that the evaluator tells of."""
UNAVAILABLE = ("no-device", "no-torch")


class Stopped(PatcherError):
    """Ctrl-C, or a signal that asks to end. The exit code is what shells expect of that."""

    exit_code = 130


def evaluate(
    target: Target, options: EvaluateOptions, patched: Patched, *, lock: LockTimeout, progress: Progress
) -> Document:
    """Evaluates the model in the target, and returns the document of report.json.

    Each result is on disk before the next batch begins. Whatever ends the evaluation, of what is done the reports are
    written.

    Raises PatcherError, as docs/evaluation.md lists; Stopped after Ctrl-C or SIGTERM.
    """
    options = options._replace(model=find_model(options.model))
    scenarios = check_scenarios(options.scenarios)
    try:
        with open_results(options.output, resume=options.resume, timeout=lock) as results:
            return _evaluate(target, options, patched, scenarios, results, progress)
    except KeyboardInterrupt:
        cause = f"Interrupted. Results and reports so far are in {options.output}."
        raise Stopped("interrupted", cause, "Run the same command with --resume to continue.") from None
    finally:
        progress.stop()


def find_model(name: str) -> str:
    """A folder as its absolute path, a name of the hub as it is. Raises PatcherError `model-not-loaded` for others."""
    path = Path(name).expanduser()
    if (path / "config.json").exists():
        return str(path.absolute())
    if not path.exists() and not name.startswith((".", "/", "~")) and name.count("/") <= 1:
        return name
    what = "has no config.json" if path.is_dir() else "is not a folder"
    hint = "Name a folder that save_pretrained() wrote, or a model on the Hub, such as org/name, with --model."
    raise PatcherError("model-not-loaded", f"{name} {what}.", hint)


def _evaluate(
    target: Target,
    options: EvaluateOptions,
    patched: Patched,
    scenarios: ScenarioFile,
    results: int,
    progress: Progress,
) -> Document:
    with _started(target, patched.environ, results, options.output / LOG) as evaluator:
        evaluator.ask(_request(options, scenarios, evaluator, results))
        progress.stage("importing torch")
        ready = evaluator.expect("ready")
        done = start_or_resume(options.output, results, _document(options, patched, scenarios, ready))
        try:
            if done < scenarios.rows:
                evaluator.ask(done)
                evaluator.follow(progress, done, scenarios.rows)
        finally:
            evaluator.end()
            report = write_reports(options.output)
    return report


def _request(options: EvaluateOptions, scenarios: ScenarioFile, evaluator: _Evaluator, results: int) -> Document:
    settings = {key: value for key, value in options._asdict().items() if key not in ("output", "resume")}
    return settings | {"scenarios": str(scenarios.path), "events": evaluator.events_descriptor, "results": results}


def _document(options: EvaluateOptions, patched: Patched, scenarios: ScenarioFile, ready: Document) -> Document:
    """The document of options.json."""
    settings = {key: value for key, value in options._asdict().items() if key not in ("output", "resume")}
    return {
        "schema": 1,
        "tool": __version__,
        **settings,
        "scenarios": {"path": str(scenarios.path), "sha256": scenarios.sha256, "rows": scenarios.rows},
        "devices": ready["devices"],
        "versions": ready["versions"],
        "patched": patched.how,
    }


class _Evaluator:
    """The evaluator in the target's interpreter, and what it tells."""

    def __init__(self, process: subprocess.Popen[bytes], events: IO[str], events_descriptor: int, log: Path) -> None:
        self._process, self._events, self._log = process, events, log
        self.events_descriptor = events_descriptor
        """What it calls the pipe that `events` is the other end of."""

    def ask(self, document: object) -> None:
        """Sends a line. If it has ended, what comes next tells so."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._process.stdin.fileno(), json.dumps(document).encode() + b"\n")

    def expect(self, event: str) -> Document:
        """The next event, which must be that one. Raises PatcherError for any other, or none."""
        for told in self._told():
            if told["event"] == event:
                return told
        raise self._died()

    def follow(self, progress: Progress, done: int, total: int) -> None:
        """Shows how far it is, until it is done. Raises PatcherError where it fails or ends before that."""
        for told in self._told():
            match told["event"]:
                case "stage":
                    progress.stage(told["text"])
                case "note":
                    progress.note(told["text"])
                case "started":
                    progress.start(done, total)
                case "progress":
                    progress.update(told["done"])
                case "done":
                    return
        raise self._died()

    def _told(self) -> Iterator[Document]:
        for line in self._events:
            told: Document = json.loads(line)
            if told["event"] == "failure":
                raise _failure(told["code"], told["message"], self._log)
            yield told

    def _died(self) -> PatcherError:
        status = self._process.wait()
        last = _last_line(self._log)
        why = (
            f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended: {last or 'it printed nothing'}"
        )
        hint = f"See {self._log}."
        if status == -signal.SIGKILL:
            hint = "This is usually a lack of memory. Finished scenarios are kept; continue with --resume."
        return PatcherError("evaluator-died", f"The interpreter that ran the model {why}.", hint)

    def end(self) -> None:
        """Kills it and what it started, if that is still there: each result that it told of is on disk."""
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # all are gone; macOS says the latter of the dead
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()


@contextmanager
def _started(target: Target, environ: Mapping[str, str], results: int, log: Path) -> Iterator[_Evaluator]:
    """The evaluator in a process group of its own, which Ctrl-C in a terminal does not reach."""
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as events:
        try:
            process = _start(target, environ, (writing, results), log)
        finally:
            os.close(writing)
        evaluator = _Evaluator(process, events, writing, log)
        try:
            yield evaluator
        finally:
            evaluator.end()


def _start(
    target: Target, environ: Mapping[str, str], descriptors: tuple[int, int], log: Path
) -> subprocess.Popen[bytes]:
    python = Path(str(target.python))
    with log.open("ab") as said:
        try:
            return subprocess.Popen(
                [str(python), str(EVALUATOR)], stdin=subprocess.PIPE, stdout=said, stderr=said, env=environ,
                start_new_session=True, pass_fds=descriptors,
            )  # fmt: skip
        except OSError as error:
            cause = f"{python} cannot be started: {error.strerror}."
            raise PatcherError("python-broken", cause, "Name a working Python, 3.8 or later, with --python.") from error


def _failure(code: str, message: str, log: Path) -> PatcherError:
    """What the evaluator says of why it cannot go on, with what to do about it."""
    hint = HINTS[code].format(log=log)
    return CannotTell(code, message, hint) if code in UNAVAILABLE else PatcherError(code, message, hint)


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-4096:].decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
