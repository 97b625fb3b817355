"""The same rows, written by hand: Polars for all of the work, tfx_bsl and tf.io for the TFRecords.

What somebody writes who knows the data and does not need a graph for serving: no rejected rows, no exact order, no
manifest, and no Beam. It reads the tables of `recsys_tft.tables.synthetic` and makes as many rows as the main job does.
Features are computed once for each entity, gathered by rows, and encoded and written in blocks. tfx_bsl's encoder is
nine tenths of the time, and keeps to one core; so `--processes 2` has each of two processes do all but encode and write
only half of the rows.
"""

import argparse
import pathlib
import subprocess
import sys

import numpy as np
import polars as pl
import pyarrow as pa

GAP = 30 * 60 * 1_000_000
WEIGHTS = {"like": 1.0, "comment": 1.0, "share": 1.0, "watch": 1.0, "click": 0.5, "impression": 0.1}
BATCH = 65536


def exposures(raw: pathlib.Path, videos: pl.DataFrame) -> pl.DataFrame:
    """Labelled exposures with their split and history."""
    events = pl.read_parquet(raw / "interactions.parquet").with_columns(
        time=pl.col("interaction_time").dt.timestamp("us")
    )
    events = events.sort("user_id", "video_id", "time")
    time = pl.col("time")
    pair = pl.struct("user_id", "video_id")
    new = ((pair != pair.shift()) | (time - time.shift() >= GAP)).fill_null(True)
    times = events.filter(new)["time"].sort()
    val, test = (times[int(share * len(times))] for share in (0.8, 0.9))
    split = pl.when(time < val).then(0).when(time < test).then(1).otherwise(2)
    events = events.with_columns(split=split)
    new |= (pl.col("split") != pl.col("split").shift()).fill_null(True)
    kinds = [(pl.col("interaction_type") == kind).any().alias(kind) for kind in WEIGHTS if kind != "watch"]
    found = (
        events.with_columns(exposure=new.cum_sum())
        .group_by("exposure", maintain_order=True)
        .agg(
            pl.col("user_id", "video_id", "time", "split").first(),
            pl.col("device").drop_nulls().first(),
            pl.col("watch_time").sum(),
            *kinds,
        )
        .join(videos.select("video_id", "video_duration", "category"), on="video_id", how="left")
        .with_columns(watch=(pl.col("watch_time") > 0.4 * pl.col("video_duration")).fill_null(False))
    )
    weight = pl.max_horizontal(*(pl.col(kind).cast(pl.Float32) * weight for kind, weight in WEIGHTS.items()))
    found = found.with_columns(weight=weight.cast(pl.Float32)).filter(pl.col("weight") > 0).sort("time")
    viewings = (
        events.filter((pl.col("interaction_type") != "impression") | (pl.col("watch_time") > 0))
        .join(videos.select("video_id", "category"), on="video_id", how="left")
        .sort("time")
        .select("user_id", "time", pl.col("category").alias("previous"))
    )
    return found.join_asof(
        viewings, on="time", by="user_id", strategy="backward", allow_exact_matches=False, check_sortedness=False
    )


def tokens(values: pl.Series, training: pl.Series) -> np.ndarray:
    """0 missing, 1 unseen, then the vocabulary of the training values by count."""
    counted = training.drop_nulls().value_counts(sort=True)
    table = pl.DataFrame({"value": counted[counted.columns[0]], "token": np.arange(2, len(counted) + 2)})
    joined = pl.DataFrame({"value": values}).join(table, on="value", how="left", maintain_order="left")
    unseen = pl.when(pl.col("value").is_null()).then(0).otherwise(1)
    return joined.select(pl.col("token").fill_null(unseen)).to_series().to_numpy()


def z(values: pl.Series, training: pl.Series, log: bool = True) -> np.ndarray:
    values, training = (s.cast(pl.Float64).log1p() if log else s.cast(pl.Float64) for s in (values, training))
    return ((values - training.mean()) / training.std()).fill_null(0.0).cast(pl.Float32).to_numpy()


