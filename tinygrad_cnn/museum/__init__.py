"""Ten mistakes of published CNNs, each planted in a small network, trained, and shown to the checks.

Each exhibit is a program, such as `relu_as_abs.py`, that tells its story when it is run. They use the package as
anybody would, and no module imports them.
"""

from collections.abc import Sequence

#: the programs, in the order in which a visitor walks past them
EXHIBITS = (
    *("relu_as_abs", "softmax_of_sigmoid", "every_tie_wins", "overlap_overwritten", "tanh_for_its_derivative"),
    *("weight_decay_sign", "stride_ignored", "cut_by_data", "bias_averaged", "mean_for_max"),
)

#: what was found out at each exhibit that was visited, one after another
visits: list[dict[str, str]] = []


def print_visits(names: Sequence[str]) -> None:
    """Print a line for each of the last exhibits that were visited, which have these names."""
    print("The accuracy on the test digits without the bug and with it, and the checks:\n")
    print("without  with it  check_graph  gradcheck")
    for name, found in zip(names, visits[-len(names) :], strict=True):
        without, accuracy, *seen = (found.get(key, "-") for key in ("without", "accuracy", "check_graph", "gradcheck"))
        print(f"{without:>7}  {accuracy:>7}  {seen[0]:<11}  {seen[1]:<9}  {name}")
