"""grao-pipeline: group generation and offline alignment of language models with GRAO (arXiv 2508.07750).

The public Python API is what this package exports. A stage is one function, `verb(*inputs, out, options)`, that reads
tables, writes a table or a model, and returns a summary:

    from grao_pipeline import GenerateOptions, ScoreOptions, generate_groups, open_table, score_groups

    generate_groups("data/train", "runs/groups", GenerateOptions(model="Qwen/Qwen2.5-0.5B-Instruct"))
    score_groups("runs/groups", "runs/scores", ScoreOptions(reward="gsm8k"))
    print(open_table("runs/scores").polars())

All of it is described in docs/python-api.md. A name loads its module when it is first used (PEP 562): importing this
package loads nothing but itself.
"""

from grao_pipeline.lazy import LazyExports

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:  # what `_EXPORTS` says, for type checkers and editors
    from grao_pipeline.advantages.compute import compute_advantages as compute_advantages
    from grao_pipeline.advantages.estimators.base import Estimator as Estimator
    from grao_pipeline.advantages.options import AdvantagesOptions as AdvantagesOptions
    from grao_pipeline.advantages.options import WeightedScores as WeightedScores
    from grao_pipeline.arguments import PluginArguments as PluginArguments
    from grao_pipeline.arguments import argument as argument
    from grao_pipeline.doctor.examine import examine_machine as examine_machine
    from grao_pipeline.doctor.options import DoctorOptions as DoctorOptions
    from grao_pipeline.errors import DamagedPart as DamagedPart
    from grao_pipeline.errors import GraoError as GraoError
    from grao_pipeline.errors import InputError as InputError
    from grao_pipeline.errors import Interrupted as Interrupted
    from grao_pipeline.errors import MismatchError as MismatchError
    from grao_pipeline.errors import MissingDependency as MissingDependency
    from grao_pipeline.errors import SchemaError as SchemaError
    from grao_pipeline.errors import StageFailure as StageFailure
    from grao_pipeline.errors import UsageError as UsageError
    from grao_pipeline.evaluation.evaluate import evaluate as evaluate
    from grao_pipeline.evaluation.options import EvaluateOptions as EvaluateOptions
    from grao_pipeline.exporting.export import export_table as export_table
    from grao_pipeline.exporting.options import ExportOptions as ExportOptions
    from grao_pipeline.generation.engines.base import Engine as Engine
    from grao_pipeline.generation.generate import generate_groups as generate_groups
    from grao_pipeline.generation.options import GenerateOptions as GenerateOptions
    from grao_pipeline.hub.options import PushOptions as PushOptions
    from grao_pipeline.hub.push import push_path as push_path
    from grao_pipeline.importing.import_groups import import_groups as import_groups
    from grao_pipeline.importing.options import ImportOptions as ImportOptions
    from grao_pipeline.inspection.inspect import inspect_path as inspect_path
    from grao_pipeline.inspection.options import InspectOptions as InspectOptions
    from grao_pipeline.lineage.options import VerifyOptions as VerifyOptions
    from grao_pipeline.lineage.verify import verify_chain as verify_chain
    from grao_pipeline.progress import Progress as Progress
    from grao_pipeline.prompts.build import build_prompts as build_prompts
    from grao_pipeline.prompts.curriculum import choose_prompts as choose_prompts
    from grao_pipeline.prompts.minibatch import take_prompts as take_prompts
    from grao_pipeline.prompts.options import CurriculumOptions as CurriculumOptions
    from grao_pipeline.prompts.options import MinibatchOptions as MinibatchOptions
    from grao_pipeline.prompts.options import PromptsOptions as PromptsOptions
    from grao_pipeline.prompts.options import ResampleOptions as ResampleOptions
    from grao_pipeline.prompts.resample import resample_prompts as resample_prompts
    from grao_pipeline.references.options import ReferencesOptions as ReferencesOptions
    from grao_pipeline.references.references import write_references as write_references
    from grao_pipeline.report.options import ReportOptions as ReportOptions
    from grao_pipeline.report.report import write_report as write_report
    from grao_pipeline.reward_checks.audit import audit_scores as audit_scores
    from grao_pipeline.reward_checks.compare import compare_scores as compare_scores
    from grao_pipeline.reward_checks.options import AuditOptions as AuditOptions
    from grao_pipeline.reward_checks.options import CompareOptions as CompareOptions
    from grao_pipeline.rounds.overview import plan_rounds as plan_rounds
    from grao_pipeline.rounds.run import run_rounds as run_rounds
    from grao_pipeline.rounds.tournament import run_tournament as run_tournament
    from grao_pipeline.rounds.tournament_options import TournamentOptions as TournamentOptions
    from grao_pipeline.scoring.options import ScoreOptions as ScoreOptions
    from grao_pipeline.scoring.rewards.base import Candidate as Candidate
    from grao_pipeline.scoring.rewards.base import Judgement as Judgement
    from grao_pipeline.scoring.rewards.base import Reward as Reward
    from grao_pipeline.scoring.score import score_groups as score_groups
    from grao_pipeline.scoring.steps import Step as Step
    from grao_pipeline.storage.reader import open_table as open_table
    from grao_pipeline.tracking.follow import log_run as log_run
    from grao_pipeline.tracking.options import LogOptions as LogOptions
    from grao_pipeline.training.logprobs.compute import compute_logprobs as compute_logprobs
    from grao_pipeline.training.logprobs.options import LogprobsOptions as LogprobsOptions
    from grao_pipeline.training.merging.merge import merge_models as merge_models
    from grao_pipeline.training.merging.options import MergeOptions as MergeOptions
    from grao_pipeline.training.objectives.base import Objective as Objective
    from grao_pipeline.training.options import TrainOptions as TrainOptions
    from grao_pipeline.training.train import train_model as train_model

