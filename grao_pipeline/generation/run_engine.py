"""From the requests of an assembler through an engine to its groups."""

from grao_pipeline.amounts import some
from grao_pipeline.errors import Interrupted
from grao_pipeline.generation.engine_output import EngineOutput
from grao_pipeline.generation.engines.base import Engine, Sampling
from grao_pipeline.generation.part_assembler import PartAssembler
from grao_pipeline.generation.run_report import RunReport
from grao_pipeline.processes import StopSignals


def run_engine(
    engine: Engine,
    assembler: PartAssembler,
    sampling: Sampling,
    report: RunReport,
    output: EngineOutput | None = None,
) -> None:
    """Sample the requests of the assembler, give it the groups, and close the engine.

    Args:
        output: completes the samples; None where they are texts.

    Raises:
        Interrupted: SIGTERM or SIGINT; finished groups are saved.
    """
    report.started()
    try:
        with StopSignals() as signals:
            for returned in signals.interruptible(engine.generate(assembler.parts(), sampling)):
                groups = returned if output is None else output.completed(returned)
                report.sampled(groups)
                assembler.add(groups)
            assembler.finish()
            report.finished()
    except Interrupted as stop:
        num_saved = assembler.save_unfinished()
        raise Interrupted(
            f"{stop} {some(assembler.num_committed, 'part is', 'parts are')} committed, and "
            f"{some(num_saved, 'finished group is', 'finished groups are')} saved of parts that are not. Run the same "
            "command to resume."
        ) from None
    except BaseException:  # whatever it is, finished groups are expensive
        assembler.save_unfinished()
        raise
    finally:
        engine.close()
