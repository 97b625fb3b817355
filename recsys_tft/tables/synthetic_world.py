"""The world behind the synthetic tables: ground truth about users and videos, even where the tables have gaps.

A user has a *taste*, a share for each category (Dirichlet), understands the own language fully and one other (English;
Spanish for English speakers) fairly well. A video has one category, one language, a quality, and a popularity that
falls with its rank as 1 / rank. How much a user likes a video is their `affinity`.
"""

import dataclasses
import datetime
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_tft.tables import synthetic_words as words

START = int(datetime.datetime(2025, 1, 6, tzinfo=datetime.UTC).timestamp()) * 10**6  # a Monday
DAY = 86_400 * 10**6  # microseconds
PERIOD = 56 * DAY
VIDEOS_PER_CHANNEL = 10
CONCENTRATION = 0.3  # of the Dirichlet distribution of tastes
OWN, SECOND_LANGUAGE, FOREIGN = 1.0, 0.4, 0.04  # how well a language is understood

Array = npt.NDArray[Any]
CATEGORIES, COUNTRIES, LANGUAGES = list(words.CATEGORIES), list(words.COUNTRIES), list(words.LANGUAGES)


def affinity(taste: Array, understood: Array, quality: Array) -> Array:
    """Affinity of a user to a video: understood * taste / (taste + 1 / categories) * (0.6 + 0.4 quality).

    Args:
        taste: [n] the user's share for the video's category, 0 to 1.
        understood: [n] how well the user understands its language, 0 to 1.
        quality: [n] of the video, 0 to 1.

    Returns:
        [n] float64, 0 to 1.
    """
    return understood * taste / (taste + 1 / len(CATEGORIES)) * (0.6 + 0.4 * quality)


@dataclasses.dataclass(frozen=True)
class World:
    """Ground truth about U users and V videos, whether or not it is in the tables. Row i belongs to id i + 1."""

    taste: Array  # [U, categories] float64, a user's shares, sum 1
    activity: Array  # [U] float64, rank ** -0.6: how many sessions, relative to the busiest
    country: Array  # [U] index into COUNTRIES
    language: Array  # [U] index into LANGUAGES, the own one
    second_language: Array  # [U] index into LANGUAGES
    channel: Array  # [V] index of the channel
    category: Array  # [V] index into CATEGORIES
    video_language: Array  # [V] index into LANGUAGES
    quality: Array  # [V] float64, 0 to 1
    popularity: Array  # [V] float64, 1 / rank
    duration: Array  # [V] float32, seconds
    published: Array  # [V] int64, microseconds since 1970; the most popular video is older than any event

    def affinity(self, users: Array, videos: Array) -> Array:
        """[n] float64, 0 to 1, of each pair of user_id [n] and video_id [n]."""
        users, videos = np.asarray(users) - 1, np.asarray(videos) - 1
        return affinity(self.taste[users, self.category[videos]], self.understood(users, videos), self.quality[videos])

    def understood(self, users: Array, videos: Array) -> Array:
        """Understanding of each video (row) by each user (row); any two shapes that broadcast."""
        language = self.video_language[videos]
        second = np.where(language == self.second_language[users], SECOND_LANGUAGE, FOREIGN)
        return np.where(language == self.language[users], OWN, second)

    @functools.cached_property
    def shelves(self) -> tuple[Array, Array, Array]:
        """Videos by category, [V]; their running popularity, [V]; and its value at each shelf's edges."""
        order = np.argsort(self.category, kind="stable")
        running = np.cumsum(self.popularity[order])
        ends = np.searchsorted(self.category[order], np.arange(len(CATEGORIES) + 1))
        return order, running, np.concatenate([[0.0], running])[ends]


def plant(*, users: int, videos: int, seed: int = 0) -> World:
    """The world of the tables that `write_tables` writes for the same users, videos and seed."""
    rng = np.random.default_rng([seed, 0])
    taste = rng.gamma(CONCENTRATION, size=(users, len(CATEGORIES))) + 1e-6
    country = drawn(rng, [share for *_, share in words.COUNTRIES.values()], users)
    native = np.array([LANGUAGES.index(language) for language, *_ in words.COUNTRIES.values()])[country]
    language = np.where(rng.random(users) < 0.9, native, drawn(rng, list(words.LANGUAGES.values()), users))
    english, spanish = LANGUAGES.index("en"), LANGUAGES.index("es")
    return World(
        taste=taste / taste.sum(axis=1, keepdims=True),
        activity=_zipf(rng, users, 0.6),
        country=country,
        language=language,
        second_language=np.where(language == english, spanish, english),
        **_catalogue(np.random.default_rng([seed, 1]), videos),
    )


def _catalogue(rng: np.random.Generator, videos: int) -> dict[str, Array]:
    """The World's attributes of videos: a channel has a main category and language."""
    channels, languages = max(1, videos // VIDEOS_PER_CHANNEL), list(words.LANGUAGES.values())
    channel = drawn(rng, _zipf(rng, channels, 0.7), videos)
    category = rng.integers(len(CATEGORIES), size=channels)[channel]
    language = drawn(rng, languages, channels)[channel]
    popularity = _zipf(rng, videos, 1.0)
    before = START - (rng.exponential(250, videos) + 0.1) * DAY
    during = START + rng.random(videos) * 0.9 * PERIOD
    late = (rng.random(videos) < 0.15) & (popularity < 1)
    return {
        "channel": channel,
        "category": np.where(rng.random(videos) < 0.8, category, rng.integers(len(CATEGORIES), size=videos)),
        "video_language": np.where(rng.random(videos) < 0.95, language, drawn(rng, languages, videos)),
        "quality": rng.beta(2, 2, videos),
        "popularity": popularity,
        "duration": np.clip(rng.lognormal(np.log(240), 1.2, videos), 5, 10_800).astype(np.float32).round(1),
        "published": np.where(late, during, before).astype(np.int64),
    }


def _zipf(rng: np.random.Generator, n: int, exponent: float) -> Array:
    """[n] float64: rank ** -exponent, ranks in random order."""
    return (rng.permutation(n) + 1.0) ** -exponent


def drawn(rng: np.random.Generator, shares: Array | list[int], n: int) -> Array:
    """[n] indices into `shares`, drawn in proportion to them."""
    running = np.cumsum(shares)
    return np.minimum(np.searchsorted(running, rng.random(n) * running[-1], side="right"), len(running) - 1)