_MODULES = {
    "advantages.compute": "compute_advantages",
    "advantages.estimators.base": "Estimator",
    "advantages.options": "AdvantagesOptions WeightedScores",
    "arguments": "PluginArguments argument",
    "doctor.examine": "examine_machine",
    "doctor.options": "DoctorOptions",
    "errors": (
        "DamagedPart GraoError InputError Interrupted MismatchError MissingDependency SchemaError StageFailure "
        "UsageError"
    ),
    "evaluation.evaluate": "evaluate",
    "evaluation.options": "EvaluateOptions",
    "exporting.export": "export_table",
    "exporting.options": "ExportOptions",
    "generation.engines.base": "Engine",
    "generation.generate": "generate_groups",
    "generation.options": "GenerateOptions",
    "hub.options": "PushOptions",
    "hub.push": "push_path",
    "importing.import_groups": "import_groups",
    "importing.options": "ImportOptions",
    "inspection.inspect": "inspect_path",
    "inspection.options": "InspectOptions",
    "lineage.options": "VerifyOptions",
    "lineage.verify": "verify_chain",
    "progress": "Progress",
    "prompts.build": "build_prompts",
    "prompts.curriculum": "choose_prompts",
    "prompts.minibatch": "take_prompts",
    "prompts.options": "CurriculumOptions MinibatchOptions PromptsOptions ResampleOptions",
    "prompts.resample": "resample_prompts",
    "references.options": "ReferencesOptions",
    "reward_checks.audit": "audit_scores",
    "reward_checks.compare": "compare_scores",
    "reward_checks.options": "AuditOptions CompareOptions",
    "references.references": "write_references",
    "report.options": "ReportOptions",
    "report.report": "write_report",
    "rounds.overview": "plan_rounds",
    "rounds.run": "run_rounds",
    "rounds.tournament": "run_tournament",
    "rounds.tournament_options": "TournamentOptions",
    "scoring.options": "ScoreOptions",
    "scoring.rewards.base": "Candidate Judgement Reward",
    "scoring.score": "score_groups",
    "scoring.steps": "Step",
    "storage.reader": "open_table",
    "tracking.follow": "log_run",
    "tracking.options": "LogOptions",
    "training.logprobs.compute": "compute_logprobs",
    "training.logprobs.options": "LogprobsOptions",
    "training.merging.merge": "merge_models",
    "training.merging.options": "MergeOptions",
    "training.objectives.base": "Objective",
    "training.options": "TrainOptions",
    "training.train": "train_model",
}
_EXPORTS = LazyExports(
    __name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names.split()}
)
__all__ = _EXPORTS.names()
if not TYPE_CHECKING:
    __getattr__, __dir__ = _EXPORTS.load, _EXPORTS.directory
