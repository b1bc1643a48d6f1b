"""Standard error as C++ code writes to it: notices are left out, everything else arrives."""

import os

import pytest

from icface.notices import without_notices


def test_notices_are_left_out_and_other_lines_arrive(capfd: pytest.CaptureFixture[str]):
    with without_notices([b"level set"]):
        os.write(2, b"x.cc:303: level set to 3\nsomething is wrong\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "something is wrong\nafter\n"


def test_what_was_said_before_an_error_arrives(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError), without_notices([b"notice"]):
        os.write(2, b"a notice\nthe cause\n")
        raise ValueError
    assert capfd.readouterr().err == "the cause\n"
