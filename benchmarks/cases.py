# SPDX-License-Identifier: MIT
"""The named benchmark cases: shapes of real models, and what each of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Cell = Literal["LSTM", "GRU", "RNN"]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
GROUPS = ("main", "extra", "ragged")


@dataclass(frozen=True)
class Case:
    """One recurrent stack and the batch that runs through it; sizes in elements."""

    name: str
    cell: Cell
    steps: int
    batch: int
    inputs: int
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    proj: int = 0
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    lengths: Literal["full", "uniform"] = "full"  # uniform: each row's length drawn from 1..steps
    group: Literal["main", "extra", "ragged"] = "main"
    source: str = ""

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def outputs(self) -> int:
        """Width of one direction's output."""
        return self.proj or self.hidden

    @property
    def ragged(self) -> bool:
        return self.lengths != "full"

    @property
    def shape(self) -> str:
        """The sizes in one short string, as shown in the tables."""
        text = f"{self.cell} T{self.steps} B{self.batch} I{self.inputs} H{self.hidden}"
        if self.layers > 1:
            text += f" x{self.layers}"
        if self.bidirectional:
            text += " bi"
        if self.proj:
            text += f" proj {self.proj}"
        if self.nonlinearity != "tanh":
            text += f" {self.nonlinearity}"
        if self.ragged:
            text += " ragged"
        return text

    def layer_inputs(self, layer: int) -> int:
        return self.inputs if layer == 0 else self.directions * self.outputs

    def input_weights(self, layer: int) -> int:
        """Elements of one direction's weight_ih."""
        return GATES[self.cell] * self.hidden * self.layer_inputs(layer)

    def recurrent_weights(self) -> int:
        """Elements of one direction's weight_hh, with the projection if there is one."""
        return GATES[self.cell] * self.hidden * self.outputs + self.proj * self.hidden

    def weight_bytes(self) -> int:
        """Bytes of all matrices in float32."""
        ih = sum(self.input_weights(layer) for layer in range(self.layers))
        return 4 * self.directions * (ih + self.layers * self.recurrent_weights())

    def flops(self, row_steps: int | None = None) -> float:
        """Floating-point operations of the matrix products of one forward pass.

        row_steps is the sum of the rows' lengths; steps * batch when not given.
        """
        rows = self.steps * self.batch if row_steps is None else row_steps
        return 2.0 * rows * self.weight_bytes() / 4

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def select(words: Sequence[str]) -> list[Case]:
    """Cases of the groups or with the name parts given ("all": every case); main ones if none."""
    if not words:
        words = ["main"]
    unknown = [word for word in words if not any(_matches(case, word) for case in CASES)]
    if unknown:
        raise ValueError(
            f"cases: expected 'all', a group ({', '.join(GROUPS)}) or a part of a case's name, "
            f"got {', '.join(map(repr, unknown))}"
        )
    return [case for case in CASES if any(_matches(case, word) for word in words)]


def _matches(case: Case, word: str) -> bool:
    return word in ("all", case.group) or (word not in GROUPS and word in case.name)


# name, cell, steps, batch, inputs, hidden, layers
MAIN = (
    Case("amp_lstm_40", "LSTM", 64, 1, 1, 40, source="guitar amplifier model, 64-sample buffer"),
    Case("vad_lstm_128", "LSTM", 1, 1, 128, 128, source="Silero VAD v5: one step per 32 ms"),
    Case("denoise_gru_384x3", "GRU", 1, 1, 384, 384, 3, source="RNNoise 0.2: one 10 ms frame"),
    Case("streams32_gru_512", "GRU", 1, 32, 256, 512, source="32 streams, one step each"),
    Case("text_rnn_32", "RNN", 500, 128, 32, 32, source="Keras IMDB SimpleRNN"),
    Case("text_lstm_32", "LSTM", 500, 128, 32, 32, source="Keras IMDB with an LSTM"),
    Case("forecast_lstm_40x3", "LSTM", 60, 100, 44, 40, 3, source="DeepAR class, 100 samples"),
    Case("speaker_bilstm_128x4", "LSTM", 293, 8, 60, 128, 4, True,
         source="pyannote segmentation, 5 s windows"),
    Case("ocr_line_bilstm_256x2", "LSTM", 26, 1, 512, 256, 2, True, source="CRNN, one text line"),
    Case("ocr_batch_bilstm_256x2", "LSTM", 26, 32, 512, 256, 2, True, source="CRNN, 32 lines"),
    Case("enhance_gru_256x2", "GRU", 500, 1, 256, 256, 2,
         source="speech enhancement, 5 s of 10 ms frames"),
    Case("speech_bigru_800", "GRU", 100, 1, 800, 800, 1, True,
         source="Deep Speech 2 class, one utterance"),
    Case("awd_lstm_1150", "LSTM", 70, 1, 400, 1150, source="AWD-LSTM first layer, one text"),
    Case("ptb_lstm_650x2", "LSTM", 35, 20, 650, 650, 2, source="PTB language model, medium"),
    Case("translate_lstm_1024", "LSTM", 25, 64, 1024, 1024, source="GNMT layer, 64 sentences"),
    Case("translate_gru_1024", "GRU", 50, 32, 1024, 1024, source="attention NMT, 32 sentences"),
    Case("speech_rnn_1760", "RNN", 50, 16, 1760, 1760, source="Deep Speech class vanilla RNN"),
    Case("transducer_lstmp_1024x2", "LSTM", 50, 1, 640, 1024, 2, proj=640,
         source="RNN-T prediction network class"),
)  # fmt: skip