def engineer_users(users: pl.DataFrame, seen: pl.DataFrame, language: pl.Series) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": users["user_id"],
            "user_id_token": tokens(users["user_id"], seen["user_id"]),
            "country_token": tokens(users["country"], seen["country"]),
            "user_language_token": tokens(users["user_language"], language),
            "age_z": z(users["age"], seen["age"], log=False),
            "age_bucket": np.digitize(users["age"].fill_null(-1).to_numpy(), [0, 18, 25, 35, 45, 55, 65]),
        }
    )


def engineer_videos(videos: pl.DataFrame, seen: pl.DataFrame, language: pl.Series) -> pl.DataFrame:
    views, likes, comments = (videos[name].fill_null(0) for name in ("view_count", "like_count", "comment_count"))
    ratio = [
        (hits / views).fill_nan(0.0).cast(pl.Float32).fill_null(0.0) for hits in (likes, comments, likes + comments)
    ]
    edges = np.quantile(seen["view_count"].drop_nulls().to_numpy(), [0.5, 0.8, 0.95])
    level = videos["popularity"].replace_strict({"low": 0, "medium": 1, "high": 2, "viral": 3}, default=None)
    level = level.fill_null(pl.Series(np.digitize(views.to_numpy(), edges)))
    tags = seen["tags"].explode().drop_nulls()
    tag = pl.DataFrame({"row": np.arange(len(videos)), "tag": videos["tags"]}).explode("tag").drop_nulls()
    bag = tag.with_columns(token=tokens(tag["tag"], tags)).group_by("row", maintain_order=True).agg("token")
    bags = pl.DataFrame({"row": np.arange(len(videos))}).join(bag, on="row", how="left", maintain_order="left")
    children = [frame["child_categories"].list.join("|").replace({"": None}) for frame in (videos, seen)]
    return pl.DataFrame(
        {
            "video_id": videos["video_id"],
            "candidate_row": np.arange(len(videos)),
            "video_id_token": tokens(videos["video_id"], seen["video_id"]),
            "category_token": tokens(videos["category"], seen["category"]),
            "child_categories_token": tokens(*children),
            "video_language_token": tokens(videos["video_language"], language),
            "video_duration_log_z": z(videos["video_duration"], seen["video_duration"]),
            "video_duration_bucket": np.digitize(
                videos["video_duration"].fill_null(-1).to_numpy(), [0, 60, 300, 600, 1800, 3600]
            ),
            "popularity_onehot": pl.Series(np.eye(4, dtype=np.float32)[level.to_numpy()]).arr.to_list(),
            "tags_tokens": bags["token"].fill_null([]),
            **{f"{name}_log_z": z(videos[name], seen[name]) for name in ("view_count", "like_count", "comment_count")},
            "channel_subscriber_count_log_z": z(videos["channel_subscriber_count"], seen["channel_subscriber_count"]),
            "like_ratio": ratio[0],
            "comment_ratio": ratio[1],
            "engagement_rate": ratio[2],
        }
    )


