"""Speech and transcriptions as OpenAI serves them.

Source: OpenAI's OpenAPI document, `CreateSpeechRequest`, `CreateTranscriptionRequest` and the schemas of their answers
and events. The speech is silence as long as the text; the transcript says what was sent.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import orjson

from plano.demo.answers import Answer, count_prompt, split_tokens
from plano.demo.dialect import Event
from plano.demo.multipart import Upload
from plano.demo.openai import OpenAIDialect
from plano.demo.prompts import Prompt, PromptError, Turn, read_choice, require_model, require_text

SAMPLE_RATE = 24_000
SECONDS_PER_WORD = 0.05
BYTES_PER_SECOND = 16_000

_SPEECH_TYPES: Mapping[str, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_TEXT_TYPES: Mapping[str, str] = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "verbose_json": "application/json",
    "vtt": "text/vtt; charset=utf-8",
    "diarized_json": "application/json",
}
# ISO 11172-3, 2.4.1.3: a frame of layer III at 32 kbit/s and 24 kHz (MPEG-2), all zero: silence.
_MP3_FRAME = b"\xff\xf3\x44\xc4" + bytes(92)


class SpeechDialect(OpenAIDialect):
    """`POST /v1/audio/speech`."""

    name = "speech"

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the text to speak. Raises PromptError (400)."""
        text = require_text(body, "input")
        if not isinstance(body.get("voice"), str | dict):
            raise PromptError(
                400, "Missing required parameter: 'voice'.", param="voice", code="missing_required_parameter"
            )
        kind = read_choice(body, "response_format", tuple(_SPEECH_TYPES))
        stream = read_choice(body, "stream_format", ("audio", "sse")) == "sse"
        return Prompt(require_model(body), (Turn("user", text),), stream, options={"format": kind})

    def answer_type(self, prompt: Prompt) -> str:
        """Return the audio type that was asked for."""
        return _SPEECH_TYPES[prompt.options["format"]]

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return the whole audio."""
        return b"".join(_speak(prompt))

    def render_events(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """Yield the audio in base64, a word at a time."""
        pieces = list(_speak(prompt))
        for piece in pieces:
            yield _event("content", {"type": "speech.audio.delta", "audio": b64encode(piece).decode()})
        tokens = count_prompt(prompt)
        usage = {"input_tokens": tokens, "output_tokens": len(pieces), "total_tokens": tokens + len(pieces)}
        yield _event("done", {"type": "speech.audio.done", "usage": usage})


class TranscriptionsDialect(OpenAIDialect):
    """`POST /v1/audio/transcriptions` and `/v1/audio/translations`, both as multipart/form-data."""

    name = "transcriptions"

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return what there is to say about the file. Raises PromptError (400)."""
        model = require_model(body)
        file = body.get("file")
        if not isinstance(file, Upload):
            raise PromptError(
                400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter"
            )
        if not file.data:
            raise PromptError(400, "Audio file is too short. Minimum audio length is 0.1 seconds.", param="file")
        digest = sha256(file.data).hexdigest()[:8]
        text = f"You sent {file.name}, {len(file.data)} bytes that hash to {digest}."
        options = {
            "format": read_choice(body, "response_format", tuple(_TEXT_TYPES)),
            "text": text,
            "seconds": round(len(file.data) / BYTES_PER_SECOND, 3),
            "language": body.get("language") or "en",
        }
        return Prompt(model, (Turn("user", text),), str(body.get("stream")).lower() == "true", options=options)

    def answer_type(self, prompt: Prompt) -> str:
        """Return the type of the form that was asked for."""
        return _TEXT_TYPES[prompt.options["format"]]

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return the transcript in the form that was asked for."""
        text, seconds = prompt.options["text"], prompt.options["seconds"]
        match prompt.options["format"]:
            case "text":
                return f"{text}\n".encode()
            case "srt":
                return f"1\n00:00:00,000 --> {_clock(seconds, ',')}\n{text}\n\n".encode()
            case "vtt":
                return f"WEBVTT\n\n00:00:00.000 --> {_clock(seconds, '.')}\n{text}\n\n".encode()
            case "verbose_json" | "diarized_json":
                usage: dict[str, Any] = {"type": "duration", "seconds": seconds}
                whole = {"task": "transcribe", "language": str(prompt.options["language"]), "duration": seconds}
                return orjson.dumps({**whole, "text": text, "words": [], "segments": [], "usage": usage})
        return orjson.dumps({"text": text, "usage": _render_usage(prompt)})

    def render_events(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """Yield the transcript word by word."""
        for piece in split_tokens(prompt.options["text"]):
            yield _event("content", {"type": "transcript.text.delta", "delta": piece})
        last = {"type": "transcript.text.done", "text": prompt.options["text"], "usage": _render_usage(prompt)}
        yield _event("done", last)


def _event(kind: Any, data: dict[str, Any]) -> Event:
    return Event(kind, orjson.dumps(data), data["type"])


def _render_usage(prompt: Prompt) -> dict[str, Any]:
    output = len(split_tokens(prompt.options["text"]))
    audio = max(1, int(prompt.options["seconds"] * 10))
    return {
        "type": "tokens",
        "input_tokens": audio,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
        "output_tokens": output,
        "total_tokens": audio + output,
    }


def _speak(prompt: Prompt) -> Iterator[bytes]:
    """Yield audio of silence, one piece per word."""
    words = max(1, len(split_tokens(prompt.question)))
    kind = prompt.options["format"]
    samples = bytes(2 * int(SAMPLE_RATE * SECONDS_PER_WORD))
    if kind == "wav":
        yield _render_wav_header(len(samples) * words)
    for _ in range(words):
        yield samples if kind in ("wav", "pcm") else _MP3_FRAME


def _render_wav_header(size_bytes: int) -> bytes:
    """Return the header of 16-bit mono PCM (Microsoft, "Multiple channel audio data and WAVE files")."""
    form = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE, SAMPLE_RATE * 2, 2, 16)
    riff = struct.pack("<4sI4s", b"RIFF", 36 + size_bytes, b"WAVE")
    return riff + struct.pack("<4sI", b"fmt ", len(form)) + form + struct.pack("<4sI", b"data", size_bytes)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
