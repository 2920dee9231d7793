"""Helper processes make the calls of a plan: in their order, with the errors of the caller, and no longer than it."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial

import numpy as np
import pytest

from tinygrad_cnn.kernels import team
from tinygrad_cnn.kernels.blas import one_thread
from tinygrad_cnn.kernels.products import product
from tinygrad_cnn.kernels.shared import shared
from tinygrad_cnn.kernels.team import Team, Turn
from tinygrad_cnn.kernels.threads import run_parts

needs_helpers = pytest.mark.skipif(not team.possible, reason="helpers are forked on Linux, and on x86-64")


@pytest.fixture(autouse=True)
def however_long_helpers_are_waited_for(monkeypatch):
    monkeypatch.setattr(team, "ALONE", 0)


def numbers(count):
    return shared(8 * count).view(np.float64)


def lists(*calls):
    return [[Turn(one)] for one in calls]


def children():
    with open(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children") as file:
        return file.read().split()


@needs_helpers
@pytest.mark.parametrize("looks", [1, 1 << 40])  # asleep, or awake
@pytest.mark.parametrize(("here", "there", "alone"), [(0.01, 0.05, True), (0.03, 0.032, False)])
def test_a_team_that_waits_longer_than_one_process_would_take_is_not_shared(monkeypatch, looks, here, there, alone):
    monkeypatch.setattr(team, "ALONE", 4)
    monkeypatch.setattr(team, "FIRST", 1)
    monkeypatch.setattr(team, "LOOKS", looks)
    one = Team(lists(lambda: time.sleep(here), lambda: time.sleep(there)))
    assert one.run() and one.run()
    assert one.run() is not alone


@needs_helpers
def test_each_list_is_made_by_a_process_of_its_own():
    x = numbers(3)
    one = Team(lists(*(lambda i=i: x.__setitem__(i, os.getpid()) for i in range(3))))
    assert one.run() and len(set(x)) == 3 and x[0] == os.getpid()
    before = set(x)
    assert one.run() and set(x) == before  # by the same helpers
    del one
    assert not set(map(str, before)) & set(children())


@needs_helpers
def test_a_process_goes_on_when_what_it_waits_for_is_made():
    x, at = numbers(4), numbers(1)

    def put(number):
        time.sleep(0.0005 * (number % 2))
        x[int(at[0])] = number
        at[:] += 1

    one = Team(
        [
            [Turn(partial(put, 1.0)), Turn(partial(put, 3.0), ((1, 1),))],
            [Turn(partial(put, 2.0), ((0, 1),)), Turn(partial(put, 4.0), ((0, 2),))],
        ]
    )
    for _ in range(20):
        x[:] = at[:] = 0
        assert one.run() and x.tolist() == [1, 2, 3, 4]


@needs_helpers
@pytest.mark.parametrize("by", [0, 1])
def test_floating_point_errors_are_handled_as_the_caller_does(by):
    out = numbers(3)
    calls = [partial(np.exp, np.zeros(3), out=np.zeros(3)), partial(np.exp, np.full(3, 1e3), out=out)]
    one = Team(lists(*(calls if by else calls[::-1])))
    with np.errstate(over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one.run() and np.isinf(out).all()
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow"):
        one.run()
    with np.errstate(over="warn"), pytest.warns(RuntimeWarning, match="overflow"):
        one.run()


@needs_helpers
@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("divide", partial(np.divide, 1.0, np.zeros(1), out=np.zeros(1))),
        ("under", partial(np.multiply, 1e-300, np.full(1, 1e-300), out=np.zeros(1))),
        ("invalid", partial(np.sqrt, np.full(1, -1.0), out=np.zeros(1))),
    ],
)
def test_each_kind_of_floating_point_error_is_told(kind, call):
    with np.errstate(all="ignore", **{kind: "raise"}), pytest.raises(FloatingPointError):
        Team(lists(len_of_nothing, call)).run()
    with np.errstate(all="raise", **{kind: "ignore"}):
        assert Team(lists(len_of_nothing, call)).run()


def len_of_nothing():
    return len(())


@needs_helpers
def test_an_error_in_either_process_leaves_later_runs_intact():
    x, wrong = numbers(2), numbers(2)

    def fail(i):
        if wrong[i]:
            raise KeyboardInterrupt if i == 0 else ValueError
        x[i] += 1

    one = Team([[Turn(partial(fail, 0)), Turn(len_of_nothing, ((1, 1),))], [Turn(partial(fail, 1), ((0, 1),))]])
    for i, error in ((0, KeyboardInterrupt), (1, RuntimeError)):
        assert one.run()
        wrong[i] = 1
        with pytest.raises(error):
            one.run()
        wrong[i] = 0
        x[:] = 0
        assert one.run() and x.tolist() == [1, 1]


def test_a_process_tells_how_far_it_is_only_where_another_one_waits():
    one = Team([[Turn(int), Turn(int), Turn(int, ((1, 1),))], [Turn(int), Turn(int), Turn(int), Turn(int, ((0, 2),))]])
    assert [[(len(calls), made, after) for calls, made, after in own] for own in one.stretches] == [
        [(2, 2, ()), (1, 3, ((1, 1),))],
        [(1, 1, ()), (2, 3, ()), (1, 4, ((0, 2),))],
    ]


@needs_helpers
def test_helpers_are_asked_once_the_threads_of_blas_sleep(monkeypatch):
    monkeypatch.setattr(team, "SETTLING", 0.05)
    one = Team(lists(int, int))
    assert not one.run()
    time.sleep(0.06)
    assert one.run()


@needs_helpers
def test_a_helper_has_no_threads():
    count = numbers(1)
    product(np.ones((512, 512)), np.ones((512, 512)))
    with one_thread():
        assert Team(lists(int, lambda: count.fill(len(os.listdir("/proc/self/task"))))).run()
    assert count[0] == 1


@needs_helpers
def test_a_helper_that_is_killed_is_noticed_and_replaced():
    pid = numbers(1)
    one = Team(
        [[Turn(partial(time.sleep, 0.01)), Turn(len_of_nothing, ((1, 2),))], [Turn(lambda: pid.fill(os.getpid()))]]
    )
    ended = Team(lists(len_of_nothing, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    with pytest.raises(RuntimeError, match="helper process of a plan has ended"):
        ended.run()
    assert one.run() and pid[0] > 0
    os.kill(int(pid[0]), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="helper process of a plan has ended"):
        one.run()
    assert one.run()


@needs_helpers
@pytest.mark.parametrize("reaped", [False, True])
def test_a_helper_that_is_killed_asleep_is_noticed_and_replaced(reaped):
    pid = numbers(1)
    one = Team(lists(len_of_nothing, lambda: pid.fill(os.getpid())))
    assert one.run()
    os.kill(int(pid[0]), signal.SIGKILL)
    os.waitid(os.P_PID, int(pid[0]), os.WEXITED | (0 if reaped else os.WNOWAIT))
    with pytest.raises(RuntimeError, match="helper process of a plan has ended"):
        one.run()
    assert one.run()


@needs_helpers
def test_a_helper_that_is_killed_is_noticed_while_another_one_waits_for_it():
    kill = Turn(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RuntimeError, match="helper process of a plan has ended"):
        Team([[Turn(len_of_nothing)], [Turn(len_of_nothing, ((2, 1),))], [kill]]).run()


@needs_helpers
def test_an_interrupt_while_helpers_are_waited_for_ends_their_work(monkeypatch):
    x = numbers(1)
    one = Team(lists(len_of_nothing, lambda: (time.sleep(0.2), x.__iadd__(1))))
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            one.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert one.run()
    time.sleep(0.3)
    assert x[0] == 1


@needs_helpers
def test_teams_of_other_sizes_have_helpers_enough():
    x = numbers(3)
    few, many = (Team(lists(*(lambda i=i: x.__setitem__(i, i + 1) for i in range(n)))) for n in (2, 3))
    assert few.run() and many.run() and x.tolist() == [1, 2, 3]
    x[:] = 0
    assert few.run() and x.tolist() == [1, 2, 0] and few.run() and many.run() and x[2] == 3


@needs_helpers
def test_signals_are_for_the_process_and_not_for_its_helpers():
    found = numbers(2)
    before = signal.signal(signal.SIGTERM, lambda *_: found[:1].fill(os.getpid()))
    try:
        one = Team(lists(len_of_nothing, lambda: found[1:].fill(os.getpid())))
        assert one.run()
        helper = found[1]
        for kind in (signal.SIGTERM, signal.SIGINT):
            os.kill(int(helper), kind)
        time.sleep(0.1)
        assert one.run() and found.tolist() == [0, helper]
    finally:
        signal.signal(signal.SIGTERM, before)


@needs_helpers
def test_who_finds_the_helpers_busy_is_told_so():
    inner, found = Team(lists(len_of_nothing, len_of_nothing)), []
    Team(lists(lambda: found.append(inner.run()), len_of_nothing)).run()
    assert found == [False] and inner.run()


def in_a_forked_process(call, meanwhile=lambda: None):
    """The numbers that a call returns in a process that is forked, and how that ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, " ".join(map(str, call())).encode())
        os._exit(0)
    meanwhile()
    os.close(writing)
    with os.fdopen(reading) as found:
        return [*map(float, found.read().split())], os.waitpid(child, 0)[1]


