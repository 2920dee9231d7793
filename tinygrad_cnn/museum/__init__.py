"""Ten mistakes of published CNNs, each planted in a small network, trained, and shown to the checks.

Each exhibit is a program, such as `relu_as_abs.py`, that tells its story when it is run. They use the package as
anybody would, and no module imports them.
"""

#: the programs, in the order in which a visitor walks past them
EXHIBITS = (
    *("relu_as_abs", "softmax_of_sigmoid", "every_tie_wins", "overlap_overwritten", "tanh_for_its_derivative"),
    *("weight_decay_sign", "stride_ignored", "cut_by_data", "bias_averaged", "mean_for_max"),
)
