"""Published systems that need more than advantages and a training, in part or as a whole; and those not offered."""

from grao_pipeline.cli.system import KEEP, SAMPLES, System

FURTHER = (
    System(
        "Knapsack RL",
        "2509.25849",
        otherwise="grao curriculum PROMPTS OUT --history GROUPS A --budget knapsack --samples 8",
    ),
    System(
        "CurES",
        "2510.01037",
        otherwise="grao curriculum PROMPTS OUT --history GROUPS A --priority cures --priority-arg tau=0.1 "
        "--uniform-mix 0 --budget spread --samples 8",
        limits="no norms of gradients; tau is stated nowhere",
    ),
    System(
        "MMR1",
        "2509.21268",
        otherwise="grao curriculum PROMPTS OUT --history GROUPS A --priority vas --uniform-mix 0.5",
    ),
    System(
        "Datarus",
        "2508.13382",
        rounds="score: [{reward: gsm8k, weight: {schedule: cosine, from: 0, to: 1}}, "
        "{reward: regex, reward_arg: {pattern: TEXT}, weight: {schedule: cosine, from: 1, to: 0}}]",
        limits="our reading",
    ),
    System(
        "AMFT",
        "2508.06944",
        rounds="train: {beta: {schedule: towards, metric: entropy, target: 1.0, gain: 0.5, from: 0.5, low: 0.05, "
        "high: 0.95}}",
        limits="its entropy controller alone",
    ),
    System("TON", "2505.16854", otherwise="grao prompts SOURCE OUT --rewrite thought-dropout"),
    System(
        "APO",
        "2410.06293",
        rounds="merge: {momentum: 0.3}",
        otherwise="grao merge OUT --model LATER --model EARLIER --momentum 0.3",
        limits="momentum of weights, not of probabilities; its constant is unknown",
    ),
    System("PEO", "merged policies", otherwise="grao merge OUT --model A=1.3 --model B=-0.3"),
    System(
        "MultiRole-R1",
        "2507.20187",
        f"--scores A=0.9 --scores B=0.1 --estimator grpo {SAMPLES}",
        "--objective grpo",
        "B: grao score GROUPS B --reward diversity --reward-arg yule_scale=100",
        "the scale of Yule's K is unknown: the paper's table contradicts its formula",
    ),
    System(
        "GPM",
        "2410.02197",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective sppo",
        "grao score GROUPS SCORES --reward preference-model --reward-arg model=MODEL",
        "a sequence classifier with 2k outputs; no code of a model directory is run",
    ),
    System(
        "Listener, RLPR",
        "2506.18254",
        f"--estimator grpo {SAMPLES}",
        "--objective grpo",
        "grao score GROUPS SCORES --reward answer-likelihood --reward-arg model=MODEL",
    ),
    System(
        "GRPO with process supervision",
        "2402.03300",
        f"--estimator dr-grpo {KEEP} --feature f=FEATURE --token-weights process --token-weights-arg process.scores=f",
        "--objective grpo",
        "FEATURE: grao score GROUPS FEATURE --reward process-reward-model --reward-arg model=MODEL",
    ),
    System(
        "R1-Router",
        "step rewards",
        f"--estimator dr-grpo {KEEP} --feature f=FEATURE --token-weights gigpo --token-weights-arg gigpo.scores=f",
        "--objective grpo",
        "FEATURE: a reward of your own that returns steps",
    ),
    System(
        "GKD",
        "2306.13649",
        f"--estimator dr-grpo {KEEP}",
        "--objective gkd --objective-arg teacher=ref --logprobs ref=REF",
        limits="the teacher's likeliest tokens, and all others as one",
    ),
    System("BranchGRPO", "tree sampling", limits="needs an engine that samples trees"),
    System(
        "TW-GRPO",
        "2505.24718",
        limits="needs every sample's distribution over the vocabulary at every place, for a whole group at once",
    ),
    System(
        "SparsePO",
        "2410.05102",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective sparse-pair --objective-arg share=0.5",
        limits="a heuristic mask: its own are trained from hidden states",
    ),
    System(
        "MAESTRO",
        "2601.07208",
        f"--scores A=0.7 --scores B=0.3 --estimator grpo {SAMPLES}",
        "--objective grpo",
        rounds="sweep: {score.a.weight: [0.5, 0.7]}",
        otherwise="the best of a sweep over the weights, in place of its conductor",
        limits="no weights by response: the conductor reads hidden states and learns inside of the training",
    ),
    System(
        "BMC",
        "2408.07471",
        "--estimator grao",
        "--objective bridged-pair --objective-arg against=ref --logprobs ref=REF",
        "references that are edited samples, of grao references or of the dataset",
    ),
    System(
        "Rationales",
        "2407.14477",
        f"--estimator dr-grpo {SAMPLES}",
        "--objective dpo",
        "then --estimator sft, --objective sft on prompts that show both answers, with rationales as references",
        "in turn, not one joint loss: a rationale has another prompt",
    ),
    System(
        "survey of RL, survey of DPO",
        "two surveys",
        limits="nothing to build: what they list stands above",
    ),
    System("SSPO", "losers of old checkpoints", limits="a group has one policy"),
    System("MAPL", "unread", limits="its formulas were not read; a user's own pairs come in by grao import"),
)