@needs_helpers
def test_a_forked_process_has_helpers_of_its_own():
    def written(x):
        return Team(lists(*(lambda i=i: x.__setitem__(i, os.getpid()) for i in range(2))))

    x = numbers(2)
    one = written(x)
    assert one.run()
    before = x.tolist()

    def of_the_child():
        y = numbers(2)
        assert not one.run() and x.tolist() == before
        assert written(y).run()
        return [len({*before, *y})]

    assert in_a_forked_process(of_the_child) == ([4], 0)
    assert one.run() and x.tolist() == before


@needs_helpers
def test_a_forked_process_has_the_memory_to_itself():
    x, y = numbers((1 << 22) + 1), shared(1)  # of some parts
    x[...] = y[-1] = 1

    def of_the_child():
        time.sleep(0.2)
        found = x.min(), x.max(), y[-1]
        x[...] = y[-1] = 3
        return found

    def of_the_other():
        x[...] = y[-1] = 2

    assert in_a_forked_process(of_the_child, of_the_other) == ([1, 1, 1], 0)
    assert x.min() == x.max() == y[-1] == 2


@needs_helpers
def test_memory_that_nobody_uses_is_not_copied():
    x, y = shared(1, copied=False), numbers(1)

    def of_the_child():
        x[0] = y[0] = 3
        return []

    assert in_a_forked_process(of_the_child) == ([], 0)
    assert x[0] == 3 and y[0] == 0


