import copy
import math
import threading
from itertools import islice
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from teachkit.clipping import Clipper
from teachkit.models import SequenceModel, make_elman
from teachkit.tasks import TemporalOrder, batches
from teachkit.training import History, fit, train_steps
from tests.reference import total_norm

TASK = TemporalOrder(10)


def small_model():
    return SequenceModel(make_elman(8, 1.5, input_size=6), 4)


def train(model, loader=None, *, lr=0.1, **options):
    options = {"loss": TASK.loss, "steps": 5, "progress": False, **options}
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return fit(
        model, batches(TASK, 4) if loader is None else loader, optimizer=optimizer, **options
    )


def same_weights(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("threshold", [None, 0.05, 0.5])
@pytest.mark.parametrize("num_threads", [1, 2, None])
def test_training_is_the_loop_written_by_hand(threshold, num_threads):
    model = small_model()
    twin = copy.deepcopy(model)
    clipper = None if threshold is None else Clipper("norm", threshold)
    history = train(model, clipper=clipper, steps=60, num_threads=num_threads)

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for step, (x, target) in enumerate(islice(batches(TASK, 4), 60)):
        optimizer.zero_grad()
        loss = F.cross_entropy(twin(x), target)
        loss.backward()
        limit = math.inf if threshold is None else threshold
        norm = total_norm([p.grad for p in twin.parameters()]).item()
        if threshold is not None:
            nn.utils.clip_grad_norm_(twin.parameters(), threshold)
        optimizer.step()
        assert history.loss[step] == loss.item()
        assert history.grad_norm[step] == pytest.approx(norm)
        assert history.clipped[step] == (norm > limit)
    assert len(history) == 60
    assert history.status == "finished"
    assert same_weights(model, twin)


def test_the_steps_can_be_driven_from_outside():
    model, twin = small_model(), small_model()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    expected = train(model, steps=3)
    run = train_steps(twin, batches(TASK, 4), loss=TASK.loss, optimizer=optimizer)
    lengths = [len(history) for history in islice(run, 2)]
    history = next(run)
    assert lengths == [1, 2]
    assert history.loss == expected.loss
    assert history.status == "running"
    assert same_weights(model, twin)


def test_a_score_every_few_steps_and_at_the_end_in_eval_mode():
    model, modes = small_model(), []

    def score(m):
        assert not torch.is_grad_enabled()
        modes.append(m.training)
        return len(modes)

    history = train(model, steps=7, score=score, score_every=3)
    assert history.score == {2: 1, 5: 2, 6: 3}
    assert modes == [False] * 3
    assert model.training
    assert train(model, steps=6, score=score, score_every=3).score == {2: 4, 5: 5}  # none twice


def test_a_finite_loader_starts_again():
    pieces = list(islice(batches(TASK, 4), 2))
    model, twin = small_model(), small_model()
    assert train(model, pieces).loss == train(twin, pieces * 3).loss
    assert same_weights(model, twin)


def test_no_batch_is_taken_that_is_not_trained_on():
    pieces = iter(list(islice(batches(TASK, 4), 6)))
    assert len(train(small_model(), pieces)) == 5
    assert len(list(pieces)) == 1


def test_the_stop_switch_keeps_the_history():
    stop, seen = threading.Event(), []

    def on_step(history):
        seen.append(len(history))
        if len(history) == 3:
            stop.set()

    history = train(small_model(), steps=100, on_step=on_step, stop=stop, score=lambda m: 0.5)
    assert history.status == "stopped"
    assert seen == [1, 2, 3]
    assert (len(history), history.score) == (3, {2: 0.5})


def test_an_interrupt_keeps_the_history_and_a_model_that_trains_on():
    model, before = small_model(), torch.get_num_threads()

    def on_step(history):
        if len(history) == 3:
            raise KeyboardInterrupt

    history = train(model, steps=100, on_step=on_step, num_threads=before + 1)
    assert history.status == "interrupted"
    assert len(history.frame) == 3
    assert torch.get_num_threads() == before
    assert train(model).status == "finished"


def test_a_loss_that_leaves_float_range_ends_training():
    model = nn.Linear(1, 1)
    pieces = [(torch.ones(1, 1), torch.ones(1, 1))] * 2 + [(torch.ones(1, 1), torch.ones(1, 1) / 0)]
    history = train(model, pieces, loss=F.mse_loss, steps=100, score=lambda m: 1)
    assert history.status == "diverged"
    assert len(history) == 3
    assert history.loss[-1] == math.inf
    assert list(history.score) == [2]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_step_size_that_is_too_large_diverges():
    model = nn.Linear(1, 1)
    pieces = [(torch.ones(4, 1), torch.zeros(4, 1))]
    history = train(model, pieces, loss=F.mse_loss, lr=1e6, steps=1000)
    assert history.status == "diverged"
    assert len(history) < 20
    assert train(nn.Linear(1, 1), pieces, loss=F.mse_loss, lr=0.1, steps=20).status == "finished"


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_clipper_may_skip_steps_that_would_end_training(bad):
    pieces = [(torch.ones(1, 1), torch.zeros(1, 1))] * 2
    pieces.insert(1, (torch.ones(1, 1), torch.full((1, 1), bad)))
    model, twin = nn.Linear(1, 1), nn.Linear(1, 1)
    twin.load_state_dict(model.state_dict())
    clip = Clipper("norm", skip_nonfinite=True)
    history = train(model, pieces, loss=F.mse_loss, steps=6, clipper=clip)
    assert history.status == "finished"
    assert history.skipped == [False, True, False] * 2
    assert [record.skipped for record in clip.records] == history.skipped
    assert [math.isfinite(value) for value in history.loss] == [True, False, True] * 2
    # as if those batches had not been there
    healthy = [pieces[0], pieces[2]]
    without = train(twin, healthy, loss=F.mse_loss, steps=4, clipper=Clipper("norm"))
    assert same_weights(model, twin)
    assert without.skipped == [False] * 4
    assert [v for v in history.loss if math.isfinite(v)] == without.loss
    # and without the option it is the end
    again = train(model, pieces, loss=F.mse_loss, steps=6, clipper=Clipper("norm"))
    assert (again.status, again.skipped) == ("diverged", [False] * 2)


@pytest.mark.parametrize("method", ["autoclip", "recurrent", "agc"])
def test_other_methods_in_a_loop_by_hand(method):
    model = small_model()
    twin, by_hand = copy.deepcopy(model), Clipper(method)
    history = train(model, clipper=Clipper(method), steps=20)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for step, (x, target) in enumerate(islice(batches(TASK, 4), 20)):
        optimizer.zero_grad()
        F.cross_entropy(twin(x), target).backward()
        record = by_hand(twin)
        optimizer.step()
        assert (history.grad_norm[step], history.clipped[step]) == (
            record.norm_before,
            record.clipped,
        )
    assert same_weights(model, twin)
    assert any(history.clipped)


def test_the_thread_count_is_set_inside_and_restored_after_an_error():
    before, seen = torch.get_num_threads(), []
    train(
        small_model(),
        num_threads=before + 1,
        on_step=lambda _: seen.append(torch.get_num_threads()),
    )
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError):
        train(small_model(), num_threads=before + 1, on_step=lambda _: 1 / 0)
    assert torch.get_num_threads() == before


