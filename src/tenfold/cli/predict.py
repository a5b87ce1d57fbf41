"""The commands that predict: predict, evaluate and export."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from tenfold.cli.common import (
    ExecutorOption,
    HeaderOption,
    IdOption,
    InvertOption,
    JsonOption,
    LabelOption,
    LikeOption,
    ModelArgument,
    TransposeOption,
    app,
    make_console,
    print_json,
    print_line,
    read_images,
    read_options,
    submission_form,
)
from tenfold.errors import DataError, TenfoldError

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.data import ReadOptions, SubmissionForm

logger = logging.getLogger(__name__)


@app.command("predict")
def predict_command(
    inputs: Annotated[
        list[str],
        Argument(
            metavar="[RUN|MODEL] INPUT...",
            help="A model, unless the one in the box will do. Then one data file of any format "
            "and length; or pictures, folders of them, or - for standard input.",
        ),
    ],
    out: Annotated[
        Path | None,
        Option(
            "--out",
            metavar="FILE",
            help="Submission of a data file (default: submission.csv), or table of all digits.",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        Option("--explain", metavar="DIR", help="Save the steps from each picture to its digits."),
    ] = None,
    set_coverage: Annotated[
        float | None,
        Option(
            "--set-coverage",
            metavar="P",
            help="With --json: for each digit of a picture, the set that holds the right one with "
            "this probability, such as 0.99, on images like those the model was validated on.",
        ),
    ] = None,
    label: LabelOption = None,
    invert: InvertOption = False,
    transpose: TransposeOption = False,
    row_id: IdOption = None,
    header: HeaderOption = None,
    like: LikeOption = None,
    executor: ExecutorOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Predict the digits in a data file and write the submission, or read pictures of digits.

    A data file is read in pieces: it may be larger than memory.
    """
    console = make_console(as_json)
    from tenfold.models import is_model

    model = Path(inputs[0]) if is_model(Path(inputs[0])) else None
    sources = inputs if model is None else inputs[1:]
    if not sources:
        raise TenfoldError(f"{inputs[0]}: is a model, expected a data file or pictures after it")
    if _are_pictures(sources):
        _predict_pictures(console, model, sources, out, explain, set_coverage, as_json=as_json)
    elif explain is not None or set_coverage is not None:
        raise TenfoldError(f"{sources[0]}: --explain and --set-coverage are for pictures")
    else:
        from tenfold.data.formats import on_disk

        options = read_options(label, invert, transpose, row_id)
        with on_disk(sources[0]) as source:
            form = submission_form(source, row_id, header, like)
            _predict_data_file(
                console, model, source, out, executor, options=options, form=form, as_json=as_json
            )


def _are_pictures(sources: Sequence[str]) -> bool:
    """Whether the inputs are pictures, or one data file.

    Raises:
        DataError: they are several data files, or a mixture.
    """
    from tenfold.pictures import is_picture

    data_files = [source for source in sources if not is_picture(source)]
    if data_files and len(sources) > 1:
        raise DataError(
            f"{data_files[0]}: is no picture, expected one data file alone, or pictures only"
        )
    return not data_files


def _predict_data_file(
    console: "Console",
    model: Path | None,
    source: Path,
    out: Path | None,
    executor: str,
    *,
    options: "ReadOptions",
    form: "SubmissionForm",
    as_json: bool,
) -> None:
    from tenfold.formatting import pluralize
    from tenfold.predict import predict_file

    if out is None and not as_json:
        out = Path("submission.csv")
    recognizer, predictions = predict_file(
        model, source, out, executor=executor, options=options, form=form
    )
    if out is not None:
        print_line(
            console,
            f"{pluralize(len(predictions.predicted), 'prediction')} written to {out} (verified)",
        )
    if as_json:
        confidence = [round(float(value), 6) for value in predictions.confidence]
        labels = recognizer.decode_labels(predictions.predicted)
        print_json({"labels": labels.tolist(), "confidence": confidence})


def _predict_pictures(
    console: "Console",
    model: Path | None,
    sources: Sequence[str],
    out: Path | None,
    explain: Path | None,
    set_coverage: float | None,
    *,
    as_json: bool,
) -> None:
    """Print the digits of each picture; an unreadable one has its error, and the others go on."""
    from tenfold.errors import ImageError
    from tenfold.files import output_folder, write_text
    from tenfold.models import load
    from tenfold.pictures import iter_images, save_explanation, to_csv

    classifier = load(model)
    folder = None if explain is None else output_folder(explain)
    images, answers, errors = [], [], []
    for image in iter_images(sources, classifier):
        if isinstance(image, ImageError):
            errors.append(str(image))
            sys.stderr.write(f"tenfold: {image}\n")
            continue
        images.append(image)
        sets = None if set_coverage is None else image.prediction_sets(classifier, set_coverage)
        answers.append(image.to_json(sets))
        for note in image.notes:
            logger.warning("%s: %s", image.name, note)
        if not as_json:
            print_line(console, f"{image.name}: {image.summary()}")
        if folder is not None:
            save_explanation(image, folder)
    if out is not None:
        write_text(out, to_csv(images))
        print_line(console, f"table of all digits written to {out}")
    if as_json:
        print_json({"pictures": answers, "errors": errors})
    if errors:
        raise Exit(TenfoldError.exit_code)


