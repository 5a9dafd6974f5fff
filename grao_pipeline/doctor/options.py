"""Options of `grao doctor`."""

from grao_pipeline.options import StageOptions, runtime


class DoctorOptions(StageOptions):
    """`grao doctor`: what works on this machine."""

    only: list[str] = runtime(
        [],
        "Try only this: packages, devices, engines, attentions, sandbox; or one thing, e.g. 'engine vllm'. Repeatable.",
    )
    timeout: float = runtime(300.0, "Seconds after which a trial counts as failed.", gt=0.0)
