"""What a person hears of a training whose epochs are long."""

import pytest

from ig3d_ray.progress import Reporter

NEWS = {"member": "cage-maxvit", "epoch": 2, "epochs": 8, "step": 30, "steps": 120}


def test_within_an_epoch_a_log_gets_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter()
    reporter.start_training(1, 0)
    reporter.training(NEWS)
    assert "train: cage-maxvit: epoch 2 of at most 8, step 30 of 120" in capsys.readouterr().err


def test_within_an_epoch_the_bar_moves() -> None:
    reporter = Reporter(quiet=True)
    reporter.live = True
    reporter.start_training(1, 0)
    assert reporter.bars is not None
    reporter.training(NEWS)
    reporter.training({"member": "cage-maxvit", "epoch": 2, "epochs": 8, "score": 0.5, "best": 0.5})
    reporter.training(NEWS | {"epoch": 3, "step": 60})
    (bar,) = reporter.bars.tasks
    assert (bar.total, bar.completed) == (8, 2.5)
    reporter.training({"member": "cage-maxvit", "cached": True})
    assert reporter.bars.tasks == []
    reporter.end_training()


def test_a_worker_tells_when_nobody_has_heard_of_it_for_long() -> None:
    from ig3d_ray.on_ray.watch import NEWS_SECONDS, Watch

    watch = Watch(board=None, rank=0, world=1, minutes=1)
    assert not watch.is_time_for_news()
    watch._told -= NEWS_SECONDS
    assert watch.is_time_for_news()
    assert not watch.is_time_for_news(), "told twice"
    watch._told -= NEWS_SECONDS
    watch.told()
    assert not watch.is_time_for_news(), "an epoch was told of just now"