@needs_helpers
def test_who_traces_this_process_does_not_trace_helpers():
    traced, before, parent = numbers(1), sys.gettrace(), os.getpid()

    def trace(frame, event, arg):
        traced[0] += os.getpid() != parent and frame.f_code is len_of_nothing.__code__

    sys.settrace(trace)
    try:
        Team(lists(len_of_nothing, len_of_nothing)).run()
    finally:
        sys.settrace(before)
    assert not traced[0]


PROGRAM = """
import os, sys, time
from tinygrad_cnn.kernels.shared import shared
from tinygrad_cnn.kernels.team import Team, Turn
x = shared(8).view(int)
Team([[Turn(lambda: None)], [Turn(lambda: x.fill(os.getpid()))]]).run()
kept = Team([[Turn(lambda: None)], [Turn(lambda: x.fill(os.getpid()))]])
kept.run()
print(x[0], flush=True)
if len(sys.argv) > 1:
    os.kill(os.getpid(), 9)
"""


@needs_helpers
@pytest.mark.parametrize("killed", [[], ["killed"]])
def test_helpers_end_with_the_process(killed):
    begin = time.monotonic()
    found = subprocess.run([sys.executable, "-c", PROGRAM, *killed], capture_output=True, text=True, timeout=60)
    assert time.monotonic() - begin < 30 and not found.stderr
    for _ in range(100):
        if not os.path.exists(f"/proc/{int(found.stdout)}"):
            return
        time.sleep(0.1)
    pytest.fail("the helper is still there")


