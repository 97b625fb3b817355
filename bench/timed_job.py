"""One run of the main job without titles, as a user starts it; prints the seconds of each step."""

import argparse
import time

BEGAN = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw")
    parser.add_argument("output")
    parser.add_argument("--config")
    parser.add_argument("--format")
    parser.add_argument("--negative-ratio", type=int)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    from recsys_tft import PipelineConfig, ProcessingPipeline, libraries

    config = PipelineConfig(
        output_dir=options.output,
        config=options.config,
        format=options.format,
        title_encoder="none",
        negative_ratio=options.negative_ratio,
        workers=options.workers,
    )
    libraries.arrow_without_pandas()  # as the command does
    libraries.load("recsys_tft.beam_pipelines.run", without=config.needless(options.raw))
    result = ProcessingPipeline(pipeline_config=config).run(options.raw)
    steps = {"imports": time.monotonic() - BEGAN - result.seconds, "in all": result.seconds, **result.steps}
    print({name: round(seconds, 2) for name, seconds in steps.items()})


if __name__ == "__main__":
    main()