def engineer_context(found: pl.DataFrame, users: pl.DataFrame) -> pl.DataFrame:
    own = users.select("user_id", own="previously_watched_category")
    found = found.join(own, on="user_id", how="left", maintain_order="left")
    found = found.with_columns(previous=pl.coalesce("previous", "own"))
    training = found.filter(pl.col("split") == 0)
    angle = 2 * np.pi * (found["time"].to_numpy() // 3_600_000_000 % 24) / 24
    return found.select(
        "user_id", "video_id", "split", "weight", pl.col("time").alias("interaction_time")
    ).with_columns(
        previously_watched_category_token=tokens(found["previous"], training["previous"]),
        device_token=tokens(found["device"], training["device"]),
        interaction_time_day=(found["time"].to_numpy() // 86_400_000_000 + 3) % 7 + 1,
        interaction_time_hour_sin=np.sin(angle).astype(np.float32),
        interaction_time_hour_cos=np.cos(angle).astype(np.float32),
    )


def sample(context: pl.DataFrame, ratio: int, seed: int) -> pl.DataFrame:
    """`ratio` videos for each row, none that the user has a row with."""
    catalogue = context.filter(pl.col("split") == 0)["video_id"].unique().to_numpy()
    random = np.random.default_rng(seed)
    rows = np.repeat(np.arange(len(context)), ratio)
    pairs = context.select("user_id", "video_id").unique().with_columns(bad=pl.lit(True))
    user = context["user_id"].to_numpy()[rows]
    drawn = random.choice(catalogue, len(rows))
    left = np.arange(len(rows))
    while len(left):
        drawn[left] = random.choice(catalogue, len(left))
        taken = pl.DataFrame({"user_id": user[left], "video_id": drawn[left]})
        bad = taken.join(pairs, on=["user_id", "video_id"], how="left", maintain_order="left")["bad"]
        left = left[bad.fill_null(False).to_numpy()]
    return context[rows].with_columns(
        video_id=pl.Series(drawn),
        weight=pl.lit(1.0, pl.Float32),
        label=pl.lit(0, pl.Int64),
        source=pl.lit("sampled"),
        log_q=pl.lit(-np.log(len(catalogue)), pl.Float32),
    )


Part = tuple[pl.DataFrame, np.ndarray | None]  # features of entities, and which of them each row has; None: its own


def write(parts: list[Part], path: pathlib.Path) -> int:
    """One TFRecord file of tf.Examples: rows are gathered, encoded and written block by block."""
    import tensorflow as tf  # which Parquet does not need
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    path.parent.mkdir(parents=True, exist_ok=True)
    tables = [(_as_lists(frame), codes) for frame, codes in parts]
    rows = max(len(frame) if codes is None else len(codes) for frame, codes in parts)
    encoder = RecordBatchToExamplesEncoder()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for begin in range(0, rows, BATCH):
            batch = _block(tables, begin, min(begin + BATCH, rows))
            for example in encoder.encode(batch):
                writer.write(example)
    return rows


def _block(tables: list[tuple[pa.RecordBatch, np.ndarray | None]], begin: int, end: int) -> pa.RecordBatch:
    parts = [
        table.slice(begin, end - begin) if codes is None else table.take(pa.array(codes[begin:end]))
        for table, codes in tables
    ]
    names = [name for part in parts for name in part.schema.names]
    return pa.RecordBatch.from_arrays([column for part in parts for column in part.columns], names)


def _as_lists(frame: pl.DataFrame) -> pa.RecordBatch:
    """What tfx_bsl encodes; once for each entity."""
    table = frame.to_arrow().combine_chunks()
    return pa.RecordBatch.from_arrays(
        [_list(table[name].combine_chunks()) for name in table.column_names], frame.columns
    )


def _list(array: pa.Array) -> pa.Array:
    types = pa.types
    if types.is_list(array.type) or types.is_large_list(array.type):
        return array
    if types.is_fixed_size_list(array.type):
        return array.cast(pa.large_list(array.type.value_type))
    if types.is_large_string(array.type) or types.is_string(array.type) or types.is_string_view(array.type):
        array = array.cast(pa.large_binary())
    return pa.LargeListArray.from_arrays(np.arange(len(array) + 1), array)


def write_parquet(parts: list[Part], path: pathlib.Path) -> int:
    """The same rows as Parquet, by Polars, on all cores."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [frame if codes is None else frame[codes] for frame, codes in parts]
    pl.concat(frames, how="horizontal").write_parquet(path.with_suffix(".parquet"))
    return len(frames[-1])


WRITERS = {"tfrecord": write, "parquet": write_parquet}
QUERY = ["user_id", "user_id_token", "country_token", "user_language_token", "age_z", "age_bucket"]
CANDIDATE = ["video_id", "candidate_row", "video_id_token", "category_token", "video_language_token"]
CANDIDATE += ["video_duration_log_z", "video_duration_bucket", "popularity_onehot", "tags_tokens"]


def rows_of(keys: pl.Series, wanted: pl.Series) -> np.ndarray:
    """Which row of a table with these keys each of the wanted ones is."""
    table = pl.DataFrame({"key": keys, "row": np.arange(len(keys))})
    return pl.DataFrame({"key": wanted}).join(table, on="key", how="left", maintain_order="left")["row"].to_numpy()


def joined(rows: pl.DataFrame, users: pl.DataFrame, videos: pl.DataFrame) -> list[Part]:
    """Rows with the features of their users and videos."""
    of_user, of_video = rows_of(users["user_id"], rows["user_id"]), rows_of(videos["video_id"], rows["video_id"])
    return [(users, of_user), (videos, of_video), (rows.drop("user_id", "video_id"), None)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--negative-ratio", type=int, default=3)
    parser.add_argument("--format", choices=WRITERS, default="tfrecord")
    parser.add_argument("--processes", type=int, default=1, help="that encode and write a share of the rows each")
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.processes > 1 and options.share is None:
        started = [
            subprocess.Popen([sys.executable, "-m", "bench.polars_peer", *sys.argv[1:], f"--share={share}"])
            for share in range(options.processes)
        ]
        sys.exit(max([process.wait() for process in started]))
    run(options, options.share or 0)


def run(options: argparse.Namespace, share: int) -> None:
    """All of the work, and the rows of one share, of which there are as many as processes."""
    users = pl.read_parquet(options.raw / "users.parquet")
    channels = pl.read_parquet(options.raw / "channels.parquet")
    videos = pl.read_parquet(options.raw / "videos.parquet").join(channels, on="channel_id", how="left")
    found = exposures(options.raw, videos)
    training = found.filter(pl.col("split") == 0)
    seen_users = users.join(training.select("user_id").unique(), on="user_id", how="semi")
    seen_videos = videos.join(training.select("video_id").unique(), on="video_id", how="semi")
    language = pl.concat([seen_users["user_language"], seen_videos["video_language"]])
    of_users = engineer_users(users, seen_users, language)
    of_videos = engineer_videos(videos, seen_videos, language)
    context = engineer_context(found, users)
    catalogue = training["video_id"].n_unique()
    positives = context.with_columns(
        label=pl.lit(1, pl.Int64),
        source=pl.lit("positive"),
        log_q=pl.lit(-np.log(catalogue), pl.Float32),
    )
    ranker = pl.concat([positives, sample(context, options.negative_ratio, 0)])
    drop = {"user_id_token", "age_bucket", *CANDIDATE[1:3], *CANDIDATE[6:]}
    of_ranker = [name for name in of_videos.columns if name not in drop]

    def put(folder: str, parts: list[Part]) -> None:
        path = options.output / folder / f"part-{share}.tfrecord"
        print(folder, WRITERS[options.format](parts, path), flush=True)

    for number, split in enumerate(("train", "val", "test")):
        pairs = context.filter(pl.col("split") == number).gather_every(options.processes, share)
        pairs = pairs.select("user_id", "video_id", "interaction_time", "weight", "previously_watched_category_token")
        put(f"two_tower/{split}", joined(pairs, of_users.select(QUERY), of_videos.select(CANDIDATE)))
        rows = ranker.filter(pl.col("split") == number).gather_every(options.processes, share)
        rows = rows.drop("split", "previously_watched_category_token")
        user = of_users.select("user_id", "country_token", "user_language_token", "age_z")
        put(f"ranker/{split}", joined(rows, user, of_videos.select(of_ranker)))
    for folder, frame in {"users": of_users, "videos": of_videos}.items():
        put(folder, [(frame.gather_every(options.processes, share), None)])


if __name__ == "__main__":
    main()
