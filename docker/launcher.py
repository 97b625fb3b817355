"""What the Flex Template starts: `recsys-tft run --no-wait` with the template's parameters, by configs/dataflow.yaml.

Parameters come as `--data_dir=gs://...`, as names of parameters have no '-', and switches as `--overwrite=true`.
"""

import pathlib
import sys
from collections.abc import Sequence

from recsys_tft.cli import main, run_parser

CONFIG = pathlib.Path(__file__).parent / "configs" / "dataflow.yaml"  # as the image has it; a parameter wins


def arguments(parameters: Sequence[str]) -> list[str]:
    """The parameters as options of `recsys-tft run`; those that are not its own are Beam's, and stay as they are."""
    actions = {option.replace("-", "_"): action for action in run_parser()._actions for option in action.option_strings}
    found = []
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        action = actions.get(name.replace("-", "_"))
        if action is None:
            found.append(parameter)
        elif action.nargs == 0:
            found += [action.option_strings[-1]] if value.lower() in ("", "true") else []
        elif value:
            found.append(f"{action.option_strings[-1]}={value}")
    return found


if __name__ == "__main__":
    sys.exit(main(["run", "--no-wait", f"--config={CONFIG}", *arguments(sys.argv[1:])]))
