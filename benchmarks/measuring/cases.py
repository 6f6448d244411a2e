# SPDX-License-Identifier: MIT
"""The named benchmark cases, shapes of real models. They include those of `fastrnn bench`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastrnn import bench
from fastrnn.bench import Case

GROUPS = ("main", "extra", "ragged", "train")
SHORT = {case.name: case for case in bench.CASES}

MAIN = (
    SHORT["amp_lstm_40"],
    SHORT["vad_lstm_128"],
    SHORT["denoise_gru_384x3"],
    SHORT["streams32_gru_512"],
    SHORT["text_rnn_32"],
    Case("text_lstm_32", "LSTM", 500, 128, 32, 32, source="Keras IMDB with an LSTM"),
    SHORT["forecast_lstm_40x3"],
    Case("speaker_bilstm_128x4", "LSTM", 293, 8, 60, 128, 4, True,
         source="pyannote segmentation, 5 s windows"),
    SHORT["ocr_line_bilstm_256x2"],
    SHORT["ocr_batch_bilstm_256x2"],
    SHORT["enhance_gru_256x2"],
    Case("speech_bigru_800", "GRU", 100, 1, 800, 800, 1, True,
         source="Deep Speech 2 class, one utterance"),
    Case("awd_lstm_1150", "LSTM", 70, 1, 400, 1150, source="AWD-LSTM first layer, one text"),
    SHORT["ptb_lstm_650x2"],
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

SESSIONS = Case(
    "sessions_gru_100", "GRU", 20, 64, 100, 100, group="train", source="GRU4Rec, 64 sessions"
)

CASES = (
    *MAIN,
    *(replace(case, group="extra") for case in EXTRA),
    *(replace(case, group="ragged", lengths="uniform") for case in RAGGED),
    SESSIONS,
)

# The group `train`: models that are trained in batches. Most of them are also main cases.
TRAIN = tuple(
    case
    for name in (
        "text_rnn_32",
        "text_lstm_32",
        "forecast_lstm_40x3",
        "speaker_bilstm_128x4",
        "ocr_batch_bilstm_256x2",
        "sessions_gru_100",
        "ptb_lstm_650x2",
        "translate_lstm_1024",
        "translate_gru_1024",
    )
    for case in CASES
    if case.name == name
)


def select(words: Sequence[str]) -> list[Case]:
    """Cases of the given groups or with the given parts of names; the main ones by default."""
    chosen = list(TRAIN) if "train" in words else []
    others = [word for word in words if word != "train"]
    if others or not words:
        found = bench.select(others or ["main"], CASES)
        chosen += [case for case in found if case not in chosen]
    return chosen
