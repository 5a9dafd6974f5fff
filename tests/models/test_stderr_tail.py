"""What an engine's process printed before it ended is the reason that people read."""

import subprocess
import sys
import time

import pytest

from grao_pipeline.models.stderr_tail import last_error, stderr_remembered


@pytest.mark.slow
@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (
            "(EngineCore pid=7) ERROR 11-28 [core.py:9] ValueError: LoRA rank 32 is greater",
            "ValueError: LoRA rank 32 is",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory", "OutOfMemoryError: CUDA out of memory"),
        ("KeyError: 'a'\nRuntimeError: Engine core initialization failed. See root cause above", "KeyError: 'a'"),
        ("all is well", None),
    ],
)
def test_the_last_telling_error_is_remembered(
    capfd: pytest.CaptureFixture[str], printed: str, reason: str | None
) -> None:
    program = f"import sys, time; time.sleep(0.1); sys.stderr.write({printed + chr(10)!r})"
    with stderr_remembered():
        process = subprocess.Popen([sys.executable, "-S", "-c", program])
    process.wait()
    deadline = time.monotonic() + 5
    seen = ""
    while printed not in seen and time.monotonic() < deadline:
        seen += capfd.readouterr().err
        time.sleep(0.01)
    assert printed in seen  # it is printed as before, also after the block
    error = last_error()
    assert error is None if reason is None else (error or "").startswith(reason)