EXTRA = (
    Case("amp_lstm_24", "LSTM", 64, 1, 1, 24, source="NAM standard LSTM, 64-sample buffer"),
    Case("amp_lstm_8x2", "LSTM", 64, 1, 1, 8, 2, source="NAM lite LSTM, 64-sample buffer"),
    Case("denoise_gru_96", "GRU", 1, 1, 114, 96, source="RNNoise 0.1 denoise GRU"),
    Case("denoise_lstm_128x2", "LSTM", 1, 1, 257, 128, 2, source="DTLN stage 1, 8 ms hop"),
    Case("transducer_lstm_320x2", "LSTM", 1, 1, 320, 320, 2, source="MLPerf RNN-T prediction"),
    Case("decoder_lstm_1024", "LSTM", 1, 1, 1536, 1024, source="Tacotron 2 decoder step"),
    Case("session_gru_512", "GRU", 1, 240, 512, 512, source="GRU4Rec, 240 sessions"),
    Case("sampling_lstm_40x2", "LSTM", 1, 3200, 60, 40, 2, source="DeepAR, 3200 sample paths"),
    Case("text_rnn_relu_32", "RNN", 500, 128, 32, 32, nonlinearity="relu",
         source="SimpleRNN with relu"),
    Case("easyocr_bilstm_256", "LSTM", 100, 1, 256, 256, 1, True, source="EasyOCR gen 2 block"),
    Case("crops_bilstm_128x2", "LSTM", 32, 64, 512, 128, 2, True, source="docTR CRNN, 64 crops"),
    Case("sar_lstm_512x2", "LSTM", 32, 64, 512, 512, 2, source="docTR SAR encoder"),
    Case("paddle_bilstm_48x2", "LSTM", 80, 6, 288, 48, 2, True, source="PaddleOCR light head"),
    Case("voice_lstm_256x3", "LSTM", 160, 32, 40, 256, 3, source="Resemblyzer, 1.6 s windows"),
    Case("unmix_bilstm_256x3", "LSTM", 258, 1, 512, 256, 3, True, source="Open-Unmix, 6 s"),
    Case("demucs_bilstm_192x2", "LSTM", 200, 16, 192, 192, 2, True,
         source="Hybrid Demucs DConv, windows as batch"),
    Case("chunk_lstm_2048", "LSTM", 16, 1, 2048, 2048, source="DeepSpeech, 16 steps per call"),
    Case("elmo_lstmp_1024", "LSTM", 25, 16, 128, 1024, proj=128, source="ELMo small layer"),
)  # fmt: skip

RAGGED = (
    Case("ragged_text_bilstm_256", "LSTM", 150, 32, 512, 256, 1, True,
         source="Tacotron 2 encoder"),
    Case("ragged_tagger_bilstm_256", "LSTM", 40, 32, 1024, 256, 1, True,
         source="sequence tagger, 32 sentences"),
    Case("ragged_voice_lstm_256x3", "LSTM", 160, 32, 40, 256, 3, source="speaker embedding"),
    Case("ragged_gru_256x2", "GRU", 100, 16, 256, 256, 2, source="speech commands"),
    Case("ragged_rnn_128", "RNN", 200, 64, 64, 128, source="character classifier"),
)  # fmt: skip

CASES = (
    *MAIN,
    *(replace(case, group="extra") for case in EXTRA),
    *(replace(case, group="ragged", lengths="uniform") for case in RAGGED),
)
