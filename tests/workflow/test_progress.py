"""What a person hears of what is under way: long epochs, and a job whose cluster can't be reached for a while."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from ig3d_ray.errors import Ig3dError
from ig3d_ray.training.state import Epoch
from ig3d_ray.workflow.progress import Reporter

NEWS = {"member": "cage-maxvit", "epoch": 2, "epochs": 8, "step": 30, "steps": 120}


def test_within_an_epoch_a_log_gets_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ig3d_ray")
    reporter = Reporter()
    reporter.start_training(1, 0)
    reporter.training(NEWS)
    assert "train: cage-maxvit: epoch 2 of at most 8, step 30 of 120" in caplog.messages


def test_within_an_epoch_the_bar_moves() -> None:
    reporter = Reporter(Console(force_terminal=True, file=io.StringIO()))
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


class Board:
    """The driver's, without Ray: what was posted."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.post = self

    def remote(self, event: dict[str, Any]) -> None:
        self.events.append(event)


def test_a_worker_tells_when_nobody_has_heard_of_it_for_long() -> None:
    from ig3d_ray.on_ray.news import NEWS_SECONDS, News

    state = {"progress": {"history": [{}, {}]}, "within": {"step": 60}}
    board = Board()
    news = News(board, rank=0)
    assert not news.is_due()
    news._told -= NEWS_SECONDS
    assert news.is_due()
    news.within("cage-maxvit", 8, 120, state)
    assert board.events == [{"member": "cage-maxvit", "epochs": 8, "steps": 120, "epoch": 3, "step": 60}]
    assert not news.is_due(), "reported twice"
    news._told -= NEWS_SECONDS
    news.epoch("cage-maxvit", 8, Epoch(number=3, loss=1.0, score=0.5, best_score=0.6, best_epoch=2, finished=False))
    assert board.events[1] == {"member": "cage-maxvit", "epochs": 8, "epoch": 3, "loss": 1.0, "score": 0.5, "best": 0.6}
    assert not news.is_due(), "an epoch was reported just now"


def test_the_other_workers_of_a_training_leave_its_news_to_the_first() -> None:
    from ig3d_ray.on_ray.news import NEWS_SECONDS, News

    board = Board()
    news = News(board, rank=1)
    news._told -= NEWS_SECONDS
    assert not news.is_due()
    news.left("cage-maxvit", "stopped", {"progress": [{"history": []}], "within": None})
    assert board.events == []


class Dropping:
    """A cluster's jobs behind a connection that is dropped some times; the job ends at the third look."""

    def __init__(self, drops: int) -> None:
        self.drops, self.looks = drops, 0

    def _reach(self) -> None:
        if self.drops:
            self.drops -= 1
            raise ConnectionError("connection refused")

    def get_job_status(self, job: str) -> Any:
        self._reach()
        self.looks += 1
        return SimpleNamespace(is_terminal=lambda: self.looks == 3)

    def get_job_logs(self, job: str) -> str:
        self._reach()
        return "".join(f"line {look}\n" for look in range(self.looks))

    def get_job_info(self, job: str) -> Any:
        return SimpleNamespace(driver_exit_code=0, status="SUCCEEDED")


def test_a_job_is_followed_over_a_dropped_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from ig3d_ray.on_ray import jobs

    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "_client", lambda address: Dropping(drops=3))
    shown: list[str] = []
    assert jobs.follow("http://127.0.0.1:1", "job_1", shown.append) == 0
    assert "".join(shown) == "line 0\nline 1\nline 2\n"


def test_who_follows_a_job_learns_that_it_goes_on_without_him(monkeypatch: pytest.MonkeyPatch) -> None:
    from ig3d_ray.on_ray import jobs

    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(jobs, "_client", lambda address: Dropping(drops=10**9))
    with pytest.raises(Ig3dError, match=r"no longer answers \(connection refused\); the job continues: ray job logs"):
        jobs.follow("http://127.0.0.1:1", "job_1", lambda text: None)
