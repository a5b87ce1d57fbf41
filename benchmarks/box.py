"""Make the model in the box again: train by recipe robust, export, and measure what was exported.

    python benchmarks/box.py --out OUT

A finished run in OUT is exported again, and one that was stopped is resumed. The file and its card
(from box_card.md) are written to src/tenfold/box; tests/test_box.py compares the three. Recipe
robust is trained on MNIST's 60,000 alone, less 3,000 that are held out. Temperature and decision
rule are fitted on those 3,000 as they are and as other hands, other pens and bad pictures would
have left them, since that is what the model in the box is for. MNIST's own 10,000 are read once, at
the end.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np
import ours
from robust import changed_digits, train

BOX = Path(__file__).parent.parent / "src" / "tenfold" / "box"
CARD = Path(__file__).with_name("box_card.md").read_text("utf-8")


def calibrated(recognizer, held_out):
    """Return the recognizer with temperature and decision rule for all kinds of held-out images."""
    from tenfold.decision import DecisionRule
    from tenfold.recognizer import apply_temperature
    from tenfold.training.train import fit_temperature

    changed = changed_digits(held_out.images, held_out.labels).values()
    images = np.concatenate([held_out.images, *changed])
    labels = np.tile(held_out.labels, 1 + len(changed))
    probabilities = replace(recognizer, temperature=1.0).predict_proba(images)
    temperature = fit_temperature(probabilities, labels)
    rule = DecisionRule.fit(apply_temperature(probabilities, temperature), labels)
    return replace(recognizer, temperature=temperature, decision_rule=rule)


def write_card(path: Path, card: dict, recognizer, score) -> None:
    """Write README.md beside the exported file at `path`."""
    (member,) = recognizer.members
    low, high = score.interval
    rule = recognizer.decision_rule.to_json()
    text = CARD.format(
        **card,
        network=member.config.name,
        width=member.config.width,
        parameters=sum(each.numel() for each in member.model.parameters()),
        size=path.stat().st_size / 1000,
        accuracy=score.accuracy,
        correct=score.correct,
        low=low,
        high=high,
        **{name: value for name, value in rule.items() if name != "nonconformity"},
    )
    path.with_name("README.md").write_text(text, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the model in the box again.")
    parser.add_argument("--out", type=Path, required=True, help="the run folder")
    parser.add_argument("--to", type=Path, default=BOX, help="where file and card go")
    options = parser.parse_args()
    here = machine.describe()
    machine.print_machine(here)

    import tenfold
    from tenfold.export import export_onnx
    from tenfold.recipe import Recipe

    recognizer, held_out, test_set = train(options.out)
    recipe = Recipe.load("robust")
    recognizer = calibrated(recognizer, held_out)

    card = {
        "name": "the model in the box",
        "command": "python benchmarks/box.py --out OUT",
        "recipe": recipe.name,
        "recipe_toml": recipe.model_copy(update={"benchmark": ""}).to_toml(),
        "data": "MNIST's 60,000 training images",
        "data_sha256": tenfold.mnist()[0].content_hash(),
        "held_out": len(held_out),
        "weights_sha256": recognizer.content_hash(),
        "cpu": here["cpu"],
        "torch": here["versions"]["torch"],
        "licence": "MIT",
    }
    path = options.to / "digits.onnx"
    export_onnx(recognizer, path, weights_dtype="float16", card=card)
    predicted = tenfold.load(path).predict(test_set.images)
    score = tenfold.score(predicted, test_set.labels)
    card["score"] = score.to_json()
    parity = export_onnx(recognizer, path, weights_dtype="float16", card=card)
    write_card(path, card, recognizer, score)
    print(f"{path}: {parity}; MNIST's own 10,000: {score}; {recognizer.decision_rule}")
    print(json.dumps(card["score"]))
    ours.save_json({"machine": here, "card": card}, options.out / "card.json")


if __name__ == "__main__":
    main()