@needs_helpers
def test_where_others_use_the_processors_a_team_is_not_shared_for_some_time(monkeypatch):
    monkeypatch.setattr(team, "ALONE", 4)
    monkeypatch.setattr(team, "FIRST", 2)
    seconds = shared(8).view(np.float64)
    one = Team(lists(partial(time.sleep, 0.02), lambda: time.sleep(seconds[0])))
    seconds[0] = 0.05
    assert "".join("-1"[one.run()] for _ in range(16)) == "111-1--1----1---"
    seconds[0] = 0.0
    assert "".join("-1"[one.run()] for _ in range(7)) == "-111111"
    seconds[0] = 0.05
    assert "".join("-1"[one.run()] for _ in range(5)) == "1-1--"


def test_without_helpers_nothing_is_done(monkeypatch):
    monkeypatch.setattr(team, "possible", False)
    assert not Team(lists(pytest.fail, pytest.fail)).run()


@needs_helpers
def test_where_no_process_can_be_made_nothing_is_done(monkeypatch):
    def refused():
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refused)
    assert not Team(lists(pytest.fail, pytest.fail)).run()


@needs_helpers
@pytest.mark.parametrize("error", [BlockingIOError, RuntimeError])  # too many processes; Python ends
def test_where_too_few_processes_can_be_made_none_stays(monkeypatch, error):
    def fork(original=os.fork, begun=[]):  # noqa: B006
        begun.append(0)
        if len(begun) > 1:
            raise error
        return original()

    Team(lists(len_of_nothing, len_of_nothing)).run()  # and ends, with the helpers that there were
    monkeypatch.setattr(os, "fork", fork)
    before = children(), os.listdir("/proc/self/fd")
    assert not Team(lists(*[len_of_nothing] * 3)).run()
    assert (children(), os.listdir("/proc/self/fd")) == before


@needs_helpers
@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_helper_has_no_file_of_the_process_whichever_are_open(closed):
    files = numbers(2)
    one = Team(lists(len_of_nothing, lambda: files.__setitem__(0, len(os.listdir("/proc/self/fd")))))
    kept = os.dup(closed)
    os.close(closed)
    try:
        assert one.run()
    finally:
        os.dup2(kept, closed)
        os.close(kept)
    assert files[0] == 5  # one of them is that of the folder


def test_parts_run_at_the_same_time_or_where_that_cannot_be_one_after_another():
    together = threading.Barrier(3, timeout=10)
    run_parts([together.wait] * 3)
    found = []
    run_parts([partial(run_parts, [partial(found.append, 1), partial(found.append, 2)]), partial(found.append, 3)])
    assert sorted(found) == [1, 2, 3]
    overflow = partial(np.exp, np.full(3, 1e3), out=np.zeros(3))
    with np.errstate(over="ignore"):
        run_parts([overflow, overflow])
    for parts in ([overflow, len_of_nothing], [len_of_nothing, overflow]):
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            run_parts(parts)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no such timer here")
def test_parts_have_ended_after_an_interrupt_while_they_were_waited_for():
    ended: list[int] = []
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_parts([lambda: signal.setitimer(signal.ITIMER_REAL, 0.1), lambda: (time.sleep(0.4), ended.append(1))])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended


@needs_helpers
def test_a_helper_knows_the_calls_of_other_threads():
    """What a thread keeps for itself, as plans are kept, is let go in a forked process."""
    x, kept, errors = numbers(4), threading.local(), []
    begin = threading.Barrier(2, timeout=10)

    def work(at):
        kept.team = Team(lists(len_of_nothing, lambda: x[at : at + 1].fill(os.getpid())))
        begin.wait()
        for _ in range(20):
            begin.wait()  # so that the other one is not busy
            try:
                if at == 0:
                    kept.team.run()
                begin.wait()
                if at == 1:
                    kept.team.run()
            except RuntimeError as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not errors and x[0] == x[1] > 0
