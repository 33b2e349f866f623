"""What reaches the terminal: names as text, and a line from whatever lasts."""

import logging
import time

import pytest
from rich.table import Table
from rich.text import Text

from ig3d_ray.cli import steps
from ig3d_ray.cli.say import say
from ig3d_ray.cli.terminal import log_to_stderr, stdout_console
from ig3d_ray.errors import printable

HOSTILE = "a\x1b[31mb\x9b2Jc\x07d\u202ee[bold red]f[/]:smile:"
SHOWN = "a\\x1b[31mb\\x9b2Jc\\x07d\\u202ee[bold red]f[/]:smile:"


def test_control_characters_are_written_out_and_letters_of_any_script_stay() -> None:
    assert printable(HOSTILE) == SHOWN
    plain = "Überraschung 驚き غضب می\u200cخواهم\t1\n2"
    assert printable(plain) == plain
    assert printable("\ud800") == "\\ud800"


def test_a_name_in_a_line_a_table_or_a_log_has_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", title=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    log_to_stderr()
    say(HOSTILE)
    stdout_console().print(table)
    logging.getLogger("ig3d_ray.somewhere").info(HOSTILE)
    out, err = capsys.readouterr()
    assert out.count(SHOWN) == 3
    # Rich leaves some of them out.
    assert SHOWN.replace("\\x07", "") in out.replace(SHOWN, "")
    assert SHOWN in err
    assert not set(out + err) & set("\x1b\x9b\x07\u202e")


def test_whatever_lasts_is_shown_every_few_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "SILENCE", 0.2)
    steps.show_steps(first="ig3d import")
    step = logging.getLogger("ig3d_ray.somewhere")
    step.info("not shown")
    step.debug("reading a file")
    until = time.monotonic() + 20
    shown = ""
    while shown.count("reading a file: still running") < 2 and time.monotonic() < until:
        time.sleep(0.05)
        shown += capsys.readouterr().err
    assert shown.count("reading a file: still running") >= 2
    assert "not shown" not in shown
    steps.hide_steps()
    time.sleep(0.5)
    capsys.readouterr()
    time.sleep(0.5)
    assert capsys.readouterr().err == ""
