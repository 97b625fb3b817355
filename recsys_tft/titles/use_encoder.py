"""The Universal Sentence Encoder, multilingual, in TensorFlow: titles in, unit vectors out, in one SavedModel.

Pieces of a title are embedded; three convolutions, over 2, 3 and 5 neighbours, read them; the sum of all that goes
through a few dense layers. Tokens of a batch are laid end to end, so that no time goes into padding. Yang et al.
(2019), Multilingual Universal Sentence Encoder for Semantic Retrieval, arXiv:1907.04307.
"""

import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

MODEL, WEIGHTS = "sp.model", "weights.npz"
_ORDERS = ((2, 0), (3, 1), (5, 2))  # of a convolution: how many neighbours it reads, and how many of them before
_BEFORE = max(before for _, before in _ORDERS)
_BEHIND = max(order - 1 - before for order, before in _ORDERS)
_MOST_TOKENS = 256  # of a title; the rest is cut off


class UniversalSentenceEncoder(tf.Module):
    """Callable: [n] tf.string to [n, width] float32 of length 1. Bytes that are not UTF-8 are left out.

    Args:
        folder: with MODEL, of SentencePiece, and WEIGHTS: `q1` to `qC`, [rows, width] uint8, hold the vector of piece p
            in row p // C of q(p % C + 1), as `lo + scale * value`; the other arrays are the layers.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(name="universal_sentence_encoder")
        with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        parts = [arrays[f"q{part}"] for part in range(1, len(arrays["lo"]) + 1)]
        self.pieces = tf.Variable(np.stack(parts, axis=1).reshape(-1, parts[0].shape[1]), trainable=False)
        self.layers = {
            name: tf.Variable(array.astype(np.float32), trainable=False)
            for name, array in arrays.items()
            if not name.startswith("q") and name != "bits"
        }
        self.tokenizer = tf_text.SentencepieceTokenizer(
            model=(folder / MODEL).read_bytes(), out_type=tf.int32, add_bos=True, add_eos=True
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, titles: tf.Tensor) -> tf.Tensor:
        text = tf.strings.unicode_transcode(titles, "UTF-8", "UTF-8", errors="ignore")
        tokens = self.tokenizer.tokenize(text)[:, :_MOST_TOKENS]
        embedded = self._embedded(tokens.flat_values)
        features = tf.concat([embedded, *self._convolved(embedded, tokens)], axis=1)
        features = self._normed(features, "ln_g", "ln_b")
        lengths = tf.cast(tokens.row_lengths(), tf.float32)[:, None]
        summed = tf.math.segment_sum(features, tokens.value_rowids())
        pooled = tf.pad(summed, [[0, tokens.nrows(tf.int32) - tf.shape(summed)[0]], [0, 0]])
        return self._dense((pooled @ self.layers["cnn_W"] + lengths * self.layers["cnn_b"]) / tf.sqrt(lengths))

    def _embedded(self, pieces: tf.Tensor) -> tf.Tensor:
        """[tokens, width] vectors of pieces."""
        lo, scale = self.layers["lo"], self.layers["scale"]
        part = pieces % tf.shape(lo)[0]
        values = tf.cast(tf.gather(self.pieces, pieces), tf.float32)
        return values * tf.gather(scale, part)[:, None] + tf.gather(lo, part)[:, None]

    def _convolved(self, embedded: tf.Tensor, tokens: tf.RaggedTensor) -> list[tf.Tensor]:
        """[tokens, width] of each order: two layers over a token's neighbours within its title, 0 beyond it."""
        names = [str(order) for order, _ in _ORDERS]
        weights = tf.concat([self.layers[f"proj{name}"] for name in names], axis=1)
        projected = embedded @ weights + tf.concat([self.layers[f"proj_b{name}"] for name in names], axis=0)
        gains, shifts = (tf.concat([self.layers[f"{kind}{name}"] for name in names], 0) for kind in ("ln_g", "ln_b"))
        normed = tf.split(self._layer_norm(projected, gains, shifts), len(_ORDERS), axis=1)
        neighbours = _neighbours(tokens)
        found = []
        for name, (order, before), inputs in zip(names, _ORDERS, normed, strict=True):
            places = neighbours[:, _BEFORE - before : _BEFORE - before + order]
            for layer in ("1", "2"):
                read = tf.gather(tf.pad(inputs, [[0, 1], [0, 0]]), places)
                read = tf.reshape(read, [-1, order * inputs.shape[1]])
                weight, bias = (self.layers[f"{kind}{layer}_{name}"] for kind in ("w", "b"))
                inputs = tf.nn.relu(read @ weight + bias) + inputs
            found.append(inputs)
        return found

    def _dense(self, pooled: tf.Tensor) -> tf.Tensor:
        layers = self.layers
        first = tf.nn.relu(pooled @ layers["d0"])
        second = tf.nn.relu(pooled @ layers["p1"] + first @ layers["d1"])
        third = tf.nn.relu(second @ layers["d2"])
        found = tf.tanh(second @ layers["p3"] + third @ layers["d3"])
        return tf.math.l2_normalize(found, axis=1, epsilon=1e-12)

    def _normed(self, values: tf.Tensor, gain: str, shift: str) -> tf.Tensor:
        return self._layer_norm(values, self.layers[gain], self.layers[shift])

    def _layer_norm(self, values: tf.Tensor, gain: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(values, axes=1, keepdims=True)
        return (values - mean) * tf.math.rsqrt(variance + self.layers["eps"]) * gain + shift


def _neighbours(tokens: tf.RaggedTensor) -> tf.Tensor:
    """[tokens, _BEFORE + 1 + _BEHIND] places of each token's neighbours; one behind all others beyond its title."""
    owners, number = tokens.value_rowids(), tf.shape(tokens.flat_values)[0]
    places = tf.range(number)[:, None] + tf.range(-_BEFORE, _BEHIND + 1)
    starts, limits = (
        tf.cast(tf.gather(edges, owners), tf.int32) for edges in (tokens.row_starts(), tokens.row_limits())
    )
    inside = (places >= starts[:, None]) & (places < limits[:, None])
    return tf.where(inside, places, number)
