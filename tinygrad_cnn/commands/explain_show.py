"""The commands `explain` and `show`: what happens when digits pass through a network."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import Any

import numpy as np
from rich.console import Console

from .. import data
from .. import functional as F
from ..checkpoint import file_errors
from ..microscope.reading.explain import explain
from ..models import MODELS
from ..nn import Module
from ..random import manual_seed
from ..showing.show import FORMATS, show
from .errors import UserError
from .options import at_least, filename
from .report import plainly
from .runs import fits, load_run


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=MODELS, help="the network, with random weights (lenet)")
    parser.add_argument(
        "--load", metavar="FILE", type=filename, help="the network of a run that 'train --save FILE' wrote"
    )
    parser.add_argument(
        "--digits", type=at_least(int, 1), default=4, help="how many digits of the sample pass through it (4)"
    )


def add_explain_options(parser: argparse.ArgumentParser) -> None:
    """The options of `explain`."""
    _add_network_options(parser)
    parser.add_argument("--wrt", metavar="NAME", help="the parameter, as 0.weight; by default all, a line each")
    parser.add_argument("--details", action="store_true", help="print each operation and its rule as well")
    parser.set_defaults(run=run_explain)


def add_show_options(parser: argparse.ArgumentParser) -> None:
    """The options of `show`."""
    _add_network_options(parser)
    parser.add_argument(
        "--unfold", metavar="LAYER", nargs="*", help="show these layers operation by operation; without a name, all"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="what the file's name ends in; without one a page opens in the browser, or a tree is printed",
    )
    parser.add_argument(
        "--file", type=filename, help="write it here: a name that ends in .html makes a page, .dot and .mmd text"
    )
    parser.set_defaults(run=run_show)


def run_explain(options: argparse.Namespace, console: Console) -> None:
    """Tell how the gradients come about."""
    model = _network(options)
    parameters = dict(model.named_parameters())
    if options.wrt is not None and options.wrt not in parameters:
        raise UserError(f"the network has no parameter {options.wrt!r}: it has {', '.join(parameters)}")
    explanation = explain(_loss(model, options.digits), wrt=options.wrt, details=options.details)
    if console.is_terminal:
        console.print(explanation, highlight=False)
    else:
        print(explanation)  # without trailing spaces


def run_show(options: argparse.Namespace, console: Console) -> None:
    """Print the graph, or write it to a file."""
    model = _network(options)
    loss = _loss(model, options.digits)
    unfold = True if options.unfold == [] else options.unfold or False
    try:
        with nullcontext() if options.file is None else file_errors("write", options.file):
            show(loss, unfold=unfold, format=options.format, file=options.file)
    except ValueError as error:
        raise UserError(str(error).replace("pass format=", "give --format")) from None
    if options.file is not None:
        plainly(console)(f"written to {options.file}")


def _network(options: argparse.Namespace) -> Module:
    if options.load is None:
        manual_seed(0)
        return MODELS[options.model or "lenet"]()
    if options.model is not None:
        raise UserError("--model and --load exclude each other: the file tells which network it holds")
    saved = load_run(options.load)
    model = MODELS[saved["settings"]["model"]]()
    with fits(options.load):
        model.load_state_dict(saved["trainer"]["model"])
    return model


def _loss(model: Module, digits: int) -> Any:
    sample = data.load("sample")
    if digits > len(sample.test_images):
        raise UserError(f"--digits takes 1 to {len(sample.test_images)}, got {digits}")
    images, labels = sample.test_images[:digits], sample.test_labels[:digits]
    return F.cross_entropy(model(np.asarray(images)), labels)