@app.command("evaluate")
def evaluate_command(
    model: ModelArgument,
    labelled: Annotated[Path, Argument(metavar="LABELLED", help="Labelled images of any format.")],
    label: LabelOption = None,
    invert: InvertOption = False,
    transpose: TransposeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare predictions with known labels, class by class.

    Says how many of the images a run was trained on, and gives the score on the others.
    """
    console = make_console(as_json)
    from tenfold.data.fingerprints import Fingerprints
    from tenfold.evaluation import evaluate_labelled
    from tenfold.files import path_exists
    from tenfold.formatting import ProgressLogger
    from tenfold.models import load, model_file
    from tenfold.run_folder import RunFolder

    recognizer = load(model)
    dataset = read_images(
        labelled,
        labels=True,
        classes=recognizer.classes,
        part="test",
        options=read_options(label, invert, transpose),
    )
    known = RunFolder(model_file(model).parent).seen_images
    result = evaluate_labelled(
        recognizer,
        dataset,
        Fingerprints.load(known) if path_exists(known) else None,
        on_progress=ProgressLogger(logger, "images"),
    )
    for warning in result.warnings:
        logger.warning("%s", warning)
    found = result.evaluation
    if as_json:
        print_json(result.to_json())
        return
    print_line(console, f"score: {found.score}")
    print_line(console, f"decisions: {result.decisions}")
    if result.n_trained or result.n_validated:
        print_line(
            console,
            f"{result.n_trained:,} of these {len(dataset):,} images were trained on, "
            f"{result.n_validated:,} held out meanwhile: their score is too high",
        )
        print_line(console, f"score on the others: {result.others or 'there are none'}")
    print_line(console, f"loss {found.loss:.4f}, calibration error {found.calibration_error:.4f}")
    for name, score in found.per_class.items():
        print_line(console, f"  class {name}: {score}")
    print_line(console, "confusion matrix (rows: label, columns: prediction)")
    names = recognizer.classes
    width = max(len(str(found.confusion.max())), *map(len, names)) + 1
    for name, row in [("", names), *zip(names, found.confusion.tolist(), strict=True)]:
        print_line(console, "".join(f"{cell!s:>{width}}" for cell in (name, *row)))


@app.command("export")
def export_command(
    paths: Annotated[
        list[Path],
        Argument(
            metavar="[RUN|MODEL] FILE.onnx|FILE.html",
            help="A model, by default the one in the box; and what to write: an ONNX file, or a "
            "page to draw on, whose network computes in the browser.",
        ),
    ],
    weights: Annotated[
        str,
        Option("--weights", metavar="TYPE", help="Of ONNX: float32, or float16 for half the size."),
    ] = "float32",
    tta: Annotated[
        bool, Option("--tta/--no-tta", help="Of ONNX: test-time views, as the recipe has them.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Write a recognizer to one file that predicts without PyTorch: ONNX, or a page to draw on."""
    console = make_console(as_json)
    *models, out = paths
    if len(models) > 1:
        raise TenfoldError(f"{models[1]}: is one argument too many, expected a model and a file")
    if out.suffix == ".html":
        _export_page(console, models[0] if models else None, out, as_json=as_json)
        return
    if out.suffix != ".onnx":
        raise TenfoldError(
            f"{out}: ends in {out.suffix!r}, expected a name that ends in .onnx or .html"
        )
    if weights not in {"float32", "float16"}:
        raise TenfoldError(f"--weights {weights}: expected float32 or float16")
    if not models:
        raise TenfoldError(f"{out}: expected a model before it, as the one in the box is ONNX")
    from tenfold.export import export_onnx
    from tenfold.recognizer import Recognizer

    (model,) = models
    recognizer = Recognizer.load(model)
    parity = export_onnx(
        recognizer, out, weights_dtype="float16" if weights == "float16" else "float32", tta=tta
    )
    size = out.stat().st_size
    print_line(console, f"{out}: {size / 1000:,.0f} kB; compared with {model}: {parity}")
    if as_json:
        print_json({"file": str(out), "bytes": size} | vars(parity))


def _export_page(console: "Console", model: Path | None, out: Path, *, as_json: bool) -> None:
    from tenfold.serving.page import write_page

    size = write_page(model, out)
    print_line(console, f"{out}: {size / 1000:,.0f} kB; open it in a browser, it needs no network")
    if as_json:
        print_json({"file": str(out), "bytes": size})