def test_measuring_the_threads_leaves_the_training_as_it_is():
    x, y = TASK.batch(24, torch.Generator().manual_seed(0))
    data = torch.utils.data.TensorDataset(x.transpose(0, 1), y)

    def losses(num_threads):
        torch.manual_seed(0)
        rnn = nn.RNN(6, 8, batch_first=True)
        shuffled = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
        return train(SequenceModel(rnn, 4), shuffled, num_threads=num_threads).loss

    assert losses(None) == pytest.approx(losses(1), rel=1e-5)


def test_the_device_can_be_named():
    assert train(small_model(), device="cpu").status == "finished"


def test_progress_counts_the_steps(capsys):
    train(small_model(), progress=True)
    assert "training" in capsys.readouterr().err
    train(small_model(), progress=False)
    assert capsys.readouterr().err == ""


def test_the_history_as_a_table_and_as_a_sentence():
    history = History(
        [2.0, 1.0], [3.0, 4.0], [True, False], [False, True], {1: 0.5}, "finished", 0.25
    )
    table = history.frame
    assert table.index.name == "step"
    assert table["loss"].tolist() == [2, 1]
    assert table["grad_norm"].tolist() == [3, 4]
    assert table["clipped"].tolist() == [True, False]
    assert table["skipped"].tolist() == [False, True]
    assert math.isnan(table["score"][0])
    assert table["score"][1] == 0.5
    assert repr(history) == "History(finished after 2 steps in 0.2 s: loss 2 -> 1)"
    assert repr(History()) == "History(running after 0 steps in 0.0 s: no step)"
    assert History().frame.empty


def test_the_wall_time_grows():
    seconds = []
    history = train(small_model(), on_step=lambda h: seconds.append(h.seconds))
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < history.seconds + 1e-12


def test_an_optimizer_that_needs_a_closure_is_refused_before_anything_runs():
    model, drawn = small_model(), []

    def loader():
        drawn.append(1)
        yield from batches(TASK, 2)

    lbfgs = torch.optim.LBFGS(model.parameters())
    words = r"^optimizer must be one whose step\(\) needs no closure, but .*LBFGS.* was given\.$"
    with pytest.raises(ValueError, match=words):
        fit(model, loader(), loss=F.cross_entropy, optimizer=lbfgs, steps=1, progress=False)
    with pytest.raises(ValueError, match=words):
        next(train_steps(model, loader(), loss=F.cross_entropy, optimizer=lbfgs))
    assert not drawn
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.Rprop):
        optimizer = kind(model.parameters(), lr=0.01)
        torch.optim.lr_scheduler.ConstantLR(optimizer)  # which puts a step of its own there
        made = fit(
            model,
            batches(TASK, 2),
            loss=TASK.loss,
            optimizer=optimizer,
            steps=1,
            progress=False,
        )
        assert len(made) == 1
    wrong: Any = "sgd"
    with pytest.raises(ValueError, match=r"^optimizer must be a torch.optim.Optimizer, but 'sgd'"):
        fit(model, loader(), loss=TASK.loss, optimizer=wrong, steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, but 0 was given"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1, but 2.5 was given"),
        ({"score_every": 0}, "score_every must be a whole number of at least 1, but 0"),
        ({"num_threads": 0}, "num_threads must be a whole number of at least 1, but 0"),
        ({"device": "tpu"}, "device must be one of 'cpu', 'cuda', 'mps', but 'tpu'"),
        ({"loader": []}, r"loader must yield at least one \(x, target\) batch, but it is empty"),
        ({"loader": iter(())}, "loader must yield at least one"),
        ({"loss": lambda y, t: y}, r"loss must be a function of \(output, target\) that returns"),
        ({"loss": lambda y, t: 0.5}, "loss must be a function of .* scalar tensor, but 0.5"),
    ],
)
def test_bad_arguments_are_named(options, message):
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match=f"^{message}"):
        train(small_model(), **options)
    assert torch.get_num_threads() == before
