"""Published systems, and how each is run here: the table of docs/methods.md."""

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """One published system.

    Attributes:
        source: its arXiv number.
        advantages, train: options of the two stages that make it, where they do. A and B are scores of two rewards,
            FEATURE scores with steps, REF the log-probs of another model.
        otherwise: how it is run where these two stages are not all.
        limits: what is not the published system.
    """

    name: str
    source: str
    advantages: str = ""
    train: str = ""
    otherwise: str = ""
    limits: str = ""

    @property
    def is_offered(self) -> bool:
        return bool(self.advantages or self.train or self.otherwise)


SAMPLES = "--statistics samples"
KEEP = "--statistics samples --keep-zero-variance"
NO_REFERENCE = "--beta 0 --lambda 0"

SYSTEMS = (
    System("GRAO", "2508.07750", "--estimator grao", "--objective grao"),
    System("GRPO", "2402.03300", f"--estimator grpo {SAMPLES}", "--objective grpo"),
    System(
        "Dr. GRPO",
        "2503.20783",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective dr-grpo --objective-arg max_completion_length=32",
    ),
    System("RLOO", "2402.14740", f"--estimator rloo {SAMPLES}", f"--objective grao {NO_REFERENCE}"),
    System("REINFORCE++", "2501.03262", f"--estimator reinforce++-baseline {SAMPLES}", "--objective grpo"),
    System("MaxRL", "2602.02710", f"--estimator max-rl {SAMPLES}", f"--objective grao {NO_REFERENCE}"),
    System(
        "GDPO",
        "2601.05242",
        f"--scores A --scores B --combine normalize --estimator gdpo {SAMPLES}",
        "--objective grpo",
    ),
    System(
        "Multi-objective GRPO", "2503.21819", f"--scores A --scores B --estimator grpo {SAMPLES}", "--objective grpo"
    ),
    System("GSPO", "2507.18071", f"--estimator grpo {SAMPLES}", "--objective gspo"),
    System("CISPO", "2506.13585", f"--estimator grpo {SAMPLES}", "--objective cispo"),
    System("SAPO", "2511.20347", f"--estimator grpo {SAMPLES}", "--objective sapo"),
    System(
        "DAPO",
        "2503.14476",
        f"--estimator grpo {SAMPLES} --reshape overlong --reshape-arg overlong.limit=16 "
        "--reshape-arg overlong.buffer=8",
        "--objective dapo",
        "dynamic sampling: rounds with resample: {until: variance}",
        "token means are per group, as in the paper's formula",
    ),
    System("Prefix Grouper", "2506.05433", "--estimator grao", "--objective grao --attention split"),
    System(
        "SPO, win rates in the group",
        "2401.04056",
        f"--estimator rank {SAMPLES}",
        "--objective grpo",
        limits="text only",
    ),
    System(
        "Online-RLHF", "2312.11456", f"--estimator dr-grpo {SAMPLES}", "--objective dpo", "rounds with K = 8, 3 rounds"
    ),
    System("DPO", "2305.18290", f"--estimator dr-grpo {SAMPLES}", "--objective dpo"),
    System("IPO", "2310.12036", f"--estimator dr-grpo {SAMPLES}", "--objective pairwise --objective-arg link=ipo"),
    System("KTO", "2402.01306", f"--estimator dr-grpo {KEEP}", "--objective kto", limits="the baseline is the group's"),
    System("ORPO", "2403.07691", f"--estimator dr-grpo {SAMPLES}", "--objective orpo"),
    System("SimPO", "2405.14734", f"--estimator dr-grpo {SAMPLES}", "--objective simpo"),
    System(
        "DisCO",
        "2505.12366",
        f"--estimator dr-grpo {KEEP}",
        "--objective disco",
        limits="KL per group, not per micro-batch",
    ),
    System("SPPO", "2405.00675", f"--estimator dr-grpo {SAMPLES}", "--objective sppo", "--reward judge-win-rate"),
    System(
        "GPO",
        "2410.02197",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective sppo --objective-arg target=score",
        limits="its loss; not its preference model",
    ),
    System("REC", "2509.24203", f"--estimator dr-grpo {SAMPLES}", "--objective rec"),
    System("RED", "2509.24203", f"--estimator red {SAMPLES}", f"--objective grao {NO_REFERENCE}"),
    System("AsymRE", "2506.20520", f"--estimator dr-grpo {SAMPLES}", "--objective asymre"),
    System("OPMD", "2505.17826", f"--estimator dr-grpo {SAMPLES}", "--objective opmd"),
    System(
        "Unlikeliness",
        "2506.02355",
        f"--estimator grpo {SAMPLES} --reshape unlikely",
        "--objective grpo --objective-arg kl=0.1",
    ),
    System(
        "OTC",
        "2504.14870",
        f"--estimator grpo {SAMPLES} --reshape optimal-cost",
        "--objective grpo",
        limits="the least cost is the group's, or the pool's",
    ),
    System(
        "RM ensembles",
        "2310.02743",
        "--scores A --scores B --combine uncertainty --combine-arg penalty=0.5 --combine-arg spread=variance",
        "--objective grao",
    ),
    System("MaxMin-RLHF", "2402.08925", "--scores A --scores B --combine worst-population", "--objective grao"),
    System("COPO", "2508.04138", f"--estimator copo {KEEP}", "--objective grpo"),
    System("TTRV", "2510.06783", otherwise="grao score --reward self-consistency"),
    System("GRPO-D", "2503.16081", f"--estimator grpo {SAMPLES}", "--objective grpo --objective-arg kl=dip(0.04,0.1)"),
    System("URPO", "2507.17515", otherwise="rounds with score: {reward: judge-rubric, reward_arg: {model: ${policy}}}"),
    System(
        "UnifiedReward-Think",
        "routing",
        otherwise="--min-mean-reward and --max-mean-reward divide groups in two tables",
    ),
    System("ReAgent-V", "three judges", otherwise="three judge-rubric, and --combine minimum or uncertainty"),
    System("Implicit reward bridge", "learning rates", otherwise="learning_rate by round in the rounds' YAML"),
    System(
        "GDEPO",
        "2601.06795",
        "--estimator signed-by --estimator-arg correct=reward.a --estimator-arg aux=reward.b --scores A "
        f"--scores B {SAMPLES}",
        "--objective grpo",
        "rounds with resample: {until: success}",
        "mechanism of its abstract; no repeated gradient steps",
    ),
    System(
        "GTPO",
        "2508.03772",
        f"--estimator gtpo --estimator-arg start_entropy=1 {SAMPLES} --token-weights conflicts",
        "--objective grpo",
    ),
    System(
        "80/20 tokens",
        "2506.01939",
        f"--estimator grpo {SAMPLES} --token-weights top-entropy",
        "--objective grpo",
        limits="tokens ranked by their own log-prob",
    ),
    System(
        "GiGPO",
        "2505.10978",
        f"--estimator dr-grpo {KEEP} --feature f=FEATURE --token-weights gigpo --token-weights-arg gigpo.scores=f",
        "--objective grpo",
        limits="imported trajectories with steps",
    ),
    System(
        "SALT",
        "2510.20022",
        f"--estimator dr-grpo {KEEP} --feature f=FEATURE --token-weights salt --token-weights-arg salt.scores=f",
        "--objective grpo",
        limits="imported trajectories with steps",
    ),
    System(
        "Rank-GRPO",
        "2510.20150",
        f"--estimator dr-grpo {KEEP} --feature f=FEATURE --token-weights items --token-weights-arg items.scores=f",
        "--objective grpo",
        limits="ratios per token, not per item",
    ),
    System("TRPA", "2504.04524", f"--estimator dr-grpo {KEEP}", "--objective trpa --objective-arg levels=[1,0.5]"),
    System(
        "IRPO, ranked lists",
        "2504.15477",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective ranked-list --objective-arg buckets=[0.5,1]",
    ),
    System(
        "RE-PO",
        "2509.24159",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective pairwise --objective-arg label_reliability=0.9",
        limits="the reliability is fixed within a training",
    ),
    System("SmPO", "soft labels", f"--estimator dr-grpo {SAMPLES}", "--objective pairwise --objective-arg link=soft"),
    System(
        "DNO",
        "2404.03715",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective pairwise --objective-arg pairs=large-margin --objective-arg floor=0.5 "
        "--objective-arg against=ref --logprobs ref=REF",
    ),
    System(
        "Curry-DPO",
        "2403.07230",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective pairwise --objective-arg pairs=ranks --objective-arg loser=2",
        "the loser by round: a list of objective_arg under overrides",
    ),
    System("P3O", "2310.00212", f"--estimator dr-grpo {SAMPLES}", "--objective p3o", limits="our reading of its clip"),
    System("Reg-GRPO", "2506.07464", f"--estimator grpo {SAMPLES}", "--objective regression"),
    System(
        "EGPO",
        "2503.08942",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective pairwise --objective-arg link=preference-gap",
        limits="its loss; the half step needs preferences of samples that no table has",
    ),
    System(
        "GCPO",
        "2506.07160",
        f"--estimator grpo {SAMPLES} --feature f=FEATURE --reshape contrast-bonus "
        "--reshape-arg contrast-bonus.feature=f --reshape-arg contrast-bonus.bonus=0.5 "
        "--reshape-arg contrast-bonus.margin=0.1",
        "--objective grpo",
        limits="one group is split, not two sampled; constants unknown",
    ),
    System(
        "GRPO-S of DR-IRL",
        "2503.18991",
        "--estimator hardness-scaled --estimator-arg similarity=f --feature f=FEATURE",
        "--objective grao",
        limits="our reading of one of its two factors",
    ),
    System(
        "DaGRPO",
        "2512.06337",
        f"--estimator grpo {SAMPLES} --feature f=FEATURE --filter indistinct "
        "--filter-arg indistinct.score=f --filter-arg indistinct.tau=0.01",
        "--objective grpo",
        limits="its threshold is unknown",
    ),
    System(
        "GEPO",
        "class means",
        f"--estimator grpo {SAMPLES} --feature f=FEATURE --reshape class-mean --reshape-arg class-mean.feature=f",
        "--objective grpo",
        limits="as its abstract describes it",
    ),
    System(
        "On-policy distillation",
        "2306.13649",
        f"--estimator dr-grpo {KEEP}",
        "--objective distillation --objective-arg teacher=ref --logprobs ref=REF",
        limits="sampled tokens, not the whole distribution",
    ),
    System(
        "KL to a fixed model",
        "2402.03300",
        f"--estimator grpo {SAMPLES}",
        "--objective grpo --objective-arg kl=0.01 --objective-arg kl_against=ref --logprobs ref=REF",
    ),
    System("Knapsack RL", "2509.25849", otherwise="grao curriculum --budget knapsack --samples 8"),
    System(
        "CurES",
        "2510.01037",
        otherwise="grao curriculum --priority cures --priority-arg tau=0.1 --uniform-mix 0 --budget spread --samples 8",
        limits="no norms of gradients; tau is stated nowhere",
    ),
    System("MMR1", "2509.21268", otherwise="grao curriculum --priority vas --uniform-mix 0.5"),
    System(
        "Datarus", "2508.13382", otherwise="rounds: weight: {schedule: cosine, from: 1, to: 0}", limits="our reading"
    ),
    System(
        "AMFT", "2508.06944", otherwise="rounds: beta: {schedule: towards, …}", limits="its entropy controller alone"
    ),
    System("TON", "2505.16854", limits="rewrites of rows are not built yet; edit the dataset"),
    System("APO, PEO", "2410.06293", limits="arithmetic of models is not built yet"),
    System(
        "MultiRole-R1", "2507.20187", limits="its diversity reward is not built: its own table contradicts its scale"
    ),
    System("GPM", "2410.02197", limits="its preference model is not built: no code of a model directory is run"),
    System("Listener", "likelihood of the answer", limits="not built yet: a reward that asks a model for a likelihood"),
    System(
        "R1-Router, OORL", "step rewards", limits="built-in rewards have no steps; a table of scores with steps is read"
    ),
    System("BranchGRPO", "tree sampling", limits="needs an engine that samples trees"),
    System(
        "TW-GRPO",
        "2505.24718",
        limits="needs every sample's distribution over the vocabulary at every place, for a whole group at once",
    ),
    System("SparsePO", "2410.05102", limits="its masks are trained from hidden states"),
    System("MAESTRO", "2601.07208", limits="needs hidden states, and a second learner inside of the training"),
    System("BMC", "2408.07471", limits="needs edited references with factors of their tokens"),
    System(
        "Rationales",
        "2407.14477",
        limits="a joint loss needs a third kind of sequence; train on a table whose references are rationales",
    ),
    System("SSPO", "losers of old checkpoints", limits="a group has one policy"),
    System("MAPL", "unread", limits="its formulas were not read"),
)
