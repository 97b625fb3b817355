"""A BERT sentence encoder in TensorFlow: titles in, unit vectors out, in one SavedModel without side files.

Layers that work on one token at a time, nearly all of the arithmetic, run on the concatenated ("packed") tokens of the
batch, without padding. Only attention pads to the longest title.
BERT: Devlin et al. (2019), arXiv:1810.04805. Mean pooling: Reimers and Gurevych (2019), arXiv:1908.10084.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import tensorflow as tf

from recsys_tft.errors import InputError
from recsys_tft.titles.safetensors import read_safetensors
from recsys_tft.titles.wordpiece import WordPiece

Precision = Literal["float32", "bfloat16"]
# oneDNN keeps constant weights in the layout of the first batch, and reorders them for batches that need another one,
# which takes longer than the product. From 8 rows on, all batches need the same layout.
FEWEST_ROWS = 8
_EMBEDDINGS = ("word", "position", "token_type")


@dataclasses.dataclass(frozen=True)
class BertShape:
    """The dimensions of a BERT.

    Attributes:
        width: of a token's vector and of the result.
        layers: how many.
        heads: of attention; divides `width`.
        hidden: width inside a layer's feed-forward part.
        max_tokens: of a title, [CLS] and [SEP] included; the rest is cut off.
        epsilon: of the layer norms.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    max_tokens: int
    epsilon: float = 1e-12

    @classmethod
    def read(cls, folder: pathlib.Path) -> "BertShape":
        """From config.json, and max_seq_length of sentence_bert_config.json, as sentence-transformers does."""
        bert = json.loads((folder / "config.json").read_text("utf-8"))
        sentence = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
        if bert["hidden_act"] != "gelu" or bert.get("position_embedding_type", "absolute") != "absolute":
            raise InputError(f"{folder} is not a BERT with gelu and absolute positions; it has {bert}.")
        return cls(
            bert["hidden_size"], bert["num_hidden_layers"], bert["num_attention_heads"], bert["intermediate_size"],
            min(sentence["max_seq_length"], bert["max_position_embeddings"]), bert["layer_norm_eps"],
        )  # fmt: skip


class Bert(tf.Module):
    """Callable: [batch] tf.string of any bytes to [batch, width] float32 of length 1; '' is a title of no words.

    Args:
        shape: of the weights.
        weights: arrays by Hugging Face's names (`encoder.layer.0.attention.self.query.weight`, ...).
        vocabulary: tokens in the order of their ids.
        precision: of the dense layers; norms, softmax and pooling are float32 in either case.
    """

    def __init__(
        self,
        shape: BertShape,
        weights: Mapping[str, np.ndarray],
        vocabulary: list[str],
        precision: Precision = "float32",
    ) -> None:
        super().__init__(name="bert")
        if precision not in get_args(Precision):
            raise InputError(f"precision is {precision!r}; expected one of {', '.join(get_args(Precision))}.")
        self.shape = shape
        self.dtype = tf.as_dtype(precision)
        self.tokenizer = WordPiece(vocabulary, shape.max_tokens)
        word, position, kind = (weights[f"embeddings.{part}_embeddings.weight"] for part in _EMBEDDINGS)
        self.word = tf.Variable(word, trainable=False)
        self.position = tf.Variable(position + kind[0], trainable=False)  # all tokens of a title are of the first kind
        self.norm = _Norm(weights, "embeddings.LayerNorm", shape.epsilon)
        self.layers = [_Layer(shape, weights, f"encoder.layer.{k}", self.dtype) for k in range(shape.layers)]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="titles")], autograph=False)
    def __call__(self, titles: tf.Tensor) -> tf.Tensor:
        return self.encode(self.tokenizer(titles))

    def encode(self, tokens: tf.RaggedTensor) -> tf.Tensor:
        """[batch, (tokens)] int32 ids, none empty, to [batch, width] float32."""
        lengths, rows = tf.cast(tokens.row_lengths(), tf.int32), tf.cast(tokens.value_rowids(), tf.int32)
        places = _Places(lengths, self.shape.heads)
        position = tf.range(tf.size(rows)) - tf.gather(tf.cumsum(lengths, exclusive=True), rows)
        words, position = (tf.pad(ids, [[0, places.spare]]) for ids in (tokens.flat_values, position))
        states = self.norm(tf.gather(self.word, words) + tf.gather(self.position, position))
        for layer in self.layers:
            states = layer(states, places)
        pooled = tf.math.segment_mean(states[: tf.size(rows)], rows)
        return tf.ensure_shape(tf.math.l2_normalize(pooled, axis=1), [None, self.shape.width])


class _Places:
    """Positions of the packed tokens in the padded batch of attention, head by head.

    Attributes:
        padded: for query, key and value, [batch, heads, longest] int32 row of the packed [tokens * 3 * heads]; any row
            at padding.
        packed: [tokens + spare, heads] int32 row of the padded [batch * heads * longest].
        spare: unused rows of the packed arrays beyond the tokens.
        bias: [batch, 1, 1, longest] float32, 0 at a token, very negative at padding.
    """

    def __init__(self, lengths: tf.Tensor, heads: int) -> None:
        longest = tf.reduce_max(tf.concat([lengths, [0]], 0))
        real = tf.sequence_mask(lengths, longest)
        starts, within, head = tf.cumsum(lengths, exclusive=True), tf.range(longest), tf.range(heads)
        token = tf.where(real, starts[:, tf.newaxis] + within, 0)[:, tf.newaxis]
        self.padded = [token * (3 * heads) + (head + k * heads)[:, tf.newaxis] for k in range(3)]
        row, place = tf.unstack(tf.cast(tf.where(real), tf.int32), axis=1)
        tokens = tf.size(row)
        self.spare = tf.where(tokens > 0, tf.maximum(FEWEST_ROWS - tokens, 0), 0)
        packed = (row[:, tf.newaxis] * heads + head) * longest + place[:, tf.newaxis]
        self.packed = tf.pad(packed, [[0, self.spare], [0, 0]])
        self.bias = tf.where(real, 0.0, -1e9)[:, tf.newaxis, tf.newaxis]


class _Norm(tf.Module):
    """Layer norm of [tokens, width] float32."""

    def __init__(self, weights: Mapping[str, np.ndarray], name: str, epsilon: float) -> None:
        super().__init__()
        self.gamma = tf.Variable(weights[f"{name}.weight"], trainable=False)
        self.beta = tf.Variable(weights[f"{name}.bias"], trainable=False)
        self.epsilon = epsilon

    def __call__(self, states: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(states, axis=1, keepdims=True)
        centred = states - mean
        variance = tf.reduce_mean(tf.square(centred), axis=1, keepdims=True)
        return centred * tf.math.rsqrt(variance + self.epsilon) * self.gamma + self.beta


class _Dense(tf.Module):
    """[n, inputs] float32 to [n, outputs] of `dtype`; several named layers of the same input become one."""

    def __init__(self, weights: Mapping[str, np.ndarray], names: list[str], dtype: tf.DType) -> None:
        super().__init__()
        kernel = np.concatenate([weights[f"{name}.weight"].T for name in names], axis=1)
        self.kernel = tf.Variable(tf.cast(kernel, dtype), trainable=False)
        self.bias = tf.Variable(
            tf.cast(np.concatenate([weights[f"{name}.bias"] for name in names]), dtype), trainable=False
        )

    def __call__(self, states: tf.Tensor) -> tf.Tensor:
        return tf.nn.bias_add(tf.matmul(tf.cast(states, self.kernel.dtype), self.kernel), self.bias)


class _Layer(tf.Module):
    """Self-attention and feed-forward, each added to its input and normalised."""

    def __init__(self, shape: BertShape, weights: Mapping[str, np.ndarray], name: str, dtype: tf.DType) -> None:
        super().__init__()
        self.heads, self.depth = shape.heads, shape.width // shape.heads
        attention, parts = f"{name}.attention", ("query", "key", "value")
        self.query_key_value = _Dense(weights, [f"{attention}.self.{part}" for part in parts], dtype)
        self.attended = _Dense(weights, [f"{attention}.output.dense"], dtype)
        self.attended_norm = _Norm(weights, f"{attention}.output.LayerNorm", shape.epsilon)
        self.widen = _Dense(weights, [f"{name}.intermediate.dense"], dtype)
        self.narrow = _Dense(weights, [f"{name}.output.dense"], dtype)
        self.norm = _Norm(weights, f"{name}.output.LayerNorm", shape.epsilon)

    def __call__(self, states: tf.Tensor, places: _Places) -> tf.Tensor:
        mixed = self.attended(self._attention(self.query_key_value(states), places))
        states = self.attended_norm(states + tf.cast(mixed, tf.float32))
        wide = tf.nn.gelu(self.widen(states), approximate=False)
        return self.norm(states + tf.cast(self.narrow(wide), tf.float32))

    def _attention(self, projected: tf.Tensor, places: _Places) -> tf.Tensor:
        """[tokens, 3 * width] queries, keys and values to [tokens, width]."""
        parts = tf.reshape(projected, [-1, self.depth])
        query, key, value = (tf.gather(parts, place) for place in places.padded)
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32) * self.depth**-0.5
        context = tf.reshape(tf.matmul(tf.cast(_softmax(scores + places.bias), value.dtype), value), [-1, self.depth])
        return tf.reshape(tf.gather(context, places.packed), [-1, self.heads * self.depth])


def _softmax(scores: tf.Tensor) -> tf.Tensor:
    """Softmax over the last axis; faster for few titles than `tf.nn.softmax`, whose oneDNN kernel starts slowly."""
    powers = tf.exp(scores - tf.reduce_max(scores, axis=-1, keepdims=True))
    return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)


def read(folder: str | os.PathLike[str], precision: Precision = "float32") -> Bert:
    """Read the encoder in a folder of sentence-transformers; InputError if it is of another kind, or damaged."""
    folder = pathlib.Path(folder)
    vocabulary = (folder / "vocab.txt").read_text("utf-8").removesuffix("\n").split("\n")
    return Bert(BertShape.read(folder), read_safetensors(folder / "model.safetensors"), vocabulary, precision)
